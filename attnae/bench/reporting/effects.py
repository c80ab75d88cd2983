"""One figure for all papers: each published effect and our measurement of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.reporting import evidence
from attnae.bench.reporting.claims import Judged
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.pictures.style import SMALL, WIDTH, plain, save
from attnae.metrics.columns import Column, column

NAME = "effects.png"

SHOWN = (-1.25, 1.75)
"""Range of the axis in multiples of the published effect; values outside are shown as an arrow with the number."""

SEVERAL, ONE = "#0072B2", "#7F7F7F"


class Effect(NamedTuple):
    """A claimed difference, published and measured: errors in percent of the right side, other metrics in their unit."""

    text: str
    published: float
    mean: float
    ends: tuple[float, float] | None
    seeds: int
    metric: Column
    percent: bool
    same_schedule: bool


def effects(benchmarks: Sequence[Benchmark], reports: Sequence[Report]) -> dict[str, list[Effect]]:
    """Claims with a published and a measured effect, by the title of the benchmark."""
    found: dict[str, list[Effect]] = {}
    for benchmark in benchmarks:
        for judged, report in evidence.verdicts(benchmark, reports):
            if report and (effect := _effect(judged, "shorter schedule" not in report.departures)):
                found.setdefault(benchmark.title, []).append(effect)
    return found


def _effect(one: Judged, same_schedule: bool) -> Effect | None:
    """The effect of a claim; ``None`` for an error of which no two figures are published, or that is compared
    with 0: its scale is not known."""
    claim, ours, metric = one.claim, one.judgment, column(one.claim.keys[0])
    if not claim.effect or ours.estimate is None or ours.means is None or not isinstance(claim.right, str):
        return None
    percent, scale, published = metric.better == "lower", 1.0, claim.effect
    if percent:
        if not isinstance(claim.published, list) or not claim.published[1] or not ours.means[1]:
            return None
        scale, published = 100 / ours.means[1], 100 * published / claim.published[1]
    ends = None if ours.low is None or ours.high is None else (scale * ours.low, scale * ours.high)
    mean = scale * ours.estimate.mean
    return Effect(claim.claim, published, mean, ends, len(ours.seeds), metric, percent, same_schedule)


def draw(benchmarks: Sequence[Benchmark], reports: Sequence[Report], path: Path) -> None:
    """Draws :func:`effects` as multiples of the published effects, if there are any."""
    rows: list[str | Effect] = []
    for title, found in effects(benchmarks, reports).items():
        rows += [title, *found]
    if not rows:
        return
    height = 0.46 * len(rows) + 1.9
    figure = Figure(figsize=(WIDTH, height))
    figure.text(
        0.5,
        1 - 0.12 / height,
        "Measured effects as fractions of the published effects",
        ha="center",
        va="top",
        fontsize=11,
    )
    axes = figure.add_axes((0.42, 1.25 / height, 0.3, 1 - 1.75 / height))
    for place, text in ((0, "no effect"), (1, "as published")):
        axes.axvline(place, color="black" if place else "0.5", linewidth=1, linestyle="-" if place else ":", zorder=0)
        axes.text(place, -0.75, text, ha="center", va="bottom", fontsize=SMALL)
    for y, row in enumerate(rows):
        if isinstance(row, Effect):
            _row(axes, y, row)
    labels = [row if isinstance(row, str) else plain(_wrapped(_bare(row.text))) for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=SMALL)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if isinstance(row, str) else "normal")
    axes.set(xlim=SHOWN, ylim=(len(rows) - 0.4, -0.8), xlabel="measured effect / published effect")
    axes.tick_params(axis="y", length=0, pad=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    _legend(figure)
    save(figure, path)


def _row(axes: Axes, y: int, row: Effect) -> None:
    """Draws mean and interval of one effect, with the numbers next to it."""
    low, high = SHOWN
    color = SEVERAL if row.ends else ONE
    if not row.same_schedule:
        axes.barh(
            y,
            high - low,
            left=low,
            height=0.94,
            facecolor="none",
            edgecolor="0.87",
            hatch="///",
            linewidth=0,
            zorder=-1,
        )
    mean = row.mean / row.published
    if row.ends:
        ends = sorted(end / row.published for end in row.ends)
        axes.plot([min(max(end, low), high) for end in ends], [y, y], "-", color=color, linewidth=2)
        for end, edge, marker, side in ((ends[0], low, "<", "left"), (ends[1], high, ">", "right")):
            if not low <= end <= high:
                axes.plot(edge, y, marker, color=color, markersize=5, clip_on=False)
                axes.text(edge, y + 0.14, f"{end:.1f}", fontsize=SMALL - 1, ha=side, va="top", color=color)
    if low <= mean <= high:
        axes.plot(mean, y, "o", color=color, markersize=7)
    else:
        edge, marker, side = (low, "<", "left") if mean < low else (high, ">", "right")
        axes.plot(edge, y, marker, color=color, markersize=8, clip_on=False)
        axes.text(
            edge + (0.08 if mean < low else -0.08), y, f"{mean:.1f}", fontsize=SMALL, va="center", ha=side, color=color
        )
    digits = 1 if row.percent else row.metric.digits
    ours, published = (f"{value:+,.{digits}f}" for value in (row.mean, row.published))
    unit = "%" if row.percent else f" {row.metric.unit}" if row.metric.unit == "dB" else ""
    note = f"{row.metric.title}: {ours}{unit}, n = {row.seeds}\npublished {published}{unit}"
    axes.text(high + 0.08, y, plain(note), fontsize=SMALL, va="center")


def _legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=SEVERAL, marker="o", label="mean and confidence interval over seeds"),
        Line2D([], [], color=ONE, marker="o", linestyle="", label="one seed: no interval"),
        Line2D([], [], color="0.3", marker="<", linestyle="", label="beyond the axis, at the printed value"),
        Patch(facecolor="none", edgecolor="0.7", hatch="///", linewidth=0, label="hatched: not the published schedule"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False, fontsize=SMALL)


def _bare(claim: str) -> str:
    """Removes text in parentheses, because sizes are printed next to the row."""
    return re.sub(r" \(.*?\)", "", claim)


def _wrapped(text: str, width: int = 52) -> str:
    """Breaks long text into two lines of about equal length."""
    if len(text) <= width:
        return text
    middle = min(
        (place for place, letter in enumerate(text) if letter == " "), key=lambda place: abs(place - len(text) // 2)
    )
    return f"{text[:middle]}\n{text[middle + 1 :]}"
