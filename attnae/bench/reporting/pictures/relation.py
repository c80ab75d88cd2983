"""One metric over another, one point per run, with the line predicted by the benchmark file and the least-squares fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from attnae.bench.catalog.benchmark import Relation
from attnae.bench.reporting.pictures.style import SMALL, WIDTH, Line, Look, grid_lines, legend, plain, save
from attnae.bench.reporting.seeds import quantile
from attnae.bench.reporting.statistics import value_of
from attnae.metrics.columns import column
from attnae.result import Result


@dataclass(frozen=True)
class Fit:
    """A least-squares line.

    Attributes:
        intercept: y at x = 0.
        slope: Rise of y per unit of x.
        low: Lower end of the 95% interval of the slope.
        high: Upper end.
    """

    intercept: float
    slope: float
    low: float
    high: float


def fit(points: Sequence[tuple[float, float]]) -> Fit | None:
    """Fits a line to points (x, y); ``None`` for fewer than three points, or if all have the same x.

    The interval assumes independent, normal deviations from the line.
    """
    n = len(points)
    middle = fmean(x for x, _ in points) if points else 0.0
    spread = math.fsum((x - middle) ** 2 for x, _ in points)
    if n < 3 or spread == 0 or len({x for x, _ in points}) == 1:  # the mean of equal numbers may be rounded
        return None
    height = fmean(y for _, y in points)
    slope = math.fsum((x - middle) * (y - height) for x, y in points) / spread
    intercept = height - slope * middle
    rest = math.fsum((y - intercept - slope * x) ** 2 for x, y in points)
    half = quantile(0.05, n - 1) * math.sqrt(rest / (n - 2) / spread)  # Student's t with n - 2 degrees of freedom
    return Fit(intercept, slope, slope - half, slope + half)


def predicted(
    spec: Relation, points: Sequence[tuple[float, float]], runs: Sequence[Result]
) -> tuple[float, float] | None:
    """Intercept and slope of the predicted line; ``None`` if none is specified, or no run has x = 0."""
    slopes = [value for run in runs if spec.slope and (value := value_of(run, spec.slope)) is not None]
    start = [y for x, y in points if x == 0]
    return (fmean(start), fmean(slopes) / spec.per) if slopes and start else None


def draw(
    relations: Sequence[Relation], rows: Mapping[str, Sequence[Result]], shown: Mapping[str, Look], path: Path
) -> None:
    """Draws one panel per relation, one below the other.

    Args:
        relations: Relations to draw; skips those with fewer than two distinct points.
        rows: Complete runs by variant.
        shown: Looks by variant.
        path: File to write.
    """
    found = []
    for spec in relations:
        chosen = {name: runs for name, runs in rows.items() if name in spec.variants or not spec.variants}
        points = {name: _points(spec, runs) for name, runs in chosen.items()}
        if len({point for some in points.values() for point in some}) > 1:
            found.append((spec, chosen, points))
    if not found:
        return
    figure = Figure(figsize=(WIDTH, 3.9 * len(found) + 0.6), layout="constrained")
    extra: dict[str, Line2D] = {}
    for axes, (spec, chosen, points) in zip(figure.subplots(len(found), squeeze=False)[:, 0], found, strict=True):
        for name, some in points.items():
            look = shown[name]
            axes.plot(*zip(*some, strict=True), look.marker, color=look.color, alpha=0.75) if some else None
        everything = [point for some in points.values() for point in some]
        _lines(axes, spec, everything, [run for runs in chosen.values() for run in runs], extra)
        axes.set_xlabel(_label(spec.x))
        axes.set_ylabel(_label(spec.y))
        axes.set_title(plain(spec.title), fontsize=10.5)
        axes.tick_params(labelsize=SMALL)
        grid_lines(axes)
    used = [look for name, look in shown.items() if any(points.get(name) for _, _, points in found)]
    marks = [Line2D([], [], color=look.color, marker=look.marker, linestyle="", label=look.title) for look in used]
    legend(figure, [], [*marks, *extra.values()])
    save(figure, path)


def _points(spec: Relation, runs: Sequence[Result]) -> list[tuple[float, float]]:
    pairs = [(value_of(run, spec.x), value_of(run, spec.y)) for run in runs]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _lines(axes: Axes, spec: Relation, points: Sequence[tuple[float, float]], runs: Sequence[Result],
           extra: dict[str, Line2D]) -> None:  # fmt: skip
    """The predicted line and the fitted one, with their slopes in the legend."""
    line = predicted(spec, points, runs)
    if line is None:
        return
    ends = (0.0, max(x for x, _ in points))
    lines: list[tuple[Line, str, float, float]] = [("-", f"{plain(spec.prediction)}: slope {line[1]:.3g}", *line)]
    if best := fit(points):
        told = f"least squares: slope {best.slope:.3g} [{best.low:.3g}, {best.high:.3g}]"
        lines.append((":", told, best.intercept, best.slope))
    for style, told, intercept, slope in lines:
        axes.plot(ends, [intercept + slope * x for x in ends], style, color="0.4", linewidth=1.4, zorder=0)
        extra[told] = Line2D([], [], color="0.4", linestyle=style, label=told)


def _label(key: str) -> str:
    unit = column(key).unit
    return plain(column(key).title) + ("" if unit == "-" else f" [{unit}]")
