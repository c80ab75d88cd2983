"""Tables of a report, narrow enough for a page of 900 pixels; all numbers are in ``results.csv``."""

from __future__ import annotations

import re

from attnae.bench.catalog.benchmark import Sweep, Table
from attnae.bench.markdown import escape, number, table
from attnae.bench.reporting.cells import cell, heading, interval, unbroken, unit_heading, unit_of
from attnae.bench.reporting.conditions import counting, undisturbed
from attnae.bench.reporting.details import fold
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.seeds import paired
from attnae.bench.reporting.statistics import by_seed, same_images, summary
from attnae.metrics.columns import COSTS, PROTOCOLS, column
from attnae.result import Result

PERCEPTUAL = ["lpips", "rfid"]

MOST = 5
"""Maximum number of metrics in a table."""

MOST_LEVELS = 8
"""Maximum number of sweep values in a table."""


def protocols(report: Report) -> list[str]:
    """The benchmark's tables; tables not marked as leading are collapsed. Includes perceptual metrics if they were measured."""
    keys = dict.fromkeys(key for r in report.done for key in r.metrics if key.endswith(f"/{PERCEPTUAL[0]}"))
    perceptual = [
        Table(f"Perceptual measures, {key.rsplit('/', 1)[0]}", key.rsplit("/", 1)[0], PERCEPTUAL) for key in keys
    ]
    return [_protocol(report, spec) for spec in [*report.benchmark.tables, *perceptual]]


def _protocol(report: Report, spec: Table) -> str:
    rows, base = report.rows, report.rows.get(report.benchmark.baseline, [])
    measured = [key for key in spec.keys if any(summary(runs, key) for runs in rows.values())]
    if not measured:
        return ""
    keys = chosen(measured)
    lead, counted = keys[0], summary(base, f"{spec.protocol}/images")
    ratio = column(lead).better == "lower" and bool(summary(base, lead))  # ratios of decibels are meaningless
    body = []
    for name, runs in rows.items():
        values = [summary(runs, key) for key in keys]
        if runs and not any(values):
            continue  # complete runs without these metrics, such as a denoiser without a router
        other = not same_images(runs, base, lead)  # different images are not comparable
        title = escape(report.title(name)) + images_note(report, name, lead)
        row = [title, *(cell(value, key, most=report.most_seeds) for value, key in zip(values, keys, strict=True))]
        if ratio:
            row.insert(1, "-" if other or name == report.benchmark.baseline else _ratio(runs, base, lead))
        body.append(row)
    header = ["variant", *map(unit_heading, keys)]
    if ratio:
        header.insert(1, f"{column(lead).title} vs. {escape(report.title(report.benchmark.baseline))}")
    about = PROTOCOLS.get(spec.protocol, "")
    note = spec.note or (f"{about[:1].upper()}{about[1:]}." if about else "")
    note += f" {counted.mean:,.0f} images." if counted else ""
    if more := [column(key).title for key in measured if key not in keys]:
        note += f" Also in [results.csv](results.csv): {', '.join(more)}."
    text = f"{note.strip()}{spread(report)}\n\n{table(header, body)}"
    return f"## {escape(spec.title)}\n\n{text}" if spec.leading else fold(spec.title, text)


def images_note(report: Report, variant: str, key: str) -> str:
    """`` (32 images)`` if a metric of a variant was measured on another number of images than that of the baseline."""
    runs = report.rows[variant]
    images = summary(runs, f"{key.rpartition('/')[0]}/images")
    same = same_images(runs, report.rows.get(report.benchmark.baseline, []), key)
    return "" if same or not images else f" ({images.mean:,.0f} images)"


def chosen(keys: list[str]) -> list[str]:
    """Selects the columns of a table, preferring metrics with a direction; keeps the order of the benchmark file."""
    wanted = [key for key in keys if column(key).better != "-"][:MOST]
    wanted += [key for key in keys if column(key).better == "-"][: MOST - len(wanted)]
    return [key for key in keys if key in wanted]


def spread(report: Report) -> str:
    """Explains ± and n."""
    if report.most_seeds < 2:
        return " One seed: differences have no error bars."
    return " Mean ± sample standard deviation over seeds; percentages are over shared seeds."


def _ratio(runs: list[Result], base: list[Result], key: str) -> str:
    """Relative difference from the baseline over shared seeds; other seeds would bias the comparison."""
    left, right = by_seed(runs, key), by_seed(base, key)
    seeds = left.keys() & right.keys()
    whole = sum(right[seed] for seed in seeds)
    if not whole:
        return "-"
    few = len(seeds) < max(len(left), len(right))
    share = f"{100 * (sum(left[seed] for seed in seeds) / whole - 1):+.1f}%"
    return unbroken(f"{share} (n = {len(seeds)})") if few else share


def differences(report: Report) -> str:
    """Each variant against the baseline over shared seeds."""
    rows, baseline = report.rows, report.benchmark.baseline
    base = rows.get(baseline, [])
    keys = [key for key in report.benchmark.leading if column(key).better != "-"][: MOST - 1]
    body = []
    for name, runs in rows.items():
        if name == baseline:
            continue
        found = [
            paired(by_seed(runs, key), by_seed(base, key)) if same_images(runs, base, key) else None for key in keys
        ]
        if any(one is not None and one.std is not None for one in found):
            most = max(d.n for d in found if d)
            cells = [
                "-" if d is None else unbroken(interval(d, k) + (f" (n = {d.n})" if d.n < most else ""))
                for d, k in zip(found, keys, strict=True)
            ]
            body.append([escape(report.title(name)), *cells, str(most)])
    if not body:
        return ""
    note = "Mean difference over shared seeds, with its 95% interval (Student's t, not adjusted)."
    title = escape(report.title(baseline))
    return f"## Differences from {title}\n\n{note}\n\n" + table(["variant", *map(heading, keys), "n"], body)


def cost(report: Report) -> str:
    """Parameters, operations, and the times of undisturbed runs."""
    if not report.done:
        return ""
    first, *others = COSTS
    base = summary(report.rows.get(report.benchmark.baseline, []), first)
    body, disturbed, elsewhere, mixed = [], False, False, False
    for name, runs in report.rows.items():
        disturbed |= any("seconds_per_epoch" in r.efficiency and not undisturbed(r) for r in runs)
        mixed |= bool(runs) and not counting(runs, "peak_memory_mb", report.done)
        elsewhere |= len([r for r in runs if undisturbed(r)]) > len(counting(runs, "seconds_per_epoch", report.done))
        values = {key: summary(counting(runs, key, report.done), key) for key in COSTS}
        parameters = values[first]
        times = f"{parameters.mean / base.mean:.2f}x" if parameters and base and base.mean else "-"
        cells = [cell(values[key], key, most=report.most_seeds) for key in others]
        body.append([escape(report.title(name)), cell(parameters, first), times, *cells])
    against = f"vs. {escape(report.title(report.benchmark.baseline))}"
    header = ["variant", unit_heading(first), against, *map(unit_heading, others)]
    notes = (
        ("Seconds are shown only for runs on an otherwise idle machine, judged by CPU time; "
         "all are in [results.csv](results.csv).", disturbed),
        ("Seconds are those of the machine and the number of threads of most runs.", elsewhere),
        ("Memory on a GPU and on a CPU cannot be compared.", mixed),
    )  # fmt: skip
    note = " ".join(text for text, wanted in notes if wanted)
    return f"## Cost\n\n{table(header, body)}" + (f"\n\n{note}" if note else "")


def published(report: Report) -> str:
    """Published numbers next to ours; collapsed if other conditions make them incomparable."""
    benchmark, several, body = report.benchmark, len(report.benchmark.published) > 1, []
    for source in benchmark.published:
        for name, values in source.values.items():
            for key, value in values.items():
                counted = column(key).kind == "counted"
                ours = (
                    None
                    if counted and "smaller network" in report.departures
                    else summary(report.rows.get(name, []), key)
                )
                if ours is None:
                    continue
                comparable = counted or not report.departures
                digits = column(key).digits
                told = [escape(report.title(name)), *([escape(source.source)] if several else [])]
                told += [f"{column(key).title}{unit_of(key) and f' [{unit_of(key).strip()}]'}", number(value, digits)]
                body.append([*told, cell(ours, key), f"{ours.mean - value:+,.{digits}f}" if comparable else "-"])
    if not body and not benchmark.findings:
        return ""
    header = ["variant", *(["source"] if several else []), "number", "published", "ours", "difference"]
    paper = benchmark.paper
    linked = re.fullmatch(r"https?://[^\s()<>]+", paper.url)
    text = f"{f'[{escape(paper.title)}]({paper.url})' if linked else escape(paper.title)}. {paper.notes}"
    if report.departures:
        text += f" Our numbers were measured under other conditions ({', '.join(report.departures)}) and are not comparable."
    text += f"\n\n{table(header, body)}" if body else ""
    text += "".join(f"\n{'' if place else chr(10)}- {finding}" for place, finding in enumerate(benchmark.findings))
    title = "Comparison with published results"
    return fold(title, text) if report.departures else f"## {title}\n\n{text}"


def sweep(report: Report, spec: Sweep) -> str:
    """One metric under protocols that differ in one parameter, with a row for each variant and each published curve."""
    keys, body = spec.keys[:MOST_LEVELS], []
    for name, runs in report.rows.items():
        cells = [cell(summary(runs, key), key, most=report.most_seeds) for key in keys]
        body.append([escape(report.title(name)), *cells])
        if known := spec.published.get(name):
            digits = column(keys[0]).digits
            body.append([f"{escape(report.title(name))}, published",
                         *(number(known.get(x), digits) for x in list(spec.protocols)[:MOST_LEVELS])])  # fmt: skip
    if not any(summary(runs, key) for runs in report.rows.values() for key in keys):
        return ""
    header = [f"{unit_heading(keys[0])} at {escape(spec.x)}", *map(str, list(spec.protocols)[:MOST_LEVELS])]
    return f"## {escape(spec.title)}\n\n{spec.note}\n\n" + table(header, body)
