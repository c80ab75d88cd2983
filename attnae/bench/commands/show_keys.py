"""``attnae-bench show BENCHMARK --keys [WORD]``: what ``--set`` takes."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap

from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.keys import values
from attnae.bench.keys.completion import configurable
from attnae.errors import UserError

WIDTH = 80
"""Columns where the output is no terminal; lines are never longer than this where the words allow it."""


def show_keys(benchmark: Benchmark, word: str) -> int:
    """Prints key, type, default and meaning of every key that contains a word.

    Raises:
        UserError: None does.
    """
    found = configurable(benchmark)
    chosen = {key: value for key, value in found.items() if word.lower() in key.lower()}
    if not chosen:
        raise UserError(f"No key of {benchmark.name} contains {word!r}. Leave it out to see all {len(found)}.")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    for key, (argument, variants) in chosen.items():
        print(key)
        default = "required" if argument.required else f"default {_shown(argument.default)}"
        told = f"{values.spoken(values.parsed(argument.type))}; {default}. {argument.help}"
        told = f"{told.rstrip('. ')}."
        if len(variants) < len(benchmark.variants):
            told += f" Only of {', '.join(variants)}."
        print(textwrap.fill(told, max(width, 40), initial_indent="    ", subsequent_indent="    "))
    return 0


def _shown(value: object) -> str:
    """A default as a person would type it."""
    if isinstance(value, dict):
        return str(value.get("class_path", value)).rpartition(".")[2]
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
