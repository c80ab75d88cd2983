"""Figures of a report, from result files and the pictures that runs left."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from attnae.bench.benchmark import Benchmark, Curve
from attnae.bench.reporting.statistics import by_seed, summary
from attnae.files import atomic
from attnae.metrics.columns import column
from attnae.result import Result

PROTOCOL = "heldout"


def draw(benchmark: Benchmark, results: list[Result], folders: dict[tuple[str, int], Path], to: Path) -> list[str]:
    """Draws what the results allow.

    Args:
        benchmark: What was compared.
        results: Runs in the order of the benchmark's variants.
        folders: Folders of the runs by variant and seed.
        to: Folder of the figures; what is there and cannot be drawn again stays.

    Returns:
        Names of all figures in the folder.
    """
    to.mkdir(parents=True, exist_ok=True)
    first = {r.variant: r for r in reversed(results) if r.status == "complete"}
    runs = {name: folders[r.variant, r.seed] for name, r in first.items()}
    titles = {name: variant.title for name, variant in benchmark.variants.items()}
    _grid({titles.get(name, name): folder for name, folder in _in_order(runs, results).items()}, to / "grid.png")
    _curves(benchmark, [r for r in results if r.status == "complete"], titles, to / "curves.png")
    _sweeps(benchmark, [r for r in results if r.status == "complete"], titles, to / "sweep.png")
    for shown in benchmark.figures:
        for variant in shown.variants:
            source = runs.get(variant, Path()) / "images" / shown.file
            if source.is_file():
                with atomic(to / f"{variant}-{shown.file}") as temporary:
                    shutil.copyfile(source, temporary)
    return sorted(path.name for path in to.glob("*.png"))


def _in_order(runs: dict[str, Path], results: list[Result]) -> dict[str, Path]:
    return {name: runs[name] for name in dict.fromkeys(r.variant for r in results) if name in runs}


def _grid(runs: dict[str, Path], path: Path) -> None:
    """Input where it is not the truth, outputs and truth, a row each, for the images that all runs share."""
    strips = {title: folder / "images" / f"{PROTOCOL}-output.png" for title, folder in runs.items()}
    strips = {title: strip for title, strip in strips.items() if strip.is_file()}
    if not strips:
        return
    anyone = next(iter(strips.values())).parent
    rows = {"input": anyone / f"{PROTOCOL}-input.png", **strips, "truth": anyone / f"{PROTOCOL}-truth.png"}
    rows = {title: strip for title, strip in rows.items() if strip.is_file()}  # an autoencoder's input is the truth
    pictures = {title: picture for title, strip in rows.items() if (picture := _picture(strip)) is not None}
    if len({picture.shape[1] for picture in pictures.values()}) != 1:
        return
    stacked = np.concatenate(list(pictures.values()))
    figure = Figure(figsize=(9, 9 * stacked.shape[0] / stacked.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(stacked, interpolation="nearest")
    height = stacked.shape[0] / len(pictures)
    axes.set_yticks([(place + 0.5) * height for place in range(len(pictures))], list(pictures), fontsize=10)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save(figure, path)


def _picture(path: Path) -> np.ndarray | None:
    """RGB (H, W, 3); ``None`` for a file that was cut short or is no picture, without which the report can do."""
    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _curves(benchmark: Benchmark, results: list[Result], titles: dict[str, str], path: Path) -> None:
    """Each curve of the benchmark file against epochs and against seconds of training.

    Every epoch counts as the variant's median one: a pause, or a seed beside other work, says nothing about a variant.
    """
    trained = [r for r in results if len(r.curves.get("epoch", [])) > 0]
    specs = [spec for spec in benchmark.curves if any(spec.key in r.curves for r in trained)]
    if not specs:
        return
    figure = Figure(figsize=(10, 3.4 * len(specs)), layout="constrained")
    colours = {name: f"C{place}" for place, name in enumerate(benchmark.variants)}
    seconds = {
        name: median(steps)
        for name in colours
        if (steps := list(by_seed([r for r in trained if r.variant == name], "seconds_per_epoch").values()))
    }
    last = max((r.curves["epoch"][-1] or 0) for r in trained)
    for (over_epochs, over_seconds), spec in zip(figure.subplots(len(specs), 2, squeeze=False), specs, strict=True):
        shown = set[str]()
        for r in trained:
            points = _points(r, spec)
            style = {"color": colours.get(r.variant), "markersize": 2.5, "linewidth": 1.2}
            if points:
                label = None if r.variant in shown else titles.get(r.variant, r.variant)
                over_epochs.plot(*zip(*points, strict=True), "o-", label=label, **style)
                shown.add(r.variant)
            if points and (step := seconds.get(r.variant)):
                over_seconds.plot(*zip(*((x * step, y) for x, y in points), strict=True), "o-", **style)
        for name, published in spec.published.items():
            if name in shown:
                points = [(float(x), y) for x, y in published.items() if x <= last]
                _published(over_epochs, points, colours.get(name), titles.get(name, name))
        over_epochs.set(xlabel="epoch", ylabel=spec.title, yscale="log")
        over_seconds.set(xlabel="seconds (epochs x median)", ylabel=spec.title, yscale="log")
        over_epochs.xaxis.set_major_locator(MaxNLocator(integer=True))
        over_epochs.legend(fontsize=8)
        for axes in (over_epochs, over_seconds):
            axes.grid(alpha=0.25, which="both")
    save(figure, path)


def _points(r: Result, curve: Curve) -> list[tuple[float, float]]:
    """A run's curve: epochs and values."""
    pairs = zip(r.curves["epoch"], r.curves.get(curve.key, []), strict=False)
    return [(x, y * curve.scale) for x, y in pairs if x is not None and y is not None]


def _published(axes: Axes, points: list[tuple[float, float]], colour: str | None, title: str) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), "x--", color=colour, alpha=0.6, label=f"{title}, published")


def _sweeps(benchmark: Benchmark, results: list[Result], titles: dict[str, str], path: Path) -> None:
    """Each sweep of the benchmark file: the mean over seeds of every variant, and what is published."""
    if not benchmark.sweeps or not results:
        return
    figure = Figure(figsize=(6.5, 4 * len(benchmark.sweeps)), layout="constrained")
    for axes, spec in zip(
        figure.subplots(len(benchmark.sweeps), 1, squeeze=False)[:, 0], benchmark.sweeps, strict=True
    ):
        for place, name in enumerate(benchmark.variants):
            runs = [r for r in results if r.variant == name]
            means = {x: summary(runs, f"{protocol}/{spec.metric}") for x, protocol in spec.protocols.items()}
            points = [(float(x), mean.mean) for x, mean in means.items() if mean]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=f"C{place}", label=titles.get(name, name))
            if points and (published := spec.published.get(name)):
                _published(axes, [(float(x), y) for x, y in published.items()], f"C{place}", titles.get(name, name))
        axes.set(xlabel=spec.x, ylabel=f"{column(spec.metric).title} [{column(spec.metric).unit}]")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Saves a figure as PNG."""
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110, bbox_inches="tight", pad_inches=0.1, metadata={"Software": None})
