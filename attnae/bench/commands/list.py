"""``attnae-bench list``: lists benchmarks with their variants and profiles."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from attnae.bench import catalog
from attnae.bench.commands.arguments import Subparsers
from attnae.bench.terminal import console


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("list", help="list benchmarks, variants and profiles")
    parser.set_defaults(handler=show_list)


def show_list(options: argparse.Namespace) -> int:
    """Prints all benchmarks."""
    out = console()
    for name in catalog.names():
        benchmark = catalog.load(name)
        out.print(f"[bold]{name}[/]  {benchmark.title}  [dim]({benchmark.paper.title})[/]", soft_wrap=True)
        grid = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for variant in benchmark.variants.values():
            grid.add_row(f"  {'*' if variant.default else ' '} {variant.name}", variant.about)
        for profile in benchmark.profiles.values():
            grid.add_row(f"    --profile {profile.name}", profile.about)
        out.print(grid)
    out.print("* compared by default by `attnae-bench run BENCHMARK`")
    return 0
