"""``attnae-bench new NAME``: writes a folder for a comparison of one's own."""

from __future__ import annotations

import argparse
import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.markup import escape

from attnae.bench import catalog
from attnae.bench.commands.arguments import Subparsers, path
from attnae.bench.identity import quoted
from attnae.bench.terminal import console
from attnae.errors import UserError
from attnae.files import shipped, write_text
from attnae.paths import shown

PLACEHOLDER = "my_idea"


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("new", help="write a folder that compares a network of your own with shipped variants")
    parser.add_argument(
        "folder", type=path, metavar="NAME", help="folder to write; its name becomes that of the benchmark"
    )
    parser.set_defaults(handler=new)


def new(options: argparse.Namespace) -> int:
    """Writes ``net.py``, ``task.py``, ``benchmark.yaml`` and ``README.md``."""
    folder: Path = options.folder
    name = folder.name
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", name):
        raise UserError(
            f"{name!r} cannot be used as a name. Use lowercase letters, digits and '_', beginning with a letter."
        )
    if keyword.iskeyword(name):
        raise UserError(f"{name} is a word of Python, so its code could not be imported. Choose another name.")
    if name in catalog.names():
        raise UserError(f"{name} is the name of a shipped benchmark. Choose another one.")
    if folder.exists():
        raise UserError(f"{shown(folder)} exists. Choose another name, or remove it.")
    if find_spec(name):
        raise UserError(f"{name} is the name of an installed package. Choose another one.")
    for file in sorted(shipped("templates", "idea").iterdir()):
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / file.name, re.sub(rf"\b{PLACEHOLDER}\b", name, text))
            print(shown(folder / file.name))
    console().print(f"Next: attnae-bench run {escape(quoted([shown(folder / 'benchmark.yaml')]))}", soft_wrap=True)
    return 0
