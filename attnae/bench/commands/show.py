"""``attnae-bench show BENCHMARK``: variants, published numbers, claims and estimated cost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from attnae.bench import catalog, plan, store
from attnae.bench.catalog import configuration
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.commands.arguments import Subparsers, add_out
from attnae.bench.commands.show_keys import show_keys
from attnae.bench.estimate import BYTES, CHECKPOINTS, PICTURES
from attnae.bench.markdown import number
from attnae.bench.reporting.cells import RELATIONS, named, title_of
from attnae.bench.request import Request, shown
from attnae.bench.running.launch import duration
from attnae.bench.terminal import console, grid, size
from attnae.metrics.columns import column
from attnae.result import Result


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "show", help="show variants, published numbers, claims and estimated cost of a benchmark"
    )
    parser.add_argument(
        "benchmark", metavar="BENCHMARK", help="name (see attnae-bench list) or path of a benchmark file"
    )
    parser.add_argument(
        "--keys",
        nargs="?",
        const="",
        metavar="WORD",
        help="list the keys that --set accepts; WORD filters them",
    )
    add_out(parser)
    parser.set_defaults(handler=show)


def show(options: argparse.Namespace) -> int:
    """Prints a benchmark; times are estimated from finished runs in ``--out``."""
    benchmark, out = catalog.find(options.benchmark), console()
    if options.keys is not None:
        return show_keys(benchmark, options.keys)
    out.print(f"[bold]{escape(benchmark.title)}[/]  {escape(benchmark.question)}\n", soft_wrap=True)
    found = [one for _, one in store.results(options.out, missing_ok=True) if one.benchmark == benchmark.name]
    _paper(benchmark, out)
    _costs(benchmark, [one for one in found if one.status == "complete"], options.out, out)
    return 0


def _paper(benchmark: Benchmark, out: Console) -> None:
    paper = benchmark.paper
    told = " ".join(filter(None, (paper.title, paper.url)))
    out.print(f"[bold]The paper[/]  {escape(told)}. {escape(paper.notes)}", soft_wrap=True)
    numbers = grid("variant", "number", "published", "source", right=True)
    for published in benchmark.published:
        for name, values in published.values.items():
            for key, value in values.items():
                cells = (title_of(benchmark, name), named(key), number(value, column(key).digits), published.source)
                numbers.add_row(*map(escape, cells))
    if numbers.row_count:
        out.print(numbers)
    for claim in benchmark.claims:
        left = title_of(benchmark, claim.left)
        right = title_of(benchmark, claim.right) if isinstance(claim.right, str) else f"{claim.right:g}"
        margin = (
            f"{claim.margin:g}" if claim.margin else f"{claim.relative_margin:.0%}" if claim.relative_margin else ""
        )
        says = f"{left} {RELATIONS[claim.relation]} {right}" + (f", margin {margin}" if margin else "")
        out.print(
            f"- {claim.claim} ({claim.where}): {says}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    out.print()


def _costs(benchmark: Benchmark, done: list[Result], folder: Path, out: Console) -> None:
    """Prints the estimated cost of each variant, and of the default variants of each profile."""
    stored = [one for _, one in store.results(Path("reports"), missing_ok=True) if one.benchmark == benchmark.name]
    plans = {
        profile: plan.make(Request(benchmark, profile, "all", out=folder, dry=True)) for profile in benchmark.profiles
    }
    about = grid("variant", "")
    about.columns[0].no_wrap = True
    for name, variant in benchmark.variants.items():
        about.add_row(f"{'* ' if variant.default else '  '}{name}", escape(variant.about))
    out.print(about)
    out.print("* compared by default by `attnae-bench run`\n")
    table = grid("variant", *plans)
    table.columns[0].no_wrap = True
    seconds: dict[str, list[float | None]] = {profile: [] for profile in plans}
    weights: dict[str, list[float | None]] = {profile: [] for profile in plans}
    for name, variant in benchmark.variants.items():
        cells = []
        for profile, made in plans.items():
            epochs = next(one.epochs for one in made.runs if one.id.variant == name)
            each = _seconds_per_epoch(benchmark, profile, [one for one in done if one.variant == name])
            count = _parameters(benchmark, profile, [one for one in done + stored if one.variant == name])
            told = [f"{epochs:,} epochs" if epochs else "", duration(each * epochs) if each and epochs else ""]
            told.append(f"{count / 1e6:,.3g}M" if count else "")
            cells.append(", ".join(filter(None, told)) or "-")
            if variant.default:
                seconds[profile].append(each and each * epochs)
                weights[profile].append(count and BYTES * count)
        table.add_row(f"{'* ' if variant.default else '  '}{name}", *cells)
    out.print(table)
    out.print("Per profile: epochs, training time where it is known, millions of parameters.\n")
    for profile, stated in benchmark.profiles.items():
        times, sizes = ([value for value in values[profile] if value] for values in (seconds, weights))
        cost = f"about {duration(sum(times))} of training" if len(times) == len(seconds[profile]) else "unknown time"
        disk = "unknown disk usage"
        if len(sizes) == len(weights[profile]):
            kept, extra = sum(sizes) + PICTURES * len(sizes), CHECKPOINTS * max(sizes)
            disk = f"{size(kept)} on disk, plus up to {size(extra)} during training"
        out.print(
            f"[bold]--profile {profile}[/]  {escape(stated.about)} ({stated.evidence})", soft_wrap=True, highlight=False
        )
        out.print(f"  default variants, one seed: {cost}, {disk}", soft_wrap=True, highlight=False)
    machines = sorted(
        f"{r.hardware.get('device')}, {r.hardware.get('processor')}, {r.hardware.get('threads')} threads; "
        f"{r.data.get('train', 0):,} images of {r.data.get('title')}"
        for r in done
        if r.efficiency.get("seconds_per_epoch")
    )
    if machines:
        told_once = escape(" | ".join(dict.fromkeys(machines)))
        out.print(
            f"Times are estimated from the seconds per epoch of finished runs in {escape(shown(folder))}: {told_once}.",
            soft_wrap=True,
        )
    else:
        out.print(f"Times are unknown: no finished runs in {escape(shown(folder))}.", soft_wrap=True)


def _parameters(benchmark: Benchmark, profile: str, runs: list[Result]) -> float | None:
    """Parameters of the newest run of a variant whose network has the same size as in the profile."""

    def sizes(one: Result, name: str) -> dict[str, Any]:
        net = configuration.section(
            benchmark.configuration(one.variant, name), "model", "init_args", "net", "init_args"
        )
        return {key: value for key, value in net.items() if isinstance(value, int | float | list)}

    counted = [
        one
        for one in runs
        if "params_total" in one.efficiency
        and one.profile in benchmark.profiles
        and sizes(one, one.profile) == sizes(one, profile)
    ]
    counted.sort(key=lambda one: one.profile != profile)
    return counted[0].efficiency["params_total"] if counted else None


def _seconds_per_epoch(benchmark: Benchmark, profile: str, runs: list[Result]) -> float | None:
    """Seconds per epoch of a run of this profile, else of a run on the same kind of data.

    Times on embedded images do not predict times on a published dataset, which is much larger.
    """
    demonstration = benchmark.profiles[profile].evidence == "demonstration"
    timed = [one for one in runs if one.efficiency.get("seconds_per_epoch")]
    alike = [one for one in timed if (one.data.get("kind") == "embedded") == demonstration]
    same = [one for one in alike if one.profile == profile]
    return (same or alike)[0].efficiency["seconds_per_epoch"] if alike else None
