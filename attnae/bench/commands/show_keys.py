"""``attnae-bench show BENCHMARK --keys [WORD]``: lists the keys that ``--set`` accepts."""

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
"""Line width if the output is not a terminal; only long words exceed it."""


def show_keys(benchmark: Benchmark, word: str) -> int:
    """Prints type, default and description of every key that contains a word.

    Raises:
        UserError: No key contains the word.
    """
    found = configurable(benchmark)
    chosen = {key: value for key, value in found.items() if word.lower() in key.lower()}
    if not chosen:
        raise UserError(
            f"No key of {benchmark.name} contains {word!r}. Use --keys without a word to list all {len(found)} keys."
        )
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    for key, (argument, variants) in chosen.items():
        print(key)
        default = "required" if argument.required else f"default {_shown(argument.default)}"
        told = f"{values.spoken(values.parsed(argument.type))}; {default}. {argument.help}"
        told = f"{told.rstrip('. ')}."
        if len(variants) < len(benchmark.variants):
            told += f" Variants: {', '.join(variants)}."
        print(textwrap.fill(told, max(width, 40), initial_indent="    ", subsequent_indent="    "))
    return 0


def _shown(value: object) -> str:
    """A default value as typed on a command line."""
    if isinstance(value, dict):
        return str(value.get("class_path", value)).rpartition(".")[2]
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
