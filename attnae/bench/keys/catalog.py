"""All keys of ``attnae fit`` for the classes of the suite, read from ``keys.json`` without importing torch.

``python -m attnae.training.keys`` generates the file from signatures and docstrings.
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
    """The argument that a key sets.

    Attributes:
        type: Type in Python notation, see :mod:`attnae.bench.keys.values`.
        help: One-line description.
        default: Default value.
        required: Whether the argument has no default.
    """

    type: str
    help: str = ""
    default: Any = None
    required: bool = False


@lru_cache(maxsize=1)
def catalog() -> tuple[dict[str, Argument], dict[str, dict[str, Argument]], dict[str, list[str]]]:
    """The keys of ``attnae fit``, the arguments of each class by import path, and the base types of each class."""
    raw = json.loads(SOURCE.read_text(encoding="utf-8"))

    def arguments(entries: dict[str, Any]) -> dict[str, Argument]:
        return {key: Argument(**entry) for key, entry in entries.items()}

    classes = {path: arguments(entry["arguments"]) for path, entry in raw["classes"].items()}
    return arguments(raw["arguments"]), classes, {path: entry["fits"] for path, entry in raw["classes"].items()}


def known(configuration: Mapping[str, Any]) -> dict[str, Argument]:
    """All keys that can be set in a configuration, given the classes it selects."""
    return {key: argument for key, argument, here, _ in every(configuration) if here}


def is_group(key: str) -> bool:
    """Whether a key is a group of keys, such as ``trainer``."""
    return any(name.startswith(f"{key}.") for name in catalog()[0])


def under(nested: Any, *keys: str) -> Any:
    """The value at nested keys; ``None`` if a parent is not a mapping."""
    for key in keys:
        nested = nested.get(key) if isinstance(nested, Mapping) else None
    return nested


def find(path: str) -> str | None:
    """Finds a class of the suite by the path of its module or of a package that re-exports it."""
    classes = catalog()[1]
    if path in classes or not (path.startswith("attnae.") or "." not in path):
        return path if path in classes else None
    same = [name for name in classes if name.rpartition(".")[2] == path.rpartition(".")[2]]
    return same[0] if len(same) == 1 else None


def class_of(here: Any, classes: list[ast.expr], argument: Argument) -> dict[str, Argument] | None:
    """Arguments of the class selected by a configuration value; ``None`` if the class is not part of the suite."""
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
    """All keys, including those of classes that could be selected.

    Yields:
        Key, argument, whether its class is the selected one, and import path of the class.
    """
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
