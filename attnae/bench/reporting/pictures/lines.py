"""Lines over epochs or a swept number: the mean of each variant with a band, and the difference from the baseline below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator

from attnae.bench.reporting.pictures.style import SMALL, WIDTH, Look, grid_lines, legend, save
from attnae.bench.reporting.seeds import paired

Curve = Mapping[float, float]
"""Values by epoch or swept parameter."""


@dataclass(frozen=True)
class Panel:
    """One quantity of all variants.

    Attributes:
        title: Title of the panel.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        unit: Unit of the values; empty for pure numbers.
        curves: Curve by seed, by variant.
        published: The paper's curve by variant.
        ratio: Whether differences are percentages of the baseline; false for decibels and shares.
        epochs: Whether x counts epochs.
    """

    title: str
    x: str
    y: str
    unit: str
    curves: Mapping[str, Mapping[int, Curve]]
    published: Mapping[str, Curve] = field(default_factory=dict)
    ratio: bool = True
    epochs: bool = True


def draw(panels: Sequence[Panel], shown: Mapping[str, Look], baseline: str, path: Path) -> None:
    """Draws the panels, two in a row, each with the difference from the baseline below where there is one.

    Args:
        panels: What to draw; those without curves are left out.
        shown: Looks by variant, in order.
        baseline: Variant that differences refer to.
        path: File to write.
    """
    panels = [panel for panel in panels if any(curves for curves in panel.curves.values())]
    if not panels:
        return
    across = min(2, len(panels))
    differs = [_differs(panel, shown, baseline) for panel in panels]
    heights: list[int] = []
    rows: list[slice] = []  # of each panel, with its difference
    for first in range(0, len(panels), across):
        # Where no panel of a row has a difference, rows kept for it would be blank.
        added = [3, 2] if any(differs[first : first + across]) else [3]
        rows += [slice(len(heights), len(heights) + len(added))] * across
        heights += added
    figure = Figure(figsize=(WIDTH, 0.98 * sum(heights) + 0.5), layout="constrained")
    cells = figure.add_gridspec(len(heights), across, height_ratios=heights)
    for place, panel in enumerate(panels):
        last = (
            place == len(panels) - 1 and place % across == 0 and across == 2
        )  # the last of an odd number takes the whole row
        whole, column = rows[place], slice(None) if last else place % across
        above = figure.add_subplot(cells[whole.start if differs[place] else whole, column])
        below = None
        if differs[place]:
            below = figure.add_subplot(cells[whole.stop - 1, column], sharex=above)
            above.tick_params(labelbottom=False)
            _differences(below, panel, shown, baseline)
        _values(above, panel, shown)
        (below or above).set_xlabel(panel.x)
    used = {name: look for name, look in shown.items() if any(panel.curves.get(name) for panel in panels)}
    seeds = max(len(curves) for panel in panels for curves in panel.curves.values())
    extra: list[Line2D | Patch] = []
    if seeds > 1:
        bars = "; bars: 95% interval" if any(differs) else ""
        extra.append(Patch(color="0.5", alpha=0.25, label=f"band: min to max over seeds{bars}"))
    if any(panel.published.get(name) for panel in panels for name in used):
        extra.append(Line2D([], [], color="0.4", linestyle=(0, (1, 2)), marker="x", label="x: published"))
    legend(figure, used.values(), extra, markersize=5)  # type: ignore[arg-type]
    save(figure, path)


def _differs(panel: Panel, shown: Mapping[str, Look], baseline: str) -> bool:
    """Whether a variant shares a seed with the baseline."""
    seeds = panel.curves.get(baseline, {}).keys()
    return any(seeds & panel.curves.get(name, {}).keys() for name in shown if name != baseline)


def _values(axes: Axes, panel: Panel, shown: Mapping[str, Look]) -> None:
    everything: list[float] = []
    for name, look in shown.items():
        curves = panel.curves.get(name) or {}
        if not curves:
            continue
        points = _at_each(curves, list)
        means = {x: fmean(values) for x, values in points.items()}
        everything += [value for values in points.values() for value in values]
        _line(axes, means, look)
        if len(curves) > 1:
            axes.fill_between(list(points), [min(v) for v in points.values()], [max(v) for v in points.values()],
                              color=look.color, alpha=0.15, linewidth=0)  # fmt: skip
        published = panel.published.get(name, {})
        if panel.epochs:  # a paper's 3,000 epochs would squeeze ours against the axis
            published = {x: y for x, y in published.items() if x <= max(means)}
        if published:
            axes.plot(
                list(published), list(published.values()), "x", linestyle=(0, (1, 2)), color=look.color, markersize=6
            )
            everything += published.values()
    if panel.ratio and everything and min(everything) > 0 and max(everything) > 3 * min(everything):
        axes.set_yscale("log")
        near = max(everything) < 100 * min(everything)
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5) if near else ()))
        for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatted(lambda value, _: f"{value:,.3g}" if value < 1000 else f"{value:,.0f}")
    axes.set_ylabel(f"{panel.y} [{panel.unit}]" if panel.unit else panel.y)
    axes.set_title(panel.title, fontsize=10.5)
    if panel.epochs:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=SMALL)
    grid_lines(axes)


def _differences(axes: Axes, panel: Panel, shown: Mapping[str, Look], baseline: str) -> None:
    base = panel.curves[baseline]
    ratio = panel.ratio and all(value > 0 for curve in base.values() for value in curve.values())
    axes.axhline(0, color=shown[baseline].color, linewidth=1)
    others = [name for name in shown if name != baseline and panel.curves.get(name)]
    for place, name in enumerate(others):
        look, curves = shown[name], panel.curves[name]
        seeds = sorted(curves.keys() & base.keys())
        if not seeds:
            continue
        gaps = {seed: {x: 100 * (y / base[seed][x] - 1) if ratio else y - base[seed][x]
                       for x, y in curves[seed].items() if x in base[seed]} for seed in seeds}  # fmt: skip
        found = {x: estimate for x in sorted(set.intersection(*(set(gap) for gap in gaps.values())))
                 if (estimate := paired({seed: gap[x] for seed, gap in gaps.items()}, 0.0))}  # fmt: skip
        _line(axes, {x: estimate.mean for x, estimate in found.items()}, look)
        _intervals(axes, {x: ends for x, estimate in found.items() if (ends := estimate.interval())}, look,
                   (place + 0.5) / len(others) - 0.5)  # fmt: skip
    _clip(axes)
    axes.set_ylabel(
        f"difference from\n{shown[baseline].title}" + (" [%]" if ratio else f" [{panel.unit}]" if panel.unit else ""),
        fontsize=SMALL + 0.5,
    )
    axes.tick_params(labelsize=SMALL)
    grid_lines(axes)


def _intervals(axes: Axes, ends: Mapping[float, tuple[float, float]], look: Look, shift: float) -> None:
    """Draws intervals as bars at a few places, side by side, because bands of many variants would overlap.

    Args:
        axes: Where to draw.
        ends: Interval by x.
        look: Look of the variant.
        shift: Position among the variants, -0.5 to 0.5.
    """
    if not ends:
        return
    places = list(ends)
    chosen = places[:: -max(1, len(places) // 6)]  # from the end, which is the most important
    step = (places[-1] - places[0]) / max(1, len(chosen)) or 1.0
    at = [x + 0.4 * shift * step for x in chosen]
    axes.vlines(
        at, [ends[x][0] for x in chosen], [ends[x][1] for x in chosen], color=look.color, linewidth=1.8, alpha=0.75
    )


def _clip(axes: Axes) -> None:
    """Limits the vertical range, because wide intervals from few seeds would flatten all means; clips longer bars."""
    means = [float(y) for line in axes.lines for y in np.asarray(line.get_ydata(), dtype=float)]
    low, high = min(means), max(means)
    room = max(high - low, 1e-12)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, low - 1.5 * room), min(top, high + 1.5 * room))


def _at_each(curves: Mapping[int, Curve], summarize: Callable[[list[float]], list[float]]) -> dict[float, list[float]]:
    """Summarizes the values of all seeds at each x that all seeds have."""
    common = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    return {x: summarize([curve[x] for curve in curves.values()]) for x in common}


def _line(axes: Axes, points: Mapping[float, float], look: Look) -> None:
    every = max(1, len(points) // 8)
    axes.plot(list(points), list(points.values()), color=look.color, linestyle=look.line, marker=look.marker,
              markevery=every, markersize=4.5, linewidth=1.5)  # fmt: skip
