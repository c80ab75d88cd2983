"""One picture of all papers: each effect that a paper reports, beside what we measure of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from attnae.bench.benchmark import Benchmark
from attnae.bench.reporting import evidence
from attnae.bench.reporting.cells import kind_of
from attnae.bench.reporting.evidence import Report
from attnae.bench.reporting.figures import save
from attnae.bench.reporting.statistics import Difference
from attnae.metrics.columns import Column, column

NAME = "effects.png"

SHOWN = (-1.25, 1.75)
"""Multiples of a published effect that fit into the picture; what lies outside is drawn at the edge, as an arrow."""


class Effect(NamedTuple):
    """A claimed difference, published and measured, in the metric's unit."""

    text: str
    condition: str
    published: float
    ours: Difference
    metric: Column


def effects(benchmarks: list[Benchmark], reports: list[Report]) -> dict[str, list[Effect]]:
    """By the benchmark's title, each claim that has a published size and a measured one."""
    found: dict[str, list[Effect]] = {}
    for benchmark in benchmarks:
        ranked = evidence.ranked(benchmark, reports)
        for claim in benchmark.claims:
            best = evidence.best(benchmark, claim, ranked)
            if claim.effect and claim.margin == 0 and best and best.verdict.difference:
                found.setdefault(benchmark.title, []).append(
                    Effect(
                        claim.claim, kind_of(best.runs), claim.effect, best.verdict.difference, column(claim.keys[0])
                    )
                )
    return found


def draw(benchmarks: list[Benchmark], reports: list[Report], path: Path) -> None:
    """Draws :func:`effects` as multiples of the published ones, if there are any."""
    groups = effects(benchmarks, reports)
    rows: list[str | Effect] = []
    for title, found in groups.items():
        rows += [title, *found]
    if not rows:
        return
    figure = Figure(figsize=(11, 0.46 * len(rows) + 1))
    axes = figure.add_axes((0.49, 0.09, 0.3, 0.89))
    low, high = SHOWN
    axes.axvspan(0.5, high, color="tab:green", alpha=0.07, linewidth=0)
    for place, text in ((0, "no effect"), (1, "as published")):
        axes.axvline(place, color="black" if place else "grey", linewidth=1, linestyle="-" if place else ":")
        axes.text(place, -0.7, text, ha="right" if place == 0 else "left", va="bottom", fontsize=9)
    for y, row in enumerate(rows):
        if isinstance(row, str):
            continue
        mean, low_end, high_end = row.ours.mean / row.published, row.ours.low, row.ours.high
        colour = "tab:blue" if low_end is not None else "tab:grey"
        inside = min(max(mean, low + 0.03), high - 0.03)
        axes.plot(inside, y, "o" if inside == mean else "<" if mean < low else ">", color=colour, markersize=7)
        if low_end is not None and high_end is not None:
            span = sorted(min(max(end / row.published, low), high) for end in (low_end, high_end))
            axes.plot(span, [y, y], "-", color=colour, linewidth=2)
        if inside != mean:
            axes.text(inside + (0.06 if mean < low else -0.06), y, f"{mean:.1f}", fontsize=8, va="center",
                      ha="left" if mean < low else "right")  # fmt: skip
        ours, published = (f"{value:+,.{row.metric.digits}f}" for value in (row.ours.mean, row.published))
        unit = "" if row.metric.unit == "-" else f" [{row.metric.unit}]"
        note = f"{row.metric.title}{unit}\n{ours}, published {published}, n = {row.ours.n}"
        axes.text(high + 0.04, y, note, fontsize=8, va="center")
    labels = [row if isinstance(row, str) else f"{_plain(row.text)}\n{row.condition}" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if isinstance(row, str) else "normal")
    axes.set(xlim=SHOWN, ylim=(len(rows) - 0.4, -0.8), xlabel="measured effect / published effect")
    legend = "blue: mean and 95% interval over seeds; grey: one seed, no error bar; green: more than half of what is published"
    figure.text(0.5, 0.005, legend, ha="center", fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    save(figure, path)


def _plain(claim: str) -> str:
    """Without what is in brackets: sizes stand beside the row."""
    return re.sub(r" \(.*?\)", "", claim)
