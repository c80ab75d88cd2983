"""Quality over cost: one point per variant, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from attnae.bench.reporting.pictures.style import SMALL, WIDTH, Look, grid_lines, legend, save

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Point:
    """A variant's quality at a cost.

    Attributes:
        look: Style of the point.
        quality: Mean over seeds.
        interval: 95% interval of the mean over seeds; ``None`` for one seed.
        cost: Cost; 0 for an untrained or uncounted method.
        cost_range: Smallest and largest cost over seeds.
    """

    look: Look
    quality: float
    interval: tuple[float, float] | None
    cost: float
    cost_range: tuple[float, float]


def front(points: Sequence[tuple[float, float]], better: Better) -> list[tuple[float, float]]:
    """The Pareto front of points (cost, quality), by increasing cost."""
    sign = 1 if better == "higher" else -1
    kept: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not kept or sign * quality > sign * kept[-1][1]:
            kept.append((cost, quality))
    return kept


def draw(title: str, quality: str, better: Better, panels: dict[str, list[Point]], path: Path) -> None:
    """Draws one panel for each cost that differs between variants; draws nothing if none does.

    Args:
        title: Title of the figure.
        quality: Label of the quality axis.
        better: Direction of the quality.
        panels: Points by the label of the cost axis. Points with cost 0 become horizontal lines, because the axis is logarithmic.
        path: File to write.
    """
    panels = {
        label: points
        for label, points in panels.items()
        if len({point.cost for point in points}) > 1 and any(point.cost for point in points)
    }
    if not panels:
        return
    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for place, (axes, (label, points)) in enumerate(zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0],
                                                        panels.items(), strict=True)):  # fmt: skip
        _panel(axes, points, better)
        axes.set_xlabel(label)
        if place == 0:
            axes.set_ylabel(f"{quality} ({better} is better)")
    shown = {point.look.title: point for points in panels.values() for point in points}
    extra = [Line2D([], [], color="0.6", linewidth=3, alpha=0.6, label="Pareto front")]
    if any(point.interval and point.interval[0] < point.interval[1] for point in shown.values()):
        extra.append(
            Line2D(
                [],
                [],
                color="0.3",
                marker="|",
                markersize=10,
                linestyle="",
                label="95% interval of the mean over seeds",
            )
        )
    if any(point.interval is None and point.cost > 0 for point in shown.values()):
        extra.append(
            Line2D(
                [],
                [],
                color="0.3",
                marker="o",
                markerfacecolor="white",
                linestyle="",
                label="hollow: one seed, no interval",
            )
        )
    extra += [Line2D([], [], color=point.look.color, linestyle=":", label=f"{point.look.title} (no training)")
              for point in shown.values() if point.cost == 0]  # fmt: skip
    legend(figure, [], [*_handles(point for point in shown.values() if point.cost > 0), *extra])
    save(figure, path)


def _handles(points: object) -> list[Line2D]:
    return [
        Line2D([], [], color=point.look.color, marker=point.look.marker, linestyle="", markersize=7, label=point.look.title,
               markerfacecolor=point.look.color if point.interval else "white")
        for point in points  # type: ignore[attr-defined]
    ]  # fmt: skip


def _panel(axes: Axes, points: list[Point], better: Better) -> None:
    counted = [point for point in points if point.cost > 0]
    axes.set_xscale("log")
    low, high = min(p.cost_range[0] for p in counted), max(p.cost_range[1] for p in counted)
    room = 1.1 * (high / low) ** 0.12 if low < high else 2.0
    left, right = low / room, high * room
    untrained = [point.quality for point in points if point.cost == 0]
    best = front([(0.0, quality) for quality in untrained] + [(p.cost, p.quality) for p in counted], better)
    steps = [(max(cost, left), quality) for cost, quality in best]
    axes.step(
        *zip(*[*steps, (right, steps[-1][1])], strict=True), where="post", color="0.6", linewidth=3, alpha=0.5, zorder=1
    )
    for point in points:
        if point.cost == 0:
            axes.axhline(point.quality, color=point.look.color, linestyle=":", linewidth=1.3, zorder=0)
            continue
        face = point.look.color if point.interval else "white"
        axes.plot(
            point.cost, point.quality, point.look.marker, color=point.look.color, markerfacecolor=face, markersize=8
        )
        if point.interval:
            axes.vlines(point.cost, *point.interval, color=point.look.color, linewidth=1.6)
        if point.cost_range[0] < point.cost_range[1]:
            axes.hlines(point.quality, *point.cost_range, color=point.look.color, linewidth=0.8)
    axes.set_xlim(left, right)
    subs = (1, 1.5, 2, 3, 5, 7) if high / low < 6 else (1, 3) if high / low < 100 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=SMALL)
    grid_lines(axes)


def _short(value: float) -> str:
    """Formats a number with three significant digits: ``599 k``."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g}"
