"""Progress bars and result tables of the commands."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

DIGITS = {
    "psnr": 2,
    "psnr_input": 2,
    "psnr_hole": 2,
    "psnr_outside": 2,
    "ssim": 4,
    "ssim_input": 4,
    "bits per pixel": 4,
    "seconds": 2,
}
MOST = 40
"""Maximum number of rows in a table; metrics.csv has all of them."""


def trusting(folder: str | None) -> str:
    """The option with which a further command imports the code of the same folder; empty without one."""
    return f" --trust {shlex.quote(folder)}" if folder else ""


@contextmanager
def progress(title: str, images: int) -> Iterator[Callable[[float], None]]:
    """Shows a progress bar with the remaining time in a terminal. Yields a function that advances it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:.1f}/{task.total} images"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=images)
        yield lambda count: bar.advance(task, count)


def show_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows with "-" for missing values. Long tables show only the first rows and the last."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        # With a space, a long heading is wrapped at a word and not folded.
        table.add_column(
            column.replace("_", " "), justify="left" if column in ("image", "file", "") else "right", overflow="fold"
        )
    shown = (
        list(rows)
        if len(rows) <= MOST + 1
        else [*rows[:MOST], {columns[0]: f"({len(rows) - MOST - 1} more)"}, rows[-1]]
    )
    for row in shown:
        table.add_row(*(_text(column, row.get(column)) for column in columns))
    # Otherwise the name a:cat:.png would be shown with a picture of a cat.
    Console(emoji=False, width=None if sys.stdout.isatty() else 160).print(table, markup=False)


def _text(column: str, value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.{DIGITS[column]}f}" if column in DIGITS else str(value)
