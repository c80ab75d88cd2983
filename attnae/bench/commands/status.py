"""``attnae-bench status``: where the runs below a folder stand."""

from __future__ import annotations

import argparse
from typing import Any

from rich.markup import escape
from rich.table import Table

from attnae.bench import store
from attnae.bench.commands.arguments import Subparsers, path
from attnae.bench.request import shown
from attnae.bench.terminal import console
from attnae.errors import UserError


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("status", help="where the runs below a folder stand")
    parser.add_argument("folder", type=path, nargs="?", default="runs", metavar="DIR")
    parser.set_defaults(handler=status)


def status(options: argparse.Namespace) -> int:
    """``attnae-bench status``."""
    states = store.states(options.folder)
    if not states:
        raise UserError(f"No runs below {shown(options.folder)}. Start some with `attnae-bench run BENCHMARK`.")
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("run", "status", "detail"):
        grid.add_column(heading)
    for state in states:
        color = {"complete": "green", "failed": "red"}.get(state.status, "yellow")
        grid.add_row(
            escape(str(state.folder.relative_to(options.folder))), f"[{color}]{state.status}[/]", escape(state.detail)
        )
    console().print(grid)
    return 0
