"""How the commands print."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table


def console() -> Console:
    """Wide enough for a table when the output is a file or a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def grid(*headings: str, right: bool = False) -> Table:
    """A table without lines.

    Args:
        headings: Of its columns; none for a table without a head.
        right: Whether all columns but the first are numbers.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(headings))
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if right and place else "left", overflow="fold")
    return table


def size(count: float) -> str:
    """Bytes as ``4 kB``, ``34.7 MB`` or ``1.86 GB``."""
    if count < 1e6:
        return f"{count / 1e3:,.0f} kB"
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.2f} GB"
