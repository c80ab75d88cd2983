"""``attnae-bench compare A B``: compares two result sets, for people and for CI."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.markup import escape

from attnae.bench import catalog, sharing, store
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.commands.arguments import Subparsers, path, percent
from attnae.bench.identity import RunId
from attnae.bench.markdown import number
from attnae.bench.reporting.averages import average
from attnae.bench.reporting.cells import commit_of, heading, interval, title_of
from attnae.bench.reporting.seeds import Estimate, paired
from attnae.bench.reporting.statistics import by_seed, tolerance, value_of
from attnae.bench.terminal import console, grid
from attnae.errors import UserError
from attnae.metrics.columns import COSTS, column
from attnae.paths import shown
from attnae.result import Result

REGRESSION, BETTER = "regression", "better"

Runs = dict[tuple[str, int], Result]
"""By variant and seed."""

Tables = dict[str, dict[str, Runs]]
"""By benchmark and label."""


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("compare", help="compare two result sets; fail if the second is worse")
    for side in ("a", "b"):
        parser.add_argument(side, type=path, metavar=side.upper(), help="folder of runs or of a report")
    parser.add_argument(
        "--tolerance",
        type=percent,
        default=5.0,
        metavar="PERCENT",
        help="how much worse a single seed may be; several seeds are judged by their 95%% interval; default 5",
    )
    parser.set_defaults(handler=compare)


def compare(options: argparse.Namespace) -> int:
    """Compares the variants and seeds that A and B share; returns 1 if a metric got worse beyond the noise.

    With several seeds, a metric is worse if the 95% interval of B - A is entirely on the wrong side of 0. With one seed,
    the noise is unknown, and a metric is worse if it differs by more than ``--tolerance`` percent. Differences below the
    displayed precision are ignored. A run that is complete in A and failed in B is also a regression.
    """
    out, marks = console(), 0
    left, right = _read(options.a), _read(options.b)
    pairs = _pairs(options.a, options.b, left, right)
    if not any(before.keys() & after.keys() for _, _, before, after in pairs):
        raise UserError(
            f"{shown(options.a)} and {shown(options.b)} have no variant with the same seed: nothing to compare. "
            "Name results of the same variants and seeds."
        )
    for line in _alone(left, right):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    for benchmark, title, before, after in pairs:
        marks += _show(benchmark, title, before, after, options.tolerance / 100, out)
    out.print(f"Regressions beyond the noise: {marks}.")
    return 1 if marks else 0


def _pairs(a: Path, b: Path, left: Tables, right: Tables) -> list[tuple[Benchmark, str, Runs, Runs]]:
    """Pairs to compare: benchmarks on both sides. Labels must match if a side has several of a benchmark."""
    found = []
    for name in sorted(left.keys() & right.keys()):
        labels = [(label, label) for label in left[name] if label in right[name]]
        if len(left[name]) == len(right[name]) == 1:
            labels = [(next(iter(left[name])), next(iter(right[name])))]
        if not labels:
            raise UserError(
                f"{name}: {shown(a)} holds {', '.join(left[name])} and {shown(b)} holds {', '.join(right[name])}. "
                "Name the two folders to compare."
            )
        for one, other in labels:
            title = one if one == other else f"{one} -> {other}"
            found.append((catalog.load(name), title, left[name][one], right[name][other]))
    if not found:
        raise UserError(
            f"{shown(a)} holds {', '.join(left)} and {shown(b)} holds {', '.join(right)}: nothing to compare. "
            "Name results of the same benchmark."
        )
    return found


def _alone(left: Tables, right: Tables) -> list[str]:
    """Which benchmarks and labels are on one side only, a line for each side."""
    lines = []
    for side, mine, other in (("A", left, right), ("B", right, left)):
        only = [name for name in mine if name not in other]
        for name in mine.keys() & other.keys():
            if not len(mine[name]) == len(other[name]) == 1:
                only += [f"{name}/{label}" for label in mine[name] if label not in other[name]]
        if only:
            lines.append(f"Not compared, only in {side}: {', '.join(sorted(only))}")
    return lines


def _read(folder: Path) -> Tables:
    """Runs by benchmark and table; for duplicates of a variant and seed, the one that finished last."""
    runs: Tables = {}
    for table in sharing.tables(store.results(folder)):
        records = [one for _, one in table.records]
        if catalog.load(table.benchmark).average == "last_epochs":  # as in the report
            records = average(records).results
        own = {(one.variant, one.seed): one for one in records}
        runs.setdefault(table.benchmark, {})[table.label] = own
    return runs


def _show(benchmark: Benchmark, title: str, before: Runs, after: Runs, share: float, out: Console) -> int:
    """Prints one comparison; returns the number of regressions."""
    out.print(f"[bold]{escape(benchmark.title)}[/]  {escape(title)}", soft_wrap=True)
    done_before, done_after = ({k for k, r in side.items() if r.status == "complete"} for side in (before, after))
    both = sorted(done_before & done_after)
    missing = [
        f"{variant}/seed{seed}: {key} is missing in B"
        for variant, seed in both
        for key in benchmark.leading
        if value_of(before[variant, seed], key) is not None and value_of(after[variant, seed], key) is None
    ]
    a, b = ([side[run] for run in both] for side in (before, after))
    changed = _changed(a, b)
    same_machine = not any(fact.startswith("hardware") for fact in changed)
    marks = 0
    if both:
        table = grid("variant", "number", "A", "B", "B - A", "95% interval", "n", "", right=True)
        for variant in dict.fromkeys([*benchmark.variants, *(variant for variant, _ in both)]):
            for key in [*benchmark.leading, *COSTS]:
                one, other = (by_seed([r for r in side if r.variant == variant], key) for side in (a, b))
                if found := paired(other, one):
                    seeds = one.keys() & other.keys()
                    old, new = (fmean(side[seed] for seed in seeds) for side in (one, other))
                    mark = verdict(key, found, old, share, same_machine)
                    marks += mark == REGRESSION
                    change, ends = interval(found, key).partition(" ")[::2]
                    numbers = [number(value, column(key).digits) for value in (old, new)]
                    cells = [title_of(benchmark, variant), heading(key), *numbers, change, ends, str(found.n)]
                    table.add_row(*map(escape, cells), f"[{'red' if mark == REGRESSION else 'green'}]{mark}[/]")
        out.print(table)
    why = sharing.reason([(Path(), one) for one in before.values()], [(Path(), one) for one in after.values()])
    if why:
        out.print(f"  A and B cannot share a table: {why}", markup=False, highlight=False, soft_wrap=True)
    for fact, (left, right) in changed.items():
        out.print(f"  {fact}: {left} -> {right}", markup=False, highlight=False, soft_wrap=True)
    for name, only in (("A", before.keys() - after.keys()), ("B", after.keys() - before.keys())):
        if only:
            told = ", ".join(f"{variant}/seed{seed}" for variant, seed in sorted(only))
            out.print(f"  only in {name}: {told}", markup=False, highlight=False, soft_wrap=True)
    for variant, seed in sorted((done_before & after.keys()) - done_after):
        marks += 1
        why = f"{variant}/seed{seed} failed in B: {after[variant, seed].reason}"
        out.print(f"  [red]{REGRESSION}[/] {escape(why)}", highlight=False, soft_wrap=True)
    for why in missing:
        out.print(f"  [red]{REGRESSION}[/] {escape(why)}", highlight=False, soft_wrap=True)
    return marks + len(missing)


def verdict(key: str, found: Estimate, before: float, share: float, same_machine: bool = True) -> str:
    """``regression`` or ``better`` if a difference exceeds the noise, else an empty text.

    Args:
        key: A metric or a cost.
        found: The difference, new minus old.
        before: The old value.
        share: Relative tolerance for one seed; for decibels, relative to the underlying ratio.
        same_machine: Whether machine-dependent metrics can be compared.
    """
    direction = column(key).better
    measured = column(key).kind == "measured"  # depends on the machine and its load
    if direction == "-" or round(found.mean, column(key).digits) == 0:
        return ""
    ends = found.interval()
    if ends is None:
        beyond = not measured and abs(found.mean) > tolerance(key, before, share)
    else:
        beyond = (same_machine or not measured) and not ends[0] <= 0 <= ends[1]
    if not beyond:
        return ""
    return BETTER if (found.mean > 0) == (direction == "higher") else REGRESSION


def _changed(before: list[Result], after: list[Result]) -> dict[str, tuple[str, str]]:
    """Facts about runs that differ between the sides."""
    old, new = _facts(before), _facts(after)
    return {
        name: (", ".join(sorted(old.get(name, {"-"}))), ", ".join(sorted(new.get(name, {"-"}))))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    }


def _facts(runs: list[Result]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run in runs:
        facts: dict[str, Any] = {
            f"configuration of {run.variant}": RunId.of(run).config8,
            "data": f"{run.data.get('title')} {run.data_digest or run.data.get('windows', '')}".rstrip(),
            "commit": commit_of(run.git) or "-",
            "commit of the retest": commit_of(run.git.get("tested")) or "-",
            **{f"version of {name}": value for name, value in run.versions.items()},
            **{f"hardware, {name}": value for name, value in run.hardware.items()},
        }
        for name, value in facts.items():
            found.setdefault(name, set()).add(str(value))
    return found
