"""Handles terminals that cannot print every character, and missing ones."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def replace_unprintable() -> None:
    """Prints a replacement for characters missing from the terminal's encoding, so that they never cause an error.

    Nothing is printed to a stream that the shell closed (``>&-``).
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the end of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
