"""Handles terminals that cannot print every character, and outputs that are closed, not read, or on a full disk."""

from __future__ import annotations

import contextlib
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


def say(line: str) -> None:
    """Prints a line at once. If that fails, further output is discarded: a print must not end a training."""
    try:
        print(line, flush=True)
    except OSError:
        discard_output()


def flush_output() -> None:
    """Prints what is still buffered before the interpreter exits, which would report a closed pipe with a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()


def discard_output() -> None:
    """Discards standard output from now on, including what is buffered."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
