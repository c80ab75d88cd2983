"""Results to a report: text and CSV are a pure function of the result files and the benchmark file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attnae import result
from attnae.bench import catalog, statistics
from attnae.bench.catalog import Benchmark
from attnae.bench.markdown import escape, number, table
from attnae.bench.statistics import Summary
from attnae.errors import UserError
from attnae.files import write_text
from attnae.metrics.columns import PROTOCOLS, column
from attnae.result import Result

COST = ("params_trainable", "gflops_forward", "seconds_per_epoch", "images_per_second", "peak_memory_mb")
FIGURES = {
    "grid.png": "The same {data} images for all variants: masked input, what each variant makes of it, truth.",
    "curves.png": "Training over epochs and over seconds of training; published curves dashed where there are any.",
}


def build(found: list[tuple[Path, Result]], reports: Path) -> list[Path]:
    """Writes one report for each benchmark and label among the results.

    Args:
        found: Folders and results; of several with the same variant and seed the first counts.
        reports: Folder of all reports.

    Returns:
        The reports' ``README.md``.

    Raises:
        UserError: A folder cannot be written to.
    """
    groups: dict[tuple[str, str], dict[tuple[str, int], tuple[Path, Result]]] = {}
    for folder, one in found:
        groups.setdefault((one.benchmark, one.label), {}).setdefault((one.variant, one.seed), (folder, one))
    return [_write(catalog.load(name), label, list(runs.values()), reports) for (name, label), runs in sorted(groups.items())]


def _write(benchmark: Benchmark, label: str, runs: list[tuple[Path, Result]], reports: Path) -> Path:
    from attnae.bench import figures  # matplotlib is slow to import

    folder = reports / benchmark.name / label
    results = _ordered(benchmark, [one for _, one in runs])
    drawn = figures.draw(benchmark, results, {(r.variant, r.seed): path for path, r in runs}, folder / "figures")
    kept = {f"{one.variant}-seed{one.seed}.json" for one in results}
    for one in results:
        result.write(one, folder / "runs" / f"{one.variant}-seed{one.seed}.json")
    for stale in (folder / "runs").glob("*.json"):
        if stale.name not in kept:
            stale.unlink()
    write_text(folder / "results.csv", csv_text(results))
    write_text(folder / "README.md", text(benchmark, results, drawn))
    return folder / "README.md"


def check(reports: Path) -> list[str]:
    """Compares every report below a folder with what its own ``runs/*.json`` give.

    Returns:
        One line for each difference.
    """
    problems = []
    for readme in sorted(reports.glob("*/*/README.md")):
        folder = readme.parent
        try:
            results = [result.read_result(path) for path in sorted((folder / "runs").glob("*.json"))]
            benchmark = catalog.load(folder.parent.name)
        except UserError as error:
            problems.append(str(error))
            continue
        ordered = _ordered(benchmark, results)
        figures = sorted(path.name for path in (folder / "figures").glob("*.png"))
        if readme.read_text(encoding="utf-8") != text(benchmark, ordered, figures):
            problems.append(f"{readme} differs from what its result files give.")
        if (folder / "results.csv").read_text(encoding="utf-8") != csv_text(ordered):
            problems.append(f"{folder / 'results.csv'} differs from what its result files give.")
    return problems


def _ordered(benchmark: Benchmark, results: Iterable[Result]) -> list[Result]:
    order = {name: place for place, name in enumerate(benchmark.variants)}
    return sorted(results, key=lambda r: (order.get(r.variant, len(order)), r.variant, r.seed))


def csv_text(results: list[Result]) -> str:
    """One row for each run, one column for each number, as plain text."""
    keys = sorted({f"metrics/{key}" for r in results for key in r.metrics} | {f"efficiency/{key}" for r in results for key in r.efficiency})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["variant", "seed", "status", "reason", *(key.split("/", 1)[1] for key in keys)])
    for r in results:
        numbers = {f"metrics/{k}": v for k, v in r.metrics.items()} | {f"efficiency/{k}": v for k, v in r.efficiency.items()}
        writer.writerow([r.variant, r.seed, r.status, r.reason, *(numbers.get(key, "") for key in keys)])
    return stream.getvalue()


# -- the page ---------------------------------------------------------------------------------------------------


def text(benchmark: Benchmark, results: list[Result], drawn: list[str]) -> str:
    """The report as Markdown.

    Args:
        benchmark: What was compared.
        results: Runs of one label, in the order of the benchmark's variants.
        drawn: Names of the figures that exist.
    """
    done = [r for r in results if r.status == "complete"]
    rows = {name: [r for r in done if r.variant == name] for name in dict.fromkeys(r.variant for r in results)}
    parts = [_head(benchmark, results, done)]
    parts += [_protocol(benchmark, rows, spec) for spec in benchmark.tables]
    parts += [_published(benchmark, rows), _cost(benchmark, rows)]
    parts += [_curve(benchmark, rows, spec) for spec in benchmark.curves]
    parts += [_figures(benchmark, done, drawn), _failed(results), _variants(benchmark, rows), _provenance(results), _legend(benchmark)]
    return "\n\n".join(part for part in parts if part) + "\n"


def kind_of(done: list[Result]) -> str:
    """What the numbers are, for the first line of a report."""
    if not done:
        return "no finished run"
    data, profile = done[0].data, done[0].profile
    epochs = max((int(r.curves["epoch"][-1] or 0) for r in done if r.curves.get("epoch")), default=0)
    schedule = f", {epochs} epochs" if epochs else ""
    if data.get("kind") == "embedded":
        return f"demonstration on {data['title']}{schedule}"
    if data.get("kind") == "official":
        return f"official data, profile {profile}{schedule}"
    return f"{data.get('title')}, profile {profile}{schedule}"


def _head(benchmark: Benchmark, results: list[Result], done: list[Result]) -> str:
    lines = [f"# {benchmark.title}: {kind_of(done)}", ""]
    if done:
        data = done[0].data
        if data.get("kind") != "official":
            lines += [
                f"> **Not the paper's data.** Trained on {data.get('train')} and tested on {data.get('test')} images of {escape(data.get('title'))} "
                f"at {data.get('size')}x{data.get('size')}. Compare variants with each other; published numbers, made on {benchmark.dataset}, "
                "stand beside them for orientation only.",
                "",
            ]
        if converted := data.get("converted"):
            lines += ["> Converted images: " + ", ".join(f"{count} {escape(why)}" for why, count in sorted(converted.items())) + ".", ""]
    seeds = sorted({r.seed for r in done})
    shown = f"{len(seeds)} seeds ({', '.join(map(str, seeds))}): mean ± sample standard deviation." if len(seeds) > 1 else "One seed: differences carry no error bar."
    lines += [benchmark.question, "", f"{len(done)} of {len(results)} runs complete. {shown}"]
    return "\n".join(lines)


def _protocol(benchmark: Benchmark, rows: dict[str, list[Result]], spec: dict[str, Any]) -> str:
    protocol = spec["protocol"]
    keys = [f"{protocol}/{name}" for name in spec["columns"]]
    lead, base = keys[0], statistics.summary(rows.get(benchmark.baseline, []), keys[0])
    body = []
    for name, runs in rows.items():
        values = [statistics.summary(runs, key) for key in keys]
        images = statistics.summary(runs, f"{protocol}/images")
        change = "-"
        if base and values[0] and name != benchmark.baseline:
            change = f"{100 * (values[0].mean / base.mean - 1):+.1f}%"
        body.append([_title(benchmark, name), change, *(_cell(v, k) for v, k in zip(values, keys, strict=True)), number(images.mean, 0) if images else "-"])
    header = ["variant", f"{column(lead).title} against {escape(_title(benchmark, benchmark.baseline))}", *(column(k).heading for k in keys), "images"]
    return f"## {spec['title']}\n\n{spec.get('note', PROTOCOLS.get(protocol, ''))}\n\n" + table(header, body)


def _published(benchmark: Benchmark, rows: dict[str, list[Result]]) -> str:
    body = []
    for name, values in benchmark.published.items():
        for key, published in values.items():
            ours = statistics.summary(rows.get(name, []), key)
            digits = column(key).digits
            difference = f"{ours.mean - published:+.{digits}f} ({100 * (ours.mean / published - 1):+.1f}%)" if ours else "-"
            body.append([_title(benchmark, name), column(key).title, number(published, digits), _cell(ours, key), difference])
    if not body:
        return ""
    notes = "\n".join(f"- {finding}" for finding in benchmark.findings)
    about = f"Published: {benchmark.paper['title']}. {benchmark.paper.get('notes', '')}"
    return f"## Beside the published numbers\n\n{about}\n\n" + table(["variant", "number", "published", "ours", "difference"], body) + (f"\n\n{notes}" if notes else "")


def _cost(benchmark: Benchmark, rows: dict[str, list[Result]]) -> str:
    base = statistics.summary(rows.get(benchmark.baseline, []), "params_trainable")
    body = []
    for name, runs in rows.items():
        values = {key: statistics.summary(runs, key) for key in COST}
        parameters = values["params_trainable"]
        times = f"{parameters.mean / base.mean:.2f}x" if parameters and base else "-"
        body.append([_title(benchmark, name), _cell(parameters, "params_trainable"), times, *(_cell(values[key], key) for key in COST[1:])])
    header = ["variant", column("params_trainable").heading, "against baseline", *(column(key).heading for key in COST[1:])]
    return "## Cost\n\n" + table(header, body)


def _curve(benchmark: Benchmark, rows: dict[str, list[Result]], spec: dict[str, Any]) -> str:
    """Our training curve at the epochs at which the paper gives one."""
    key, scale = spec["key"], float(spec.get("scale", 1))
    published: dict[str, dict[int, float]] = spec.get("published", {})
    names = [name for name in rows if any(key in r.curves for r in rows[name])]
    epochs = sorted({int(e or 0) for name in names for r in rows[name] for e in r.curves["epoch"]})
    wanted = sorted({epoch for values in published.values() for epoch in values} & set(epochs)) or epochs[:: max(1, len(epochs) // 8)]
    if not names or not wanted:
        return ""
    body = []
    for epoch in wanted:
        cells = [str(epoch)]
        for name in names:
            here = [value * scale for r in rows[name] if (value := statistics.at_epoch(r, key, epoch)) is not None]
            cells.append(_cell(Summary.of(here), "", digits=spec.get("digits", 0)))
            if name in published:
                cells.append(number(published[name].get(epoch), spec.get("digits", 0)))
        body.append(cells)
    header = ["epoch"]
    for name in names:
        header += [_title(benchmark, name)] + (["published"] if name in published else [])
    return f"## {spec['title']}\n\n{spec.get('note', '')}\n\n" + table(header, body)


def _figures(benchmark: Benchmark, done: list[Result], drawn: list[str]) -> str:
    own = {f"{variant}-{spec['file']}": f"{_title(benchmark, variant)}: {spec['caption']}" for spec in benchmark.figures for variant in spec["variants"]}
    captions = {**FIGURES, **own}
    data = done[0].data.get("title", "") if done else ""
    blocks = [f"![{escape(caption.format(data=data))}](figures/{name})\n\n*{caption.format(data=data)}*" for name, caption in captions.items() if name in drawn]
    return "## Figures\n\n" + "\n\n".join(blocks) if blocks else ""


def _failed(results: list[Result]) -> str:
    body = [[r.variant, str(r.seed), escape(r.reason)] for r in results if r.status != "complete"]
    return "## Failed runs\n\n" + table(["variant", "seed", "reason"], body) if body else ""


def _variants(benchmark: Benchmark, rows: dict[str, list[Result]]) -> str:
    return "## Variants\n\n" + "\n".join(
        f"- **{escape(_title(benchmark, name))}** (`{name}`): {benchmark.variants[name].about}" for name in rows if name in benchmark.variants
    )


def _provenance(results: list[Result]) -> str:
    lines = ["## How these numbers were made", ""]
    for title, facts in _shared([("versions", r.versions) for r in results]) + _shared([("hardware", r.hardware) for r in results]):
        lines.append(f"- {title}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    data = {json.dumps(r.data, sort_keys=True): r.data for r in results if r.data}
    lines += [f"- data: {escape(d.get('title'))}, {d.get('train')} train / {d.get('test')} held-out images, fingerprint `{d.get('digest')}`" for d in data.values()]
    lines += ["", "```bash"]
    for r in results:
        commit = r.git.get("commit", "")[:12] + ("+changes" if r.git.get("dirty") else "")
        selection = f", {r.selection}" if r.selection else ""
        lines.append(f"# {r.variant} seed {r.seed}: config {r.config_hash}{f', commit {commit}' if commit else ''}{selection}, {r.wall_seconds:.0f} s in all")
        lines += r.commands
    return "\n".join([*lines, "```"])


def _shared(facts: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Equal facts once."""
    return list({json.dumps(values, sort_keys=True): (title, values) for title, values in facts if values}.values())


def _legend(benchmark: Benchmark) -> str:
    used = [name for spec in benchmark.tables for name in spec["columns"]]
    used += [key.split("/")[-1] for values in benchmark.published.values() for key in values] + list(COST)
    lines = [f"- **{c.title}** [{c.unit}]{'' if c.better == '-' else f', {c.better} is better'}: {c.formula}." for c in map(column, dict.fromkeys(used))]
    return "## What the columns mean\n\n" + "\n".join(lines)


def _title(benchmark: Benchmark, name: str) -> str:
    return benchmark.variants[name].title if name in benchmark.variants else name


def _cell(value: Summary | None, key: str, digits: int | None = None) -> str:
    if value is None:
        return "-"
    places = column(key).digits if digits is None else digits
    return number(value.mean, places) + (f" ± {number(value.std, places)}" if value.std is not None else "")
