"""Terminal output of the commands."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table


def console() -> Console:
    """A console that is wide enough for tables if the output is a file or a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def grid(*headings: str, right: bool = False) -> Table:
    """A table without lines.

    Args:
        headings: Column headings; none for a table without a header row.
        right: Whether to right-align all columns except the first.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(headings))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if right and place else "left", overflow="fold")
    return table


def size(count: float) -> str:
    """Formats a number of bytes as ``4 kB``, ``34.7 MB`` or ``1.86 GB``."""
    if count < 1e6:
        return f"{count / 1e3:,.0f} kB"
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"
