"""Markdown that is readable both rendered and as plain text."""

from __future__ import annotations

import re
import unicodedata
from typing import Any


def one_line(text: Any) -> str:
    """Converts text to a single line without line breaks or control characters."""
    return "".join(character for character in " ".join(str(text).split()) if character.isprintable())


def escape(text: Any) -> str:
    """Text that stays text: one line, without pipes, tags, links, emphasis or code."""
    line = "".join(f"\\{letter}" if letter in "\\`*[]|" else letter for letter in one_line(text))
    return line.replace("&", "&amp;").replace("<", "&lt;")


def plain(text: str) -> str:
    """What :func:`escape` made of a text, as it is read on a terminal."""
    return re.sub(r"\\([\\`*\[\]|])", r"\1", text).replace("&lt;", "<").replace("&amp;", "&")


def unmarked(text: str) -> str:
    """A cell or sentence of a page as plain text: also without bold type and unbreakable spaces."""
    return plain(text.replace("**", "").replace("\N{NO-BREAK SPACE}", " "))


def number(value: float | None, digits: int) -> str:
    """Formats a number with fixed digits and thousands separators; "-" for a missing value."""
    return "-" if value is None else f"{value:,.{digits}f}"


def count(value: int, noun: str) -> str:
    """``1 run``, ``2,400 runs``."""
    return f"{value:,} {noun}{'s' * (value != 1)}"


def table(header: list[str], body: list[list[str]]) -> str:
    """A Markdown table with aligned columns; the first column is text, the others are numbers."""
    rows = [header, *body]
    widths = [max(3, *(_width(row[i]) for row in rows)) for i in range(len(header))]
    lines = [
        "| "
        + " | ".join(_pad(cell, w, right=i > 0) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join((("-" * (w + 1)) + ":") if i else ("-" * (w + 2)) for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _pad(cell: str, width: int, right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space


def _width(cell: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in cell)
