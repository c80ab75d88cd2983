"""Argument types and options shared by several commands."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from attnae.data.walk import printable
from attnae.parser import nonempty
from attnae.paths import SCHEME, absolute

Subparsers = argparse._SubParsersAction


def add_out(command: argparse.ArgumentParser) -> None:
    """Adds ``--out``."""
    command.add_argument("--out", type=path, default="runs", metavar="DIR", help="folder of runs; default: runs")


def add_overrides(command: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds ``--set``."""
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="any key of attnae fit, such as trainer.max_epochs=3; repeatable",
    )


def path(text: str) -> Path:
    """Argument type: a path, see :func:`attnae.paths.absolute`."""
    if re.match(SCHEME, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path")
    try:
        nonempty(text).encode()  # it becomes part of records, which are UTF-8
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{printable(text)!r} is not UTF-8; rename it") from error
    return absolute(text)


def images(text: str) -> Path:
    """Argument type: a folder of images, or a Hugging Face address such as ``hf://owner/name``."""
    return Path(text) if text.startswith("hf://") else path(text)


def percent(text: str) -> float:
    """Argument type: a percentage."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return value


def positive(text: str) -> int:
    """Argument type: a positive whole number."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def minutes(text: str) -> float:
    """Argument type: a positive number of minutes."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of minutes")
    return value
