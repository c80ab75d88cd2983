"""Generates the catalog of all keys of ``attnae fit``, with type, default and description: ``python -m attnae.training.keys``.

``attnae-bench`` checks keys and values against the catalog, ``attnae/bench/keys/keys.json``, without importing torch. This module
generates it from the suite's signatures and docstrings.
"""

from __future__ import annotations

import contextlib
import datetime
import inspect
import io
import json
import pkgutil
import re
import types
import typing
from collections.abc import Iterator
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from attnae.files import PACKAGE, write_text
from attnae.training.cli import AttnaeCLI, run_cli

FILE = PACKAGE / "bench" / "keys" / "keys.json"
COMMAND = "python -m attnae.training.keys"
UNIONS = (Union, types.UnionType)
PLAIN = (bool, int, float, str, dict, list, tuple, Path, datetime.timedelta)


class _Captured(BaseException):
    """Raised with the parser of ``attnae fit`` before it parses anything."""

    def __init__(self, parser: ArgumentParser):
        self.parser = parser


def catalog() -> dict[str, Any]:
    """All keys of ``attnae fit``.

    Returns:
        ``arguments``: maps dotted keys to type, default and help. ``classes``: maps the import path of every class of the
        suite that can be a ``class_path`` to its ``arguments``, its one-line description ``about``, and ``fits``: the
        argument types it is valid for. ``lightning``: the Lightning version of the Trainer's keys.
    """
    parser = parser_of("fit")
    arguments, wanted = _arguments(parser), _classes_in(parser)
    found: dict[type, dict[str, Any]] = {}
    types_asked: set[type] = set()
    while new := wanted - types_asked:  # a task takes networks, which may take other classes
        types_asked |= new
        for cls in _suite():
            if any(_fits(cls, kind) for kind in new) and cls not in found:
                own = ArgumentParser(exit_on_error=False)
                try:
                    own.add_class_arguments(cls, fail_untyped=False)
                except ValueError:  # has arguments that a configuration cannot contain
                    continue
                found[cls] = {"about": _line(inspect.getdoc(cls) or ""), "arguments": _arguments(own)}
                wanted |= _classes_in(own)
    for cls, entry in found.items():
        entry["fits"] = sorted(_path(kind) for kind in wanted if _fits(cls, kind))
    classes = {_path(cls): entry for cls, entry in found.items()}
    return {"arguments": arguments, "classes": classes, "lightning": metadata.version("lightning")}


def text() -> str:
    """Content of the file, sorted for small diffs."""
    return json.dumps(catalog(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@cache
def parser_of(command: str) -> ArgumentParser:
    """The parser of ``attnae fit`` or another command of Lightning's CLI."""

    def capture(cli: AttnaeCLI, parser: ArgumentParser, args: Any) -> None:
        raise _Captured(cli._subcommand_parsers[command])

    usual = AttnaeCLI.parse_arguments
    AttnaeCLI.parse_arguments = capture  # type: ignore[method-assign, assignment]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # in a terminal, the progress bar would be on by default
            run_cli()
    except _Captured as captured:
        return captured.parser
    finally:
        AttnaeCLI.parse_arguments = usual  # type: ignore[method-assign]
    raise RuntimeError(f"attnae {command} has no parser")


def _suite() -> Iterator[type]:
    """All public classes of the package."""
    seen = set()
    for module in pkgutil.walk_packages([str(PACKAGE)], "attnae."):
        if not module.name.startswith("attnae.bench") and module.name.rpartition(".")[2] != "__main__":
            for cls in vars(import_module(module.name)).values():
                own = inspect.isclass(cls) and cls.__module__ == module.name and not cls.__name__.startswith("_")
                if own and not inspect.isabstract(cls) and not getattr(cls, "_is_protocol", False) and cls not in seen:
                    seen.add(cls)
                    yield cls


def _arguments(parser: ArgumentParser) -> dict[str, dict[str, Any]]:
    """Maps keys to type, default and help; keys without a default are ``required``."""
    found: dict[str, dict[str, Any]] = {}
    for action in parser._actions:
        if (hint := getattr(action, "_typehint", None)) is not None and action.default != "==SUPPRESS==":
            entry: dict[str, Any] = {"type": spelled(hint), "help": _line(action.help or "")}
            if action.required:
                entry["required"] = True
            else:
                entry["default"] = _plain(action.default)
            found[action.dest] = entry
    return found


def spelled(hint: Any) -> str:
    """A type in Python notation, with import paths for classes, and ``Any`` for types that are not checked."""
    origin, inside = get_origin(hint), get_args(hint)
    if hint is type(None) or hint is None:
        return "None"
    if origin in UNIONS:
        names = list(dict.fromkeys(map(spelled, inside)))
        return " | ".join(sorted(names, key=lambda name: name == "None"))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inside))}]"
    if origin in (tuple, dict) or hint in (tuple, dict):
        items = ["..." if part is Ellipsis else spelled(part) for part in inside]
        return f"{(origin or hint).__name__}[{', '.join(items)}]" if items else (origin or hint).__name__
    if (
        inspect.isclass(origin or hint)
        and issubclass(origin or hint, typing.Iterable)
        and not issubclass(origin or hint, (str, bytes, typing.Mapping))
        and (origin is not None or hint is list)
    ):
        return f"list[{spelled(inside[0])}]" if inside else "list"
    if hint in PLAIN:
        return str(hint.__name__)
    return _path(hint) if inspect.isclass(hint) and hint.__module__ != "builtins" and not inside else "Any"


def _classes_in(parser: ArgumentParser) -> set[type]:
    """All classes in the types of the arguments, including nested ones."""
    found, waiting = set(), [getattr(action, "_typehint", None) for action in parser._actions]
    while waiting:
        hint = waiting.pop()
        waiting += get_args(hint) if get_origin(hint) is not Literal else ()
        # In Python 3.10, a parameterized generic such as Iterable[Logger] is a class.
        if (
            get_origin(hint) is None
            and inspect.isclass(hint)
            and hint.__module__ not in ("builtins", "pathlib", "datetime")
        ):
            found.add(hint)
    return found


def _fits(cls: type, kind: type) -> bool:
    """Whether a class is valid for a type. A protocol accepts classes with its methods and their signatures."""
    if not getattr(kind, "_is_protocol", False):
        return issubclass(cls, kind)
    methods = [name for name, value in vars(kind).items() if inspect.isfunction(value) and name != "__init__"]
    wanted = {name: vars(kind)[name] for name in methods if name == "__call__" or not name.startswith("_")}
    own = {name: inspect.getattr_static(cls, name, None) for name in wanted}
    return all(
        inspect.isfunction(own[name])
        and list(inspect.signature(own[name]).parameters) == list(inspect.signature(one).parameters)
        for name, one in wanted.items()
    )


def _plain(value: Any) -> Any:
    """A default as JSON; objects by name."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return str(value) if isinstance(value, Path) else {"class_path": _path(type(value))}


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _line(text: str) -> str:
    """The first sentence of a description, without markup."""
    first = re.split(r"\n\s*\n", text.strip(), maxsplit=1)[0]
    flat = " ".join(first.split())
    flat = re.sub(r":\w+:`~?\.?(?:[\w.]*\.)?([^`]*)`", r"\1", flat).replace("``", "")
    sentence = re.split(r"(?<=[a-z)\]\d'\"])\. (?=[A-Z])|(?<=\.)(?<!e\.g\.)(?<!i\.e\.) (?=[A-Z])", flat, maxsplit=1)[0]
    return sentence.rstrip(". ")


if __name__ == "__main__":
    write_text(FILE, text())
    print(f"Wrote {FILE}")
