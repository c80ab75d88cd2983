"""``attnae-bench show BENCHMARK``: variants, published numbers, claims and estimated cost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from attnae.bench import catalog, plan
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.commands.arguments import Subparsers, add_out
from attnae.bench.commands.cost import Earlier
from attnae.bench.commands.show_keys import show_keys
from attnae.bench.estimate import estimate
from attnae.bench.identity import Run
from attnae.bench.markdown import count, number
from attnae.bench.reporting.cells import RELATIONS, margin, named, title_of
from attnae.bench.request import Request
from attnae.bench.running import resources
from attnae.bench.running.launch import duration
from attnae.bench.terminal import console, grid, size
from attnae.metrics.columns import column
from attnae.paths import shown


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
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="time a few training steps of each default variant whose time cannot be estimated from earlier runs",
    )
    add_out(parser)
    parser.set_defaults(handler=show)


def show(options: argparse.Namespace) -> int:
    """Prints a benchmark; times are estimated from the speed of finished runs in ``--out``."""
    benchmark, out = catalog.find(options.benchmark), console()
    if benchmark.file:
        catalog.register(benchmark)  # its metrics have titles then
    if options.keys is not None:
        return show_keys(benchmark, options.keys)
    out.print(f"[bold]{escape(benchmark.title)}[/]  {escape(benchmark.question)}\n", soft_wrap=True)
    _paper(benchmark, out)
    _costs(benchmark, options, out)
    return 0


def _paper(benchmark: Benchmark, out: Console) -> None:
    paper = benchmark.paper
    told = " ".join(filter(None, (paper.title, paper.url)))
    if benchmark.reproduces:
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
        metric = column(claim.keys[0]).title
        says = f"{metric}, {left} {RELATIONS[claim.relation]} {right}" + (
            f", margin {size}" if (size := margin(claim)) else ""
        )
        out.print(
            f"- {claim.claim} ({claim.where}): {says}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    out.print()


def _costs(benchmark: Benchmark, options: argparse.Namespace, out: Console) -> None:
    """Prints the estimated cost of each variant, and of the default variants of each profile."""
    plans = {
        profile: plan.make(Request(benchmark, profile, "all", out=options.out, dry=True))
        for profile in benchmark.profiles
    }
    about = grid("variant", "")
    about.columns[0].no_wrap = True
    for name, variant in benchmark.variants.items():
        about.add_row(f"{'* ' if variant.default else '  '}{name}", escape(variant.about))
    out.print(about)
    out.print("* compared by default by `attnae-bench run`\n")
    table = grid("variant", *plans)
    table.columns[0].no_wrap = True
    earlier = Earlier(options.out, Path("reports"))
    needs = {profile: (made.accelerator, made.threads) for profile, made in plans.items()}
    divided = {need: resources.slots(None, 1, *need) for need in set(needs.values())}  # each asks the driver for GPUs
    slots = {profile: divided[need] for profile, need in needs.items()}
    costs = {
        profile: earlier.costs(made.runs, made.images, slot := slots[profile][0])
        | earlier.costs(_usual(made), made.images, slot, options.estimate and made.location is not None)
        for profile, made in plans.items()
    }
    for name, variant in benchmark.variants.items():
        cells = []
        for profile, made in plans.items():
            epochs = next(one.epochs for one in made.runs if one.id.variant == name)
            one = costs[profile][name]
            told = [count(epochs, "epoch") if epochs else "", duration(one.seconds) if one.seconds else ""]
            told.append(f"{one.parameters / 1e6:,.3g}M" if one.parameters else "")
            cells.append(", ".join(filter(None, told)) or "-")
        table.add_row(f"{'* ' if variant.default else '  '}{name}", *cells)
    out.print(table)
    out.print("Per profile: epochs, time of a run where it is known, millions of parameters.\n")
    for profile, stated in benchmark.profiles.items():
        runs = _usual(plans[profile])
        whole = estimate(runs, costs[profile], min(len(slots[profile]), len(runs)))
        time = "unknown time" if whole.unknown or not whole.seconds else f"about {duration(whole.seconds)}"
        disk = "unknown disk usage"
        if all(costs[profile][run.id.variant].parameters for run in runs):
            disk = f"{size(whole.disk)} on disk, plus up to {size(whole.extra)} during training"
        missing = "" if plans[profile].location else ", its images are not on this machine"
        out.print(
            f"[bold]--profile {profile}[/]  {escape(stated.about)} ({stated.evidence})", soft_wrap=True, highlight=False
        )
        out.print(f"  default variants, one seed: {time}, {disk}{missing}", soft_wrap=True, highlight=False)
    where = f"in {escape(shown(options.out))}"
    if any("CUDA_VISIBLE_DEVICES" not in each[0] for each in divided.values()):
        where += " with as many threads as a run will have"
    if timed := earlier.timed(each[0] for each in divided.values()):
        source = f"Times are estimated from the speed of finished runs {where}: {len(timed)} so far."
    else:
        source = f"Times are unknown: no finished runs {where}. --estimate times a few steps."
    out.print(source, soft_wrap=True, highlight=False)


def _usual(made: plan.Plan) -> list[Run]:
    """The runs of the variants that are compared by default."""
    return [run for run in made.runs if made.benchmark.variants[run.id.variant].default]
