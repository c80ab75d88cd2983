"""Figures of a report, from result files and the images saved by runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

from attnae.bench.catalog.benchmark import Benchmark, Curve, Sweep
from attnae.bench.reporting.cells import named, title_of
from attnae.bench.reporting.conditions import counting
from attnae.bench.reporting.material import Folders, Report
from attnae.bench.reporting.pictures import grid, lines, relation, tradeoff
from attnae.bench.reporting.pictures.lines import Panel
from attnae.bench.reporting.pictures.style import Look, looks, plain, save
from attnae.bench.reporting.pictures.tradeoff import Point
from attnae.bench.reporting.seeds import paired
from attnae.bench.reporting.statistics import by_seed
from attnae.files import atomic
from attnae.metrics.columns import column
from attnae.result import Result

__all__ = ["draw", "save"]

PROTOCOL = "heldout"

MOST = 12
"""Maximum number of variants in a figure, to keep them distinguishable; tables have all of them."""

COSTS = ("gflops_forward", "params_trainable", "seconds_per_epoch")


def draw(report: Report, folders: Folders, to: Path) -> list[str]:
    """Draws all figures that the results allow.

    Args:
        report: What was compared.
        folders: Folders of the runs by variant and seed.
        to: Folder of the figures; existing figures that cannot be redrawn are kept.

    Returns:
        Names of all figures in the folder.
    """
    to.mkdir(parents=True, exist_ok=True)
    benchmark, shown = report.benchmark, drawn(report)
    rows = {name: report.rows[name] for name in shown}
    count = sum(map(bool, report.rows.values()))
    left_out = f" ({MOST} of {count} variants)" if count > MOST else ""
    title = plain(benchmark.title) + left_out

    images = {shown[name].title: folders[name, runs[0].seed] / "images" for name, runs in rows.items()}
    grid.draw(f"{title}: held-out images, PSNR and error of each output", PROTOCOL, images, to / "grid.png")
    _tradeoff(benchmark, title, rows, shown, to / "tradeoff.png")
    published = "smaller network" not in report.departures  # its losses are sums over other numbers of pixels
    curves = [_curve(rows, spec, _published(spec) if published else {}) for spec in benchmark.curves]
    lines.draw(curves, shown, benchmark.baseline, to / "curves.png")
    sweeps = [_sweep(rows, spec) for spec in benchmark.sweeps]
    lines.draw(sweeps, shown, benchmark.baseline, to / "sweep.png")
    relation.draw(benchmark.relations, rows, shown, to / "relation.png")
    _copies(benchmark, {name: folders[name, runs[0].seed] for name, runs in rows.items()}, to)
    return sorted(path.name for path in to.glob("*.png"))


def drawn(report: Report) -> dict[str, Look]:
    """The variants in figures with their looks, at most :data:`MOST`, in the order of the benchmark file."""
    benchmark, done = report.benchmark, report.done
    known = looks({**{name: title_of(benchmark, name) for name in benchmark.variants},
                   **{r.variant: r.variant for r in done if r.variant not in benchmark.variants}})  # fmt: skip
    names = list(dict.fromkeys(r.variant for r in done))
    names.sort(key=lambda name: name != benchmark.baseline)  # stable: the baseline is never left out
    kept = set(names[:MOST])
    return {name: look for name, look in known.items() if name in kept}


def _tradeoff(
    benchmark: Benchmark, title: str, rows: dict[str, list[Result]], shown: dict[str, Look], path: Path
) -> None:
    """Quality over each cost that differs between variants, in decibels if possible."""
    directed = [
        key for key in benchmark.leading if column(key).better != "-" and any(by_seed(r, key) for r in rows.values())
    ]
    key = next((key for key in directed if column(key).unit == "dB"), directed[0] if directed else None)
    if key is None:
        return
    better = column(key).better
    compared = [run for runs in rows.values() for run in runs]
    panels: dict[str, list[Point]] = {}
    for cost in COSTS:
        points = []
        for name, runs in rows.items():
            quality = paired(by_seed(runs, key), 0.0)
            spent = list(by_seed(counting(runs, cost, compared), cost).values())
            free = not any(r.efficiency.get("params_trainable") for r in runs)
            if quality is None or not (spent or free):
                continue
            middle, ends = (0.0, (0.0, 0.0)) if free else (median(spent), (min(spent), max(spent)))
            points.append(Point(shown[name], quality.mean, quality.interval(), middle, ends))
        panels[axis(cost)] = points
    unit = "" if column(key).unit == "-" else f" [{column(key).unit}]"
    counted = [panels[axis(cost)] for cost in COSTS[:2]]
    if better == "-" or all(len({point.cost for point in points}) < 2 for points in counted):
        return  # one network under several conditions: its times only differ by the load of the machine
    tradeoff.draw(f"{title}: quality over cost", plain(named(key)) + unit, better, panels, path)


def axis(cost: str) -> str:
    """Title of a cost axis."""
    return {"gflops_forward": "GFLOPs of a forward pass", "params_trainable": "parameters",
            "seconds_per_epoch": "seconds per epoch, idle machine"}[cost]  # fmt: skip


def _curve(rows: dict[str, list[Result]], spec: Curve, published: dict[str, dict[float, float]]) -> Panel:
    key, scale = spec.key, spec.scale
    curves: dict[str, dict[int, dict[float, float]]] = {}
    for name, runs in rows.items():
        for r in runs:
            pairs = zip(r.curves.get("epoch", []), r.curves.get(key, []), strict=False)
            if points := {x: y * scale for x, y in pairs if x is not None and y is not None}:
                curves.setdefault(name, {})[r.seed] = points
    name = key.split("/")[-1]
    unit = column(name).unit
    label, unit = plain(column(name).title), "" if unit == "-" else unit
    return Panel(plain(spec.title), "epoch", label, unit, curves, published, unit != "dB")


def _sweep(rows: dict[str, list[Result]], spec: Sweep) -> Panel:
    name = spec.metric
    curves: dict[str, dict[int, dict[float, float]]] = {}
    for variant, runs in rows.items():
        for x, protocol in spec.protocols.items():
            for seed, value in by_seed(runs, f"{protocol}/{name}").items():
                curves.setdefault(variant, {}).setdefault(seed, {})[float(x)] = value
    unit = column(name).unit
    label, unit = plain(column(name).title), "" if unit == "-" else unit
    return Panel(
        plain(spec.title),
        plain(spec.x),
        label,
        unit,
        curves,
        _published(spec),
        ratio=unit != "dB",
        epochs=False,
    )


def _published(spec: Curve | Sweep) -> dict[str, dict[float, float]]:
    return {name: {float(x): y for x, y in values.items()} for name, values in spec.published.items()}


def _copies(benchmark: Benchmark, runs: dict[str, Path], to: Path) -> None:
    """Copies figures that were drawn by the runs."""
    for spec in benchmark.figures:
        for variant in spec.variants:
            source = runs[variant] / "images" / spec.file if variant in runs else None
            if source and source.is_file() and not source.is_symlink():  # of another person: it may lead anywhere
                with atomic(to / f"{variant}-{spec.file}") as temporary:
                    shutil.copyfile(source, temporary)
