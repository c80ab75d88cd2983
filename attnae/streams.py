"""What both programs do about terminals that cannot print every character."""

from __future__ import annotations

import io
import sys


def replace_unprintable() -> None:
    """Prints a replacement where the terminal's encoding lacks a character: a name or a table never ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
