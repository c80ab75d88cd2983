"""``attnae-bench list``: benchmarks, their variants and profiles."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from attnae.bench import catalog
from attnae.bench.commands.arguments import Subparsers
from attnae.bench.terminal import console


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("list", help="benchmarks, their variants and profiles")
    parser.set_defaults(handler=show_list)


def show_list(options: argparse.Namespace) -> int:
    """``attnae-bench list``."""
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
    out.print("* is what `attnae-bench run BENCHMARK` compares by default.")
    return 0
