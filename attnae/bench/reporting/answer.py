"""The answer of a report in at most three generated sentences: effect, cost, what would change it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from attnae.bench.markdown import count, escape, number
from attnae.bench.reporting.cells import cell, unit_of
from attnae.bench.reporting.claims import Judged
from attnae.bench.reporting.conditions import machine, undisturbed
from attnae.bench.reporting.judgment import DECIDED, HOLDS, NO_DIFFERENCE, ONE_SEED, UNDECIDED
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.seeds import ALPHA, MOST_SEEDS, Estimate, paired
from attnae.bench.reporting.statistics import comparable, epochs_of, mean_by_seed, summary
from attnae.metrics.columns import column

COSTS = {"params_trainable": "parameters", "gflops_forward": "operations", "seconds_per_epoch": "time"}

ERRORS = ("sse", "mse")
"""Squared errors, which are reported as PSNR in decibels."""


def sentences(report: Report) -> list[str]:
    """At most three sentences, in Markdown."""
    if not report.done:
        failed = [r for r in report.results if r.status == "failed"]
        return [f"No run is complete: {count(len(failed), 'run')} failed." if failed else "No run is complete."]
    effects = _effects(report)
    if not effects:
        return [_alone(report)]
    main, *others = effects
    told = (_first(report, main), _further(report, main, others), _open(report, main))
    return [text[0].upper() + text[1:] for text in told if text]


@dataclass(frozen=True)
class Effect:
    """A difference between two variants, in decibels, in percent of the right side, or in the unit of its column.

    Attributes:
        left: Variant.
        right: Variant that it is compared with.
        keys: Metric, or metrics whose mean is compared.
        estimate: Left minus right.
        alpha: Error rate of the interval.
        percent: Whether the estimate is in percent of the right side.
        judged: The claim behind it.
    """

    left: str
    right: str
    keys: list[str]
    estimate: Estimate
    alpha: float
    percent: bool
    judged: Judged | None

    @property
    def sign(self) -> int:
        """1 if higher is better, -1 if lower is better, 0 if the metric has no direction."""
        return {"higher": 1, "lower": -1}.get(column(self.keys[0]).better, 0)

    @property
    def better(self) -> bool:
        """Whether the left side is better, where the metric has a direction."""
        return self.sign * self.estimate.mean > 0

    @property
    def none(self) -> bool:
        """Whether the difference is exactly 0."""
        return self.estimate.mean == 0

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        ends = self.estimate.interval(self.alpha)
        return ends is not None and not ends[0] <= 0 <= ends[1]

    def text(self, value: float, signed: bool = True) -> str:
        """A value in the effect's unit, without the unit."""
        digits = 1 if self.percent else column(self.keys[0]).digits
        return f"{value:+,.{digits}f}" if signed else f"{abs(value):,.{digits}f}"

    @property
    def unit(self) -> str:
        """Unit after a number."""
        return "%" if self.percent else unit_of(self.keys[0])


def effect(report: Report, left: str, right: str, keys: list[str], judged: Judged | None = None) -> Effect | None:
    """The difference between two variants, in decibels where possible; ``None`` if they share no seed.

    A verdict on an error that does not follow in decibels, too, is told in its own unit.
    """
    rows = report.rows
    protocol, _, name = keys[0].rpartition("/")
    decibels = f"{protocol}/psnr_mean"
    if len(keys) == 1 and name in ERRORS and all(summary(rows.get(side, []), decibels) for side in (left, right)):
        found = _measured(report, left, right, [decibels], judged)
        own = _measured(report, left, right, keys, judged)
        if found is None or own is None or judged is None:
            return found
        clear = judged.judgment.direction in DECIDED
        # The mean of decibels can rise although the mean of the errors rises, too: a few images dominate the latter.
        if found.clear == clear and (not clear or found.better == own.better):
            return found
        return own
    return _measured(report, left, right, keys, judged)


def _measured(report: Report, left: str, right: str, keys: list[str], judged: Judged | None) -> Effect | None:
    mine, base = (mean_by_seed(report.rows.get(side, []), keys) for side in (left, right))
    found = paired(mine, base)
    if found is None or not comparable(report.rows.get(left, []), report.rows.get(right, []), keys):
        return None
    middle = sum(base[seed] for seed in mine.keys() & base.keys()) / len(mine.keys() & base.keys())
    percent = column(keys[0]).better == "lower" and middle > 0
    if percent:
        found = Estimate(100 * found.mean / middle, None if found.std is None else 100 * found.std / middle, found.n)
    return Effect(left, right, keys, found, judged.judgment.alpha if judged else ALPHA, percent, judged)


def _effects(report: Report) -> list[Effect]:
    """Effects of the primary claims, held-out images first; else of any claim; else of each trained variant and the baseline."""
    # Costs follow in the same sentence, and claims about them are in the table of claims.
    compared = [one for one in report.judged if isinstance(one.claim.right, str) and "/" in one.claim.keys[0]]
    for candidates in ([one for one in compared if one.claim.primary], compared):
        ordered = sorted(candidates, key=lambda one: not one.claim.keys[0].startswith("heldout"))
        found = [effect(report, one.claim.left, str(one.claim.right), one.claim.keys, one) for one in ordered]
        if known := [one for one in found if one is not None]:
            return known if candidates is not compared else known[:1]
    base, keys = report.benchmark.baseline, report.benchmark.leading
    trained = [name for name, runs in report.rows.items() if name != base and any(r.curves for r in runs)]
    pairs = [effect(report, name, base, [key]) for name in trained for key in keys[:1]]
    return [one for one in pairs if one is not None]


def _first(report: Report, main: Effect) -> str:
    """Effect, interval and cost of the main comparison."""
    left, right = (escape(report.title(side)) for side in (main.left, main.right))
    where, about = images_of(report, main.keys), _about(report, main)
    size = f"{main.text(main.estimate.mean, signed=False)}{main.unit}"
    if main.none:
        said = f"{left} and {right} have the same {column(main.keys[0]).title}"
    elif main.percent:
        more = main.estimate.mean > 0
        value = "worse" if more == (main.sign < 0) else "better"
        said = (
            f"{left} has a {size} {'higher' if more else 'lower'} {column(main.keys[0]).title} ({value}) than {right}"
        )
    elif main.sign and main.unit.strip() == "dB":
        said = f"{left} is {size} {'better' if main.better else 'worse'} than {right}"
    else:
        which = "higher" if main.estimate.mean > 0 else "lower"
        value = f" ({'better' if main.better else 'worse'})" if main.sign else ""
        said = f"{left} has a {size} {which} {column(main.keys[0]).title}{value} than {right}"
    if main.estimate.std is None:
        statement = main.judged.statement if main.judged else None
        if statement and main.sign and (statement.better > statement.worse) != main.better:
            statement = None  # the mean over epochs and the last epoch disagree; the list of claims has both
        share = (
            f", better on {100 * statement.better / statement.n:.0f}% of {statement.n:,} images with "
            f"{'the weights of the last epoch' if report.averaged else 'these weights'}"
            if statement
            else ""
        )
        return f"{said} on {where}{share} [{about}]{cost_words(report, main.left, main.right)}."
    known = main.judged
    equal = known is not None and (
        known.judgment.direction == NO_DIFFERENCE
        or (known.claim.relation == "equal" and known.judgment.direction == HOLDS)
    )
    if equal or not main.clear:
        title = column(main.keys[0]).title
        question = f"Whether {left} or {right} {'is better' if main.sign else f'has the higher {title}'}"
        told = f"{left} and {right} differ negligibly" if equal else question
        said = f"{told} on {where}{'' if equal else ' is undecided'}: {main.text(main.estimate.mean)}{main.unit}"
        said += "" if main.unit.strip() == "dB" else f" {title}"  # whether more is better depends on it
    else:
        said = f"{said} on {where}"
    return f"{said} {_ends(main, about)}{cost_words(report, main.left, main.right)}."


def _ends(one: Effect, about: str = "") -> str:
    """The interval in brackets, with its level if Holm's adjustment widened it."""
    ends = one.estimate.interval(one.alpha)
    if ends is None:
        return f"[{about or 'one seed'}]"
    level = "" if one.alpha == ALPHA else f" at {100 * (1 - one.alpha):.3g}%"
    return f"[{one.text(ends[0])}, {one.text(ends[1])}{level}{'; ' if about else ''}{about}]"


def _about(report: Report, main: Effect) -> str:
    n, epochs = main.estimate.n, epochs_of(report.rows[main.left])
    told = [
        f"{n} seeds" if n > 1 else "one seed, no verdict",
        *([f"{epochs:,} epoch{'s' * (epochs > 1)}"] if epochs else []),
    ]
    return ", ".join(told)


def images_of(report: Report, keys: list[str]) -> str:
    """The images on which a metric was measured, in words."""
    protocol = keys[0].split("/")[0]
    words = "training images" if protocol == "train_set" else "held-out images"
    if protocol == "heldout_sampled":
        words += " (sampled)"
    if len(keys) > 1:
        words += f" (mean over {len(keys)} protocols)"
    return words


def cost_words(report: Report, left: str, right: str) -> str:
    """``, at 8.9 times the parameters and 1.9 times the time``; seconds only if all runs were undisturbed, else operations."""
    sides = [report.rows.get(side, []) for side in (left, right)]
    quiet = (
        all(runs and all(map(undisturbed, runs)) for runs in sides)
        and len({machine(r) for runs in sides for r in runs}) == 1
    )
    told: list[tuple[float, str]] = []
    same: list[tuple[float, str]] = []
    for key in ("params_trainable", "seconds_per_epoch" if quiet else "gflops_forward"):
        ours, base = (summary(report.rows.get(side, []), key) for side in (left, right))
        if ours and base and base.mean > 0:
            ratio = ours.mean / base.mean
            (same if 0.95 < ratio < 1.05 else told).append((ratio, COSTS[key]))
    if told:
        return ", at " + " and ".join(f"{_ratio(ratio)} times the {name}" for ratio, name in told)
    return f", at the same {' and '.join(name for _, name in same)}" if same else ""


def _ratio(value: float) -> str:
    """``1,234.5``, ``0.52``, ``0.0031``."""
    if value >= 1:
        return f"{value:,.1f}"
    return f"{value:.2f}" if value >= 0.095 or not value else number(value, 1 - math.floor(math.log10(value)))


def _further(report: Report, main: Effect, others: list[Effect]) -> str:
    """The other primary claims, and an untrained method if it beats all trained variants."""
    told = []
    for one in others[:2]:
        left, right = (escape(report.title(side)) for side in (one.left, one.right))
        metric = "" if one.unit.strip() == "dB" else f" {column(one.keys[0]).title}"
        value = f"{one.text(one.estimate.mean)}{one.unit}{metric} {_ends(one)}"
        where = "" if one.keys[0].split("/")[0] == main.keys[0].split("/")[0] else f" on {images_of(report, one.keys)}"
        known = one.judged.judgment if one.judged else None
        size = f", {known.size_words}" if known and known.size_words and known.direction in DECIDED else ""
        told.append(f"{left} vs. {right}{where}: {value}{size}")
    parts = [f"Also: {'; '.join(told)}"] if told else []
    parts += [untrained] if (untrained := _untrained(report, main)) else []
    return "; ".join(parts) + "." if parts else ""


def _untrained(report: Report, main: Effect) -> str:
    """The best untrained method, if it is better than every trained variant."""
    key, sign = main.keys[0], main.sign
    values = {name: found for name, runs in report.rows.items() if (found := summary(runs, key))}
    trained = {name: one for name, one in values.items() if any(r.curves for r in report.rows[name])}
    free = {name: one for name, one in values.items() if name not in trained}
    if not free or not trained or not sign or len(main.keys) > 1:
        return ""
    best, rival = (max(some, key=lambda name: sign * some[name].mean) for some in (free, trained))
    if sign * free[best].mean <= sign * trained[rival].mean:
        return ""
    count, whole = (summary(report.rows[name], f"{key.split('/')[0]}/images") for name in (best, rival))
    where = f" (on {count.mean:,.0f} images)" if count and whole and count.mean != whole.mean else ""
    digits, unit = column(key).digits, unit_of(key)
    return (
        f"{escape(report.title(best))}, which needs no training, beats all trained variants with "
        f"{number(free[best].mean, digits)} vs. {number(trained[rival].mean, digits)}{unit}{where}"
    )


def _open(report: Report, main: Effect) -> str:
    """The published effect, whether it was tested, and what would change the answer."""
    sized = [one for one in report.judged if isinstance(one.claim.published, list) and one.claim.effect is not None]
    sized.sort(key=lambda one: (one is not main.judged, not one.claim.primary))
    about = next((one for one in sized if one.judgment.estimate is not None), None)
    change = change_words(report, main.judged) if main.judged else "more seeds"
    if about is None:
        return f"What would change it: {change}."
    judgment = about.judgment
    if {"shorter schedule", "smaller network"} & set(report.departures):
        tested = f"not tested here: {judgment.condition_words}"
    else:
        tested = judgment.size_words if judgment.direction in DECIDED else f"{judgment.direction} here"
    return (
        f"Published: {published_words(about)} ({tested or judgment.direction}); what would change the answer: {change}."
    )


def published_words(one: Judged) -> str:
    """The published effect in decibels or percent: ``7.61 dB more``, ``42% lower squared error per image``."""
    published, key = one.claim.published, one.claim.keys[0]
    if not isinstance(published, list):
        return f"{one.claim.effect:+,.{column(key).digits}f}{unit_of(key)}" if one.claim.effect is not None else "-"
    where = " on training images" if key.startswith("train_set/") else ""
    left, right = published
    if column(key).better == "lower" and right:
        share = 100 * (left / right - 1)
        return f"{abs(share):.{0 if abs(share) >= 10 else 1}f}% {'lower' if share < 0 else 'higher'} {column(key).title}{where}"
    return f"{left - right:+,.{column(key).digits}f}{unit_of(key)}{where}"


def change_words(report: Report | None, one: Judged) -> str:
    """What would change a verdict, in a few words."""
    judgment = one.judgment
    if judgment.direction == UNDECIDED:
        least = judgment.estimate.n if judgment.estimate else 0
        return f"about {judgment.needed} seeds" if judgment.needed else f"more than {max(MOST_SEEDS, least)} seeds"
    if judgment.direction == ONE_SEED:
        return "more seeds"
    if judgment.direction in DECIDED and report is not None and not report.departures:
        return "other seeds only"
    if report is None or judgment.estimate is None:
        return "a run"
    wanted = {"other images": f"official {report.benchmark.dataset}", "shorter schedule": "the full schedule",
              "smaller network": "the full network"}  # fmt: skip
    return ", ".join(wanted[departure] for departure in report.departures) or "more seeds"


def _alone(report: Report) -> str:
    """If nothing can be compared: the first variant's leading metric and its published value."""
    leading = report.benchmark.leading
    measured = {name: runs for name, runs in report.rows.items() if any(summary(runs, key) for key in leading)}
    rows = measured or report.rows
    name = next((one for one, runs in rows.items() if any(r.curves for r in runs)), next(iter(rows)))
    keys = [key for key in leading if summary(report.rows[name], key)]
    key = next((key for key in keys if column(key).unit == "dB"), keys[0] if keys else None)
    if key is None:
        complete = [escape(report.title(one)) for one, runs in report.rows.items() if runs]
        told = f"Only {complete[0]} was run, and none" if len(complete) == 1 else "None"
        return f"{told} of the leading metrics was measured."
    value, epochs = summary(report.rows[name], key), epochs_of(report.rows[name])
    n = value.n if value else 0
    about = f"{n} seed{'s' * (n > 1)}" + (f", {epochs:,} epoch{'s' * (epochs > 1)}" if epochs else "")
    said = f"{escape(report.title(name))} reaches a {column(key).title} of {cell(value, key)}{unit_of(key)}"
    published = report.benchmark.published_of(name).get(key)
    beside = ""
    if published is not None:
        why = f"not comparable: {', '.join(report.departures)}" if report.departures else "the same condition"
        beside = f"; published {number(published, column(key).digits)}{unit_of(key)} ({why})"
    return f"{said} on {images_of(report, [key])} [{about}]{beside}."
