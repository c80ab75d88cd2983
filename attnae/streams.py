"""Handles terminals that cannot print every character, and outputs that are closed, not read, or on a full disk."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from attnae.paths import shown


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


def run(program: str, main: Callable[[], int]) -> NoReturn:
    """Runs a console script and exits with its code; with 2 if its output could not be written, except to a closed pipe.

    Args:
        program: Name of the script, for messages.
        main: Returns the exit code.
    """
    replace_unprintable()
    try:
        code: int | str | None = main()
    except SystemExit as end:  # argparse, after printing the help
        code = end.code
    except Exception as error:
        hidden = _ending(error)
        if hidden is None:
            raise
        if isinstance(hidden, SystemExit):
            code = hidden.code
        else:
            print(f"{program}: interrupted", file=sys.stderr)
            code = 130
    finally:
        lost = _flushed()
    if lost and not code:
        print(f"{program}: error: {lost}", file=sys.stderr)
        code = 2
    sys.exit(code)


def _ending(error: BaseException | None) -> SystemExit | KeyboardInterrupt | None:
    """The end of the program that an error hides: what a signal raises while a native module loads becomes its ImportError."""
    while error is not None and not isinstance(error, SystemExit | KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def why(error: OSError) -> str:
    """What failed and why, in one line. A full disk without the name of a file is that of standard output."""
    name = "" if error.filename is None else shown(Path(str(error.filename)))
    where = os.fsencode(name).decode("utf-8", "backslashreplace")
    if not where and error.errno == errno.ENOSPC:
        where = "standard output"
    told = f"{where}: {error.strerror or error}" if where else str(error.strerror or error)
    return " ".join(told.split())


def _flushed() -> str:
    """Prints what is still buffered before the interpreter exits, which would report a failure with a traceback.

    Returns:
        Why that failed; empty if it did not, or if nobody reads the output.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        return why(error)
    return ""


def discard_output() -> None:
    """Discards standard output from now on, including what is buffered."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
