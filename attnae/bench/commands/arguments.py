"""Types and options that several commands share."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from attnae.files import SCHEME, absolute

Subparsers = argparse._SubParsersAction


def add_out(command: argparse.ArgumentParser) -> None:
    """Adds ``--out``."""
    command.add_argument("--out", type=path, default="runs", metavar="DIR", help="folder of the runs; default runs")


def path(text: str) -> Path:
    """A path argument, see :func:`attnae.files.absolute`."""
    if re.match(SCHEME, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path")
    return absolute(text)


def images(text: str) -> Path:
    """Where images are: a path, or an address of the hub such as ``hf://owner/name``."""
    return Path(text) if text.startswith("hf://") else path(text)


def percent(text: str) -> float:
    """A percentage."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage")
    return value


def positive(text: str) -> int:
    """A positive whole number."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def minutes(text: str) -> float:
    """A positive number of minutes."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of minutes")
    return value
