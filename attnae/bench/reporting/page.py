"""One report as Markdown: the answer, the main figure, claims and tables. Details are in collapsed sections."""

from __future__ import annotations

from typing import Any

from attnae.bench.markdown import count, escape, number, table
from attnae.bench.reporting import answer, details, tables
from attnae.bench.reporting.adversary import adversary_warning
from attnae.bench.reporting.cells import (
    RELATIONS,
    clean,
    commit_of,
    interval,
    kind_of,
    margin,
    named,
    seeds_text,
    unbroken,
    unit_of,
)
from attnae.bench.reporting.claims import Judged
from attnae.bench.reporting.judgment import DECIDED, Judgment
from attnae.bench.reporting.material import Report
from attnae.metrics.columns import column

FEW = 8
"""Number of held-out images below which a report says that they are too few."""

CAPTIONS = {
    "grid.png": "The same {data} images for all variants, with the ground truth and the input.",
    "tradeoff.png": "Quality over cost, one point per variant. No variant is both cheaper and better than the gray line.",
    "sweep.png": "Top: the sweep. Bottom: difference from the baseline. Crosses: published values.",
    "curves.png": "Top: training curves. Bottom: difference from the baseline. Crosses: published values.",
}

ALONE = {
    "sweep.png": "The sweep. Crosses: published values.",
    "curves.png": "Training curves. Crosses: published values.",
}
"""Captions of figures without differences from the baseline."""

MOST_WARNINGS = 5
"""Maximum number of warnings about adversaries; further ones are only counted."""


def text(report: Report) -> str:
    """The report as Markdown."""
    first = next((name for name in ("grid.png", "tradeoff.png") if name in report.figures), None)
    parts = [f"# {escape(report.benchmark.title)}: {escape(kind_of(report.done))}"]
    parts += [" ".join(answer.sentences(report)), condition(report), _picture(report, first)]
    own = _own(report)
    parts += [] if own else [_claims(report)]
    parts += tables.protocols(report)
    parts += [_picture(report, "relation.png", "## Relation between two metrics"), tables.differences(report)]
    parts += [
        "" if first == "tradeoff.png" else _picture(report, "tradeoff.png", "## Quality over cost"),
        tables.cost(report),
    ]
    parts += [tables.sweep(report, spec) for spec in report.benchmark.sweeps]
    parts += [_picture(report, "sweep.png"), tables.published(report), _picture(report, "curves.png", "## Training")]
    # People who bring their own images ask what works on them first, and about the paper last.
    parts += [_own_pictures(report), _claims(report) if own else "", details.failed(report), *details.folded(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def condition(report: Report) -> str:
    """Data, seeds and all caveats."""
    lines = [escape(report.benchmark.question)]
    done, benchmark = report.done, report.benchmark
    seeds = seeds_text(r.seed for r in done)
    lines.append(f"{len(done):,} of {len(report.results):,} runs complete" + (f"; {seeds}." if seeds else "."))
    if done:
        data = done[0].data
        size, images = escape(data.get("size")), "" if _own(report) else "images "
        lines.append(
            f"Trained on {_count(data.get('train'))} and tested on {_count(data.get('test'))} {images}"
            f"of {escape(data.get('title'))} at {size}x{size}."
        )
        if isinstance(data.get("test"), int) and data["test"] < FEW:
            lines.append("**Too few held-out images for a comparison**; the numbers only show that the run works.")
        if report.demonstration:
            what = "paper" if benchmark.reproduces else "claims"
            lines.append(f"A demonstration is not evidence for or against the {what}.")
        if report.departures and benchmark.reproduces:
            lines.append(
                f"**Conditions differ from the paper's** ({', '.join(report.departures)}): the verdicts do not apply to the "
                f"published numbers, which were measured on {escape(benchmark.dataset)}."
            )
        lines += _images(data)
    lines += _averages(report)
    blocks = [" ".join(lines)]
    blocks += [f"Results in a separate report: [{label}](../{label}/README.md), {escape(why)}."
               for label, why in report.beside.items()]  # fmt: skip
    if versions := _versions(report):
        blocks.append(versions)
    return "\n>\n".join(f"> {block}" for block in blocks)


def _own(report: Report) -> bool:
    """Whether the images are a user's own, see :attr:`attnae.data.location.Location.title`."""
    return bool(report.done) and str(report.done[0].data.get("title", "")).startswith("your images")


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else escape(value)


def _images(data: dict[str, Any]) -> list[str]:
    """Converted, left out and leaked images."""
    lines = []
    for name, title in (("converted", "Converted images"), ("left_out", "Left out of the images")):
        counts = data.get(name)
        if isinstance(counts, dict) and counts:
            told = ", ".join(f"{_count(count)} {escape(why)}" for why, count in sorted(counts.items()))
            lines.append(f"{title}: {told}.")
    if isinstance(leaked := data.get("leaked"), int) and leaked:
        lines.append(f"**{count(leaked, 'test image')} {'are' if leaked > 1 else 'is'} also in training.**")
    return lines


def _averages(report: Report) -> list[str]:
    """Epochs that were averaged under the rule ``average: last_epochs``."""
    if report.averaged is None or not report.done:
        return []
    if report.averaged.epochs is None:
        return [
            "The benchmark file specifies the mean over the last epochs, but these runs recorded only the evaluated epoch."
        ]
    first, last = report.averaged.epochs
    lines = [
        f"Test metrics are means over epochs {first:,} to {last:,} for all variants, as the benchmark file states."
    ]
    if report.averaged.left_out:
        lines.append(
            f"Left out because they recorded fewer epochs: {', '.join(report.averaged.left_out[:MOST_WARNINGS])}."
        )
    return lines


def _versions(report: Report) -> str:
    """Versions of attnae that made the runs, if there are several; runs of one clean commit are of one version."""
    if len({commit_of(one.git) for one in report.done}) == 1 and clean(report.done[0].git):
        return ""
    versions: dict[str, dict[str, list[int]]] = {}
    for one in report.done:
        version = str(one.versions.get("attnae", "unknown"))
        versions.setdefault(version, {}).setdefault(one.variant, []).append(one.seed)
    if len(versions) < 2:
        return ""
    told = "; ".join(
        f"{escape(version)}: " + ", ".join(f"{variant} ({seeds_text(seeds)})" for variant, seeds in runs.items())
        for version, runs in sorted(versions.items())
    )
    return f"These runs used several versions of attnae. {told}."


def _picture(report: Report, name: str | None, title: str = "") -> str:
    if name not in report.figures or name is None:
        return ""
    data = escape(report.done[0].data.get("title", "")) if report.done else ""
    relations = " ".join(f"{one.title}. {one.note}" for one in report.benchmark.relations)
    caption = {**CAPTIONS, "relation.png": escape(relations)}[name]
    if name in ("curves.png", "sweep.png") and not _differs(report, name):
        caption = ALONE[name]
    if _own(report):
        caption = caption.replace("The same {data} images", "The same images of {data}")
        data = data.removeprefix("your images ").strip("()")
    caption = caption.replace("{data}", data)
    return (f"{title}\n\n" if title else "") + f"![{escape(caption)}](figures/{name})\n\n*{caption}*"


def _differs(report: Report, name: str) -> bool:
    """Whether the curves or sweeps of a variant share a seed with those of the baseline."""
    keys, baseline = [curve.key for curve in report.benchmark.curves], report.benchmark.baseline
    seeds = {variant: {r.seed for r in runs if name != "curves.png" or any(map(r.curves.get, keys))}
             for variant, runs in report.rows.items()}  # fmt: skip
    base = seeds.pop(baseline, set())
    return any(base & others for others in seeds.values())


def _own_pictures(report: Report) -> str:
    """Figures drawn by the runs of individual variants."""
    data = escape(report.done[0].data.get("title", "")) if report.done else ""
    blocks = []
    for figure in report.benchmark.figures:
        for variant in figure.variants:
            name = f"{variant}-{figure.file}"
            if name in report.figures:
                caption = f"{escape(report.title(variant))}: {figure.caption.replace('{data}', data)}"
                blocks.append(f"![{escape(caption)}](figures/{name})\n\n*{caption}*")
    return details.fold("Pictures of individual variants", "\n\n".join(blocks)) if blocks else ""


def _claims(report: Report) -> str:
    """A verdict on each claim."""
    if not report.judged:
        return ""
    body = [[f"{one.number}. {escape(one.claim.claim)}", *claim_cells(one)] for one in report.judged]
    header = ["claim", "published", "ours", "n", "verdict"]
    if not report.benchmark.reproduces:
        header, body = [header[0], *header[2:]], [[row[0], *row[2:]] for row in body]
    lines: list[str] = []
    lonely: dict[tuple[int, ...], list[str]] = {}
    for one in report.judged:
        if one.statement:
            digits, unit = column(one.claim.keys[0]).digits, unit_of(one.claim.keys[0]).strip() or "-"
            epoch = "at the last epoch, not averaged, " if report.averaged else ""
            lines.append(f"- {one.number}: one seed, {epoch}{one.statement.words(digits, unit)}.")
        if one.judgment.unpaired and one.judgment.seeds:
            lonely.setdefault(one.judgment.unpaired, []).append(str(one.number))
        elif one.judgment.unpaired and report.rows.get(one.claim.left) and report.rows.get(str(one.claim.right)):
            lines.append(f"- {one.number}: no seed has a value for both variants.")
    for seeds, numbers in lonely.items():
        have, are = ("have", "are") if len(seeds) > 1 else ("has", "is")
        lines.append(
            f"- {', '.join(numbers)}: {seeds_text(seeds)} {have} a value for one of the two variants only and {are} ignored."
        )
    warnings = _warnings(report)
    title = "## The paper's claims" if report.benchmark.reproduces else "## Claims"
    blocks = [title, table(header, body), "\n".join(lines), "\n>\n".join(warnings)]
    blocks += [details.fold("What is compared, and how verdicts are made", _definitions(report))]
    return "\n\n".join(block for block in blocks if block)


def _warnings(report: Report) -> list[str]:
    """Warnings about adversaries from the training curves, one line per variant."""
    lines = []
    for name, runs in report.rows.items():
        found = {r.seed: warning for r in runs if (warning := adversary_warning(r.curves))}
        if found:
            first, *others = found
            more = f" The same happened with {seeds_text(others)}." if others else ""
            lines.append(f"> {escape(report.title(name))}, seed {first}: {found[first]}{more}")
    further = len(lines) - MOST_WARNINGS
    return lines[:MOST_WARNINGS] + ([f"> Similar warnings: {count(further, 'more variant')}."] if further > 0 else [])


def verdict_words(judgment: Judgment) -> str:
    """Cell of a verdict: direction, number of seeds that would decide, share of the published effect."""
    verdict = f"**{judgment.direction}**"
    if judgment.estimate is None:
        return verdict
    if more := judgment.direction_words.partition(f"{judgment.direction} at n = {judgment.estimate.n}, ")[2]:
        verdict += f": {more}"
    if judgment.size_words and judgment.direction in DECIDED:  # for other verdicts the size is not informative
        verdict += f", {judgment.size_words}"
    return unbroken(verdict)


def _published_percent(one: Judged) -> str:
    """The published difference in percent of the right side; ``-`` if only the difference is published."""
    published = one.claim.published
    if not isinstance(published, list) or not published[1]:
        return "-"
    return f"{100 * (published[0] / published[1] - 1):+.1f}%"


def _percent(one: Judged) -> list[str]:
    """Our difference in percent of the mean of the right side, with the interval of the verdict; number of seeds."""
    judgment = one.judgment
    if judgment.estimate is None or judgment.means is None:
        return ["-", "-"]
    if not judgment.means[1]:
        return ["-", str(judgment.estimate.n)]
    ends = judgment.estimate.interval(judgment.alpha)
    values = [f"{100 * value / judgment.means[1]:+.1f}" for value in (judgment.estimate.mean, *(ends or ()))]
    told = f"{values[0]}% [{values[1]}, {values[2]}]" if ends else f"{values[0]}%"
    return [unbroken(told), str(judgment.estimate.n)]


def claim_cells(one: Judged, relative: bool = False) -> list[str]:
    """Cells of a claim: published, ours with interval, number of seeds, verdict with size.

    Args:
        one: The claim.
        relative: Whether differences of errors are in percent of the right side instead of the unit of the metric.
    """
    judgment, key = one.judgment, one.claim.keys[0]
    published = one.claim.effect if isinstance(one.claim.right, str) else one.claim.published
    digits, unit = column(key).digits, unit_of(key)
    told = "-"
    if relative and column(key).better == "lower" and isinstance(one.claim.right, str):
        return [_published_percent(one), *_percent(one), verdict_words(judgment)]
    if isinstance(published, int | float):
        told = (
            f"{published:+,.{digits}f}{unit}"
            if isinstance(one.claim.right, str)
            else f"{number(published, digits)}{unit}"
        )
    if judgment.estimate is None or judgment.means is None:
        return [unbroken(told), "-", "-", verdict_words(judgment)]
    if isinstance(one.claim.right, str):
        ours = f"{interval(judgment.estimate, key, judgment.alpha)}{unit}"
    else:
        ends = ""
        if judgment.low is not None and judgment.high is not None and judgment.low < judgment.high:
            low, high = (number(judgment.means[1] + end, digits) for end in (judgment.low, judgment.high))
            ends = f" [{low}, {high}]"
        ours = f"{number(judgment.means[0], digits)}{ends}{unit}"
    return [unbroken(told), unbroken(ours), str(judgment.estimate.n), verdict_words(judgment)]


def _definitions(report: Report) -> str:
    """Metric, sides, source and level of every claim."""
    lines = []
    for one in report.judged:
        claim, key = one.claim, one.claim.keys[0]
        right = report.title(claim.right) if isinstance(claim.right, str) else number(claim.right, column(key).digits)
        size = margin(claim)
        within = negligible = ""
        if claim.relation == "equal":
            within = f" to within {size}"
        elif size:
            negligible = f"; negligible: {size}"
        metric = named(key) if len(claim.keys) == 1 else f"mean of {len(claim.keys)} times {column(key).title}"
        means = one.judgment.means
        told = f"; means {' and '.join(number(value, column(key).digits) for value in means)}" if means else ""
        level = f"; {one.judgment.level_words}" if one.judgment.low is not None else ""
        lines.append(
            f"{one.number}. {'Primary. ' if claim.primary else ''}{metric}: {escape(report.title(claim.left))} "
            f"{RELATIONS[claim.relation]} {escape(right)}{within} ({escape(claim.where)}{negligible}){told}{level}."
        )
    return (
        "A verdict is based on the confidence interval of the difference over paired seeds (Student's t at 95%; primary "
        "claims with Holm's adjustment). One seed gets no verdict. The share of the published effect is stated only if "
        "schedule and network size are as published; that of a control is relative to the paper's effect. Numbers "
        "published under other conditions are not comparable. The number of seeds that would decide assumes the spread "
        "seen so far.\n\n" + "\n".join(lines)
    )
