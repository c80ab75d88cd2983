"""Every key of ``attnae fit`` for the suite's classes, read from ``keys.json``; nothing here imports torch.

The file is made from signatures and docstrings by ``python -m attnae.training.keys``.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from attnae.bench.keys import values

SOURCE = Path(__file__).with_name("keys.json")


@dataclass(frozen=True)
class Argument:
    """One key.

    Attributes:
        type: In Python's notation, see :mod:`attnae.bench.keys.values`.
        help: One line.
        default: What it is unless set.
        required: Whether there is no default.
    """

    type: str
    help: str = ""
    default: Any = None
    required: bool = False


@lru_cache(maxsize=1)
def catalog() -> tuple[dict[str, Argument], dict[str, dict[str, Argument]], dict[str, list[str]]]:
    """The keys of ``attnae fit``, those of each class by import path, and which types each class fits."""
    raw = json.loads(SOURCE.read_text(encoding="utf-8"))

    def arguments(entries: dict[str, Any]) -> dict[str, Argument]:
        return {key: Argument(**entry) for key, entry in entries.items()}

    classes = {path: arguments(entry["arguments"]) for path, entry in raw["classes"].items()}
    return arguments(raw["arguments"]), classes, {path: entry["fits"] for path, entry in raw["classes"].items()}


def known(configuration: Mapping[str, Any]) -> dict[str, Argument]:
    """Every key that can be set in a configuration, with the classes that stand there."""
    return {key: argument for key, argument, here, _ in every(configuration) if here}


def is_group(key: str) -> bool:
    """Whether a key stands for several, as ``trainer`` does."""
    return any(name.startswith(f"{key}.") for name in catalog()[0])


def under(nested: Any, *keys: str) -> Any:
    """What stands below keys; ``None`` where something else than a mapping is in the way."""
    for key in keys:
        nested = nested.get(key) if isinstance(nested, Mapping) else None
    return nested


def find(path: str) -> str | None:
    """Which class of the suite an import path means: from where it is defined, or from a package that offers it."""
    classes = catalog()[1]
    if path in classes or not (path.startswith("attnae.") or "." not in path):
        return path if path in classes else None
    same = [name for name in classes if name.rpartition(".")[2] == path.rpartition(".")[2]]
    return same[0] if len(same) == 1 else None


def class_of(here: Any, classes: list[ast.expr], argument: Argument) -> dict[str, Argument] | None:
    """Arguments of the class that stands somewhere; ``None`` where it is not the suite's."""
    if isinstance(here, str):
        path: Any = here
    elif isinstance(here, Mapping) and "class_path" in here:
        path = here["class_path"]
    elif isinstance(argument.default, Mapping):
        path = argument.default.get("class_path")
    else:
        path = values.head(classes[0]) if len(classes) == 1 else None
    found = find(path) if isinstance(path, str) else None
    return catalog()[1][found] if found else None


def every(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Argument, bool, str]]:
    """Keys, also those of classes that could stand somewhere: key, argument, whether its class stands there, class."""
    top, classes, fits = catalog()

    def below(prefix: str, argument: Argument, here: Any, depth: int) -> Iterator[tuple[str, Argument, bool, str]]:
        kinds = [one for one in values.options(values.parsed(argument.type)) if values.is_class(one)]
        wanted = {values.head(one) for one in kinds} - {"torch.nn.modules.module.Module"}
        own = class_of(here, kinds, argument) if kinds else None
        for path, arguments in classes.items():
            stands = arguments is own
            if stands or (depth < 3 and wanted & set(fits[path])):
                for name, one in arguments.items():
                    key = f"{prefix}.init_args.{name}"
                    yield key, one, stands, path
                    inner = under(here, "init_args", name) if stands else None
                    for deep, each, there, owner in below(key, one, inner, depth + 1):
                        yield deep, each, stands and there, owner

    for name, argument in top.items():
        yield name, argument, True, ""
        yield from below(name, argument, under(configuration, *name.split(".")), 0)
