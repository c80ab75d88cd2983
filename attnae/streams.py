"""Handles terminals that cannot print every character."""

from __future__ import annotations

import io
import sys


def replace_unprintable() -> None:
    """Prints a replacement for characters missing from the terminal's encoding, so that they never cause an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
