"""``attnae-bench status``: progress of the runs below a folder."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from attnae.bench import store
from attnae.bench.commands.arguments import Subparsers, path
from attnae.bench.terminal import console
from attnae.errors import UserError
from attnae.paths import absolute, shown

STATUS = len("complete")
"""Width of the status column."""


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("status", help="show the progress of the runs below a folder")
    parser.add_argument("folder", type=path, nargs="?", default="runs", metavar="DIR")
    parser.set_defaults(handler=status)


def status(options: argparse.Namespace) -> int:
    """``attnae-bench status``."""
    states = store.states(options.folder)
    if not states:
        raise UserError(f"No runs below {shown(options.folder)}. Start some with `attnae-bench run BENCHMARK`.")
    out = console()
    groups: dict[str, list[store.State]] = {}
    for state in states:
        groups.setdefault(shown(absolute(str(state.folder)).parent.parent), []).append(state)
    for label, group in groups.items():
        out.print(f"[bold]{escape(label)}[/]", soft_wrap=True)
        names = ["/".join(absolute(str(state.folder)).parts[-2:]) for state in group]
        for name, state in zip(names, group, strict=True):
            _line(out, name.ljust(max(map(len, names))), state)
    return 0


def _line(out: Console, name: str, state: store.State) -> None:
    """Prints a run with its status and details, on one line if they fit, else on two."""
    color = {"complete": "green", "failed": "red"}.get(state.status, "yellow")
    status = f"  {escape(name)}  [{color}]{state.status:<{STATUS}}[/]"
    if 6 + len(name) + max(STATUS, len(state.status)) + len(state.detail) <= out.width:
        out.print(f"{status}  {escape(state.detail)}", soft_wrap=True, highlight=False)
        return
    out.print(status.rstrip(), soft_wrap=True, highlight=False)
    out.print(Padding(Text(state.detail, overflow="fold"), (0, 0, 0, 4)))
