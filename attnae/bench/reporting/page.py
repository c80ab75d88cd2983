"""One report as Markdown: a pure function of results and benchmark file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from attnae.bench.catalog.benchmark import Benchmark, Curve, Sweep, Table
from attnae.bench.markdown import escape, number, one_line, table
from attnae.bench.reporting import statistics
from attnae.bench.reporting.cells import (
    RELATIONS,
    cell,
    commit_of,
    evidence_of,
    figures_of,
    heading,
    interval,
    kind_of,
    title_of,
)
from attnae.bench.reporting.statistics import Summary
from attnae.bench.reporting.verdicts import judge
from attnae.bench.run import RunId
from attnae.metrics.columns import COSTS, PROTOCOLS, column
from attnae.result import Result

PERCEPTUAL = ["lpips", "rfid"]
FIGURES = {
    "grid.png": "The same {data} images for all variants: input, what each variant makes of it, truth.",
    "sweep.png": "The sweep above; published points dashed.",
    "curves.png": "Training over epochs, and over seconds at each variant's median epoch; published curves dashed.",
}


def text(benchmark: Benchmark, results: list[Result], drawn: list[str], beside: Mapping[str, str] | None = None) -> str:
    """The report as Markdown.

    Args:
        benchmark: What was compared.
        results: Runs of one label, in the order of the benchmark's variants.
        drawn: Names of the figures that exist.
        beside: Label of each report that holds results of the same label which cannot stand in this one, and why.
    """
    done = [r for r in results if r.status == "complete"]
    rows = {name: [r for r in done if r.variant == name] for name in dict.fromkeys(r.variant for r in results)}
    parts = [_head(benchmark, results, done), _apart(done, beside or {}), _claims(benchmark, rows, done)]
    parts += [_protocol(benchmark, rows, spec) for spec in benchmark.tables]
    parts += _perceptual(benchmark, rows, done)
    parts += [_differences(benchmark, rows), _published(benchmark, rows), _cost(benchmark, rows)]
    parts += [_sweep(benchmark, rows, spec) for spec in benchmark.sweeps]
    parts += [_curve(benchmark, rows, spec) for spec in benchmark.curves]
    parts += [
        _figures(benchmark, done, drawn),
        _failed(results),
        _variants(benchmark, rows),
        _provenance(results),
        _legend(benchmark),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(benchmark: Benchmark, results: list[Result], done: list[Result]) -> str:
    lines = [f"# {benchmark.title}: {escape(kind_of(done))}", ""]
    if done:
        data = done[0].data
        if data.get("kind") != "official":
            lines += [
                f"> **Not the paper's data.** Trained on {data.get('train')} and tested on {data.get('test')} images of "
                f"{escape(data.get('title'))} at {data.get('size')}x{data.get('size')}. Compare variants with each other; "
                f"published numbers, made on {benchmark.dataset}, stand beside them for orientation only.",
                "",
            ]
        if converted := data.get("converted"):
            lines += [
                "> Converted images: "
                + ", ".join(f"{escape(count)} {escape(why)}" for why, count in sorted(converted.items()))
                + ".",
                "",
            ]
    seeds = sorted({r.seed for r in done})
    shown = (
        f"{len(seeds)} seeds ({', '.join(map(str, seeds))}): mean ± sample standard deviation; percentages compare equal seeds."
        if len(seeds) > 1
        else "One seed: differences carry no error bar."
    )
    lines += [benchmark.question, "", f"{len(done)} of {len(results)} runs complete. {shown}"]
    return "\n".join(lines)


def _apart(done: list[Result], beside: Mapping[str, str]) -> str:
    """Which results stand elsewhere and why, and which versions of attnae made those that stand here."""
    lines = [
        f"> Results that stand apart: [{label}](../{label}/README.md), {escape(why)}." for label, why in beside.items()
    ]
    versions: dict[str, list[str]] = {}
    for one in done:
        versions.setdefault(str(one.versions.get("attnae", "unknown")), []).append(f"{one.variant}/seed{one.seed}")
    if len(versions) > 1:
        told = "; ".join(f"{escape(version)}: {', '.join(runs)}" for version, runs in sorted(versions.items()))
        lines.append(f"> Made by several versions of attnae. {told}.")
    return "\n>\n".join(lines)


def _claims(benchmark: Benchmark, rows: dict[str, list[Result]], done: list[Result]) -> str:
    """A verdict on each of the paper's claims."""
    if not benchmark.claims:
        return ""
    body = []
    for claim in benchmark.claims:
        verdict, key = judge(claim, rows), claim.keys[0]
        right = (
            title_of(benchmark, claim.right)
            if isinstance(claim.right, str)
            else number(claim.right, column(key).digits)
        )
        body.append(
            [
                f"{escape(claim.claim)} ({escape(claim.where)})",
                f"{column(key).title}: {escape(title_of(benchmark, claim.left))} {RELATIONS[claim.relation]} {escape(right)}",
                *figures_of(claim, verdict),
                f"**{verdict.state}**",
            ]
        )
    note = (
        "Decided by the 95% interval of the difference over seeds (Student's t, the same seeds on both sides). "
        f"A verdict is about these data and this schedule: {escape(kind_of(done))}."
    )
    return f"## The paper's claims\n\n{note}\n\n" + table(["claim", "says", "published", "ours", "verdict"], body)


def _perceptual(benchmark: Benchmark, rows: dict[str, list[Result]], done: list[Result]) -> list[str]:
    """A table for each protocol that was measured so, which is the user's wish rather than the benchmark's."""
    keys = dict.fromkeys(key for r in done for key in r.metrics if key.endswith(f"/{PERCEPTUAL[0]}"))
    protocols = [key.rsplit("/", 1)[0] for key in keys]
    return [_protocol(benchmark, rows, Table(f"Perceptual measures, {p}", p, PERCEPTUAL)) for p in protocols]


def _differences(benchmark: Benchmark, rows: dict[str, list[Result]]) -> str:
    """Each variant against the baseline over the seeds that both have."""
    base = rows.get(benchmark.baseline, [])
    keys = [key for key in benchmark.leading if column(key).better != "-"]
    body = []
    for name, runs in rows.items():
        if name == benchmark.baseline:
            continue
        found = [statistics.difference(statistics.by_seed(runs, key), statistics.by_seed(base, key)) for key in keys]
        if any(one is not None and one.low is not None for one in found):
            cells = ["-" if d is None else interval(d, k) for d, k in zip(found, keys, strict=True)]
            body.append([title_of(benchmark, name), *cells, str(max(d.n for d in found if d))])
    if not body:
        return ""
    header = ["variant", *(heading(key) for key in keys), "seeds"]
    title = escape(title_of(benchmark, benchmark.baseline))
    note = "Mean difference over the seeds that both have, with its 95% interval (Student's t)."
    return f"## Differences from {title}\n\n{note}\n\n" + table(header, body)


def _protocol(benchmark: Benchmark, rows: dict[str, list[Result]], spec: Table) -> str:
    protocol, keys = spec.protocol, spec.keys
    lead, base = keys[0], rows.get(benchmark.baseline, [])
    compared = column(lead).better == "lower"  # a ratio of decibels or of SSIM says nothing
    counted = statistics.summary(base, f"{protocol}/images")
    body = []
    for name, runs in rows.items():
        values = [statistics.summary(runs, key) for key in keys]
        if not any(values) and any(r.status == "complete" for r in runs):
            continue  # a finished run that has no such thing, such as a denoiser without a router
        images = statistics.summary(runs, f"{protocol}/images")
        row = [title_of(benchmark, name), *(cell(v, k) for v, k in zip(values, keys, strict=True))]
        if compared:
            other = images and counted and images.mean != counted.mean  # other images are no comparison
            row.insert(1, "-" if other or name == benchmark.baseline else _ratio(runs, base, lead))
        body.append([*row, number(images.mean, 0) if images else "-"])
    header = ["variant", *(column(k).heading for k in keys), "images"]
    if compared:
        header.insert(1, f"{column(lead).title} against {escape(title_of(benchmark, benchmark.baseline))}")
    return f"## {spec.title}\n\n{spec.note or PROTOCOLS.get(protocol, '')}\n\n" + table(header, body)


def _ratio(runs: list[Result], base: list[Result], key: str) -> str:
    """A variant against the baseline over the seeds that both have: others would compare seeds rather than variants."""
    left, right = statistics.by_seed(runs, key), statistics.by_seed(base, key)
    seeds = left.keys() & right.keys()
    whole = sum(right[seed] for seed in seeds)
    return f"{100 * (sum(left[seed] for seed in seeds) / whole - 1):+.1f}%" if whole else "-"


def _published(benchmark: Benchmark, rows: dict[str, list[Result]]) -> str:
    body, several = [], len(benchmark.published) > 1
    for source, name, key, published in _numbers(benchmark):
        runs = rows.get(name, [])
        if column(key).kind == "counted" and runs and evidence_of(benchmark, runs) != "published":
            continue  # other profiles may have narrower networks
        ours = statistics.summary(runs, key)
        digits = column(key).digits
        difference = f"{ours.mean - published:+,.{digits}f}" if ours else "-"
        if ours and column(key).better == "lower":  # a ratio of decibels or of SSIM says nothing
            difference += f" ({100 * (ours.mean / published - 1):+.1f}%)"
        told = [title_of(benchmark, name), *([escape(source)] if several else []), column(key).title]
        body.append([*told, number(published, digits), cell(ours, key), difference])
    if not body:
        return ""
    notes = "\n".join(f"- {finding}" for finding in benchmark.findings)
    header = ["variant", *(["source"] if several else []), "number", "published", "ours", "difference"]
    return (
        f"## Comparison with published results\n\nPublished: {benchmark.paper.title}. {benchmark.paper.notes}\n\n"
        + table(header, body)
        + (f"\n\n{notes}" if notes else "")
    )


def _numbers(benchmark: Benchmark) -> list[tuple[str, str, str, float]]:
    """Every published number with its source, variant and key."""
    return [
        (published.source, name, key, value)
        for published in benchmark.published
        for name, values in published.values.items()
        for key, value in values.items()
    ]


def _cost(benchmark: Benchmark, rows: dict[str, list[Result]]) -> str:
    first, *others = COSTS
    base = statistics.summary(rows.get(benchmark.baseline, []), first)
    body = []
    for name, runs in rows.items():
        values = {key: statistics.summary(runs, key) for key in COSTS}
        parameters = values[first]
        times = f"{parameters.mean / base.mean:.2f}x" if parameters and base else "-"
        body.append(
            [
                title_of(benchmark, name),
                cell(parameters, first),
                times,
                *(cell(values[key], key) for key in others),
            ]
        )
    header = [
        "variant",
        column(first).heading,
        "against baseline",
        *(column(key).heading for key in others),
    ]
    return "## Cost\n\n" + table(header, body)


def _curve(benchmark: Benchmark, rows: dict[str, list[Result]], spec: Curve) -> str:
    """Our training curve at the epochs at which the paper gives one."""
    key, published = spec.key, spec.published
    names = [name for name in rows if any(key in r.curves for r in rows[name])]
    epochs = sorted({int(e or 0) for name in names for r in rows[name] for e in r.curves.get("epoch", [])})
    wanted = (
        sorted({epoch for values in published.values() for epoch in values} & set(epochs))
        or epochs[:: max(1, len(epochs) // 8)]
    )
    if not names or not wanted:
        return ""
    body = []
    for epoch in wanted:
        cells = [str(epoch)]
        for name in names:
            here = [value * spec.scale for r in rows[name] if (value := statistics.at_epoch(r, key, epoch)) is not None]
            cells.append(cell(Summary.of(here), "", digits=spec.digits))
            if name in published:
                cells.append(number(published[name].get(epoch), spec.digits))
        body.append(cells)
    header = ["epoch"]
    for name in names:
        header += [title_of(benchmark, name)] + (["published"] if name in published else [])
    return f"## {spec.title}\n\n{spec.note}\n\n" + table(header, body)


def _sweep(benchmark: Benchmark, rows: dict[str, list[Result]], spec: Sweep) -> str:
    """One metric under several protocols that differ in one number, a row for each variant and for what is published."""
    keys = spec.keys
    body = []
    for name, runs in rows.items():
        body.append([title_of(benchmark, name), *(cell(statistics.summary(runs, key), key) for key in keys)])
        if published := spec.published.get(name):
            digits = column(keys[0]).digits
            body.append(
                [
                    f"{title_of(benchmark, name)}, published",
                    *(number(published.get(x), digits) for x in spec.protocols),
                ]
            )
    header = [f"{column(keys[0]).heading} at {spec.x}", *map(str, spec.protocols)]
    return f"## {spec.title}\n\n{spec.note}\n\n" + table(header, body)


def _figures(benchmark: Benchmark, done: list[Result], drawn: list[str]) -> str:
    own = {
        f"{variant}-{figure.file}": f"{title_of(benchmark, variant)}: {figure.caption}"
        for figure in benchmark.figures
        for variant in figure.variants
    }
    relations = " ".join(f"{relation.title}: {relation.note}" for relation in benchmark.relations)
    captions = {**FIGURES, "relation.png": relations, **own}
    data = done[0].data.get("title", "") if done else ""
    blocks = [
        f"![{escape(caption.format(data=data))}](figures/{name})\n\n*{caption.format(data=data)}*"
        for name, caption in captions.items()
        if name in drawn
    ]
    return "## Figures\n\n" + "\n\n".join(blocks) if blocks else ""


def _failed(results: list[Result]) -> str:
    body = [[r.variant, str(r.seed), escape(r.reason)] for r in results if r.status != "complete"]
    return "## Failed runs\n\n" + table(["variant", "seed", "reason"], body) if body else ""


def _variants(benchmark: Benchmark, rows: dict[str, list[Result]]) -> str:
    return "## Variants\n\n" + "\n".join(
        f"- **{escape(title_of(benchmark, name))}** (`{name}`): {benchmark.variants[name].about}"
        for name in rows
        if name in benchmark.variants
    )


def _provenance(results: list[Result]) -> str:
    lines = ["## How these numbers were made", ""]
    for title, all_facts in (("versions", [r.versions for r in results]), ("hardware", [r.hardware for r in results])):
        for facts in {json.dumps(f, sort_keys=True): f for f in all_facts if f}.values():  # equal facts once
            lines.append(f"- {title}: " + ", ".join(f"{escape(key)} {escape(value)}" for key, value in facts.items()))
    data = {json.dumps(r.data, sort_keys=True): r.data for r in results if r.data}
    lines += [
        f"- data: {escape(d.get('title'))}, {escape(d.get('train'))} train / {escape(d.get('test'))} held-out images, "
        + (f"digest of all pixels `{escape(d['digest'])}`" if d.get("digest") else "no digest of their pixels")
        for d in data.values()
    ]
    made = []
    for r in results:
        commit, again = commit_of(r.git), commit_of(r.git.get("tested"))
        config = f"config {RunId.of(r).config8}" + (" (reconstructed)" if r.reconstructed else "")
        told = [config, commit and f"commit {commit}", again and f"tested again with {again}", r.selection,
                f"{r.wall_seconds:.0f} s in all"]  # fmt: skip
        made.append(f"# {r.variant} seed {r.seed}: {', '.join(text for text in told if text)}")
        made += r.commands
    made = [one_line(line) for line in made]
    longest = max((len(ticks) for line in made for ticks in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)  # longer than any that a folder's name could put into a command
    return "\n".join([*lines, "", f"{fence}bash", *made, fence])


def _legend(benchmark: Benchmark) -> str:
    used = [name for spec in benchmark.tables for name in spec.columns]
    used += [key.split("/")[-1] for _, _, key, _ in _numbers(benchmark)] + list(COSTS)
    defined = {c.formula: c for c in map(column, reversed(dict.fromkeys(used)))}  # route_prob_0_0 and _0_1 are one
    lines = [
        f"- **{re.sub(r' [0-9.]+$', '', c.title)}** [{c.unit}]"
        f"{'' if c.better == '-' else f', {c.better} is better'}: {c.formula}."
        for c in reversed(defined.values())
    ]
    return "## What the columns mean\n\n" + "\n".join(lines)
