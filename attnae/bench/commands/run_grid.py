"""``attnae-bench run --grid``: one comparison for each point of a grid, and a page about all of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rich.markup import escape

from attnae.bench import grid, plan, store
from attnae.bench.commands import run
from attnae.bench.markdown import unmarked
from attnae.bench.terminal import console
from attnae.errors import UserError
from attnae.paths import shown
from attnae.result import label_part

if TYPE_CHECKING:
    from attnae.bench.reporting.material import Loaded


def perform(options: argparse.Namespace) -> run.Outcome:
    """Executes the runs of all points of a grid, and compares their conclusions."""
    from attnae.bench.reporting import grid_page, report

    points = grid.points(options.grid, options.overrides)
    _asked(options, len(points), f"{len(points):,} points")
    found = [
        argparse.Namespace(
            **{**vars(options), "overrides": [*options.overrides, *point], "label": _label(options, point)}
        )
        for point in points
    ]
    plans = [run.planned(one) for one in found]  # all errors come before the first run
    runs = sum(len(made.runs) for made in plans)
    out = console()
    _asked(options, runs, f"{len(plans):,} points with {runs:,} runs")
    out.print(f"{len(plans)} points with {runs} runs in all", highlight=False)
    labels: dict[str, str] = {}
    worst = 0
    compared: list[Loaded] = []
    for one, made, point in zip(found, plans, points, strict=True):
        name = grid.name(point)
        out.print(f"\n[bold]{escape(name)}[/]", highlight=False)
        if options.retest and any(map(_tested, plans)) and not _tested(made):
            out.print("No complete runs to retest.")
            continue
        code, _, found_here = run.carry_out(one, made)
        compared += found_here
        worst = max(worst, code)
        if code == 130:
            break
        if found_here:
            labels[name] = found_here[0][0].label
    made = plans[0]
    if worst == 130 or not labels:  # interrupted, a dry run, or all runs are on SLURM
        return run.Outcome(worst, made, compared)
    keys = [text.partition("=")[0] for text in options.grid]
    base = label_part(options.label) if options.label else plan.label(made, keys)
    page = grid_page.record(made.benchmark, base, keys, labels, options.reports)
    report.refresh(options.reports)
    out.print()
    for line in grid_page.conclusions(page):
        out.print(unmarked(line), soft_wrap=True, highlight=False, markup=False)
    out.print(f"Over the grid: {escape(shown(page))}", soft_wrap=True)
    return run.Outcome(worst, made, compared)


def _tested(made: plan.Plan) -> bool:
    return any((last := store.read(one)) and last.status == "complete" for one in made.runs)


def _asked(options: argparse.Namespace, count: int, what: str) -> None:
    """Refuses a large grid without ``--yes``."""
    if count > grid.UNASKED and not (options.yes or options.dry_run):
        raise UserError(f"This grid has {what}. Add --yes to start them.")


def _label(options: argparse.Namespace, point: list[str]) -> str | None:
    """The label of a point: the given one with the point's settings, else the default one."""
    return options.label and label_part(f"{options.label}-{grid.name(point)}")
