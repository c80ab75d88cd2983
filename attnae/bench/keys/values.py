"""Checks values against types with the rules of the ``attnae fit`` parser, without importing it or torch."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as read by jsonargparse: 1e-4 is a number, a date is a string."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, regex) for tag, regex in pairs if not tag.endswith((":timestamp", ":float"))]
    for letter, pairs in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
        |\.[0-9_]+(?:[eE][-+][0-9]+)?
        |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
        re.X,
    ),
    list("-+0123456789."),
)

DURATION = re.compile(r"(?:[-\d]+ day[s]*, )?\d+:\d+:\d[\.\d+]*")
WORDS = {"None": "null", "bool": "true or false", "Path": "path", "str": "string", "timedelta": "hours:minutes:seconds"}


def loaded(text: Any) -> Any:
    """Parses a string as YAML; other values and invalid YAML are returned unchanged."""
    if not isinstance(text, str):
        return text
    stripped = text.strip()
    if re.fullmatch(r"-?\d+", stripped):
        return int(stripped)
    plain = stripped.replace(".", "", 1).replace("e", "", 1).replace("-", "", 2)
    if plain.isdigit() and ("e" in stripped or "." in stripped):
        try:
            return float(stripped)
        except ValueError:
            pass
    try:
        return yaml.load(text, _Loader) if stripped else text
    except (yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError, TypeError):  # of explicit tags
        return text


@cache
def parsed(kind: str) -> ast.expr:
    """Parses a type of the catalog into a syntax tree."""
    return ast.parse(kind, mode="eval").body


def options(kind: ast.expr) -> list[ast.expr]:
    """The members of a union; for any other type, the type itself."""
    if isinstance(kind, ast.BinOp):
        return [*options(kind.left), *options(kind.right)]
    return [kind]


def head(kind: ast.expr) -> str:
    """Name of a type without its parameters: ``list`` for ``list[int]``."""
    return ast.unparse(kind.value if isinstance(kind, ast.Subscript) else kind)


def items(kind: ast.expr) -> list[ast.expr]:
    """Parameters of a type: ``int`` and ``None`` for ``tuple[int, None]``."""
    if not isinstance(kind, ast.Subscript):
        return []
    return list(kind.slice.elts) if isinstance(kind.slice, ast.Tuple) else [kind.slice]


def is_class(kind: ast.expr) -> bool:
    """Whether a type is a class, configured by ``class_path`` and ``init_args``."""
    return isinstance(kind, ast.Attribute)


def fits(kind: ast.expr, value: Any, typed: bool = False) -> bool:
    """Whether the parser accepts a value for a type. Class arguments are checked elsewhere.

    Args:
        kind: The type.
        value: The value; strings are also parsed as YAML.
        typed: Whether the value comes from a command line, where any value is also a valid string.
    """
    if isinstance(kind, ast.BinOp):
        return any(fits(one, value, typed) for one in options(kind))
    name, inside, real = head(kind), items(kind), loaded(value)
    if bound := re.fullmatch(r"(?:jsonargparse\.typing\.)?(Positive|NonNegative)(Int|Float)", name):
        number = isinstance(real, int if bound[2] == "Int" else int | float) and not isinstance(real, bool)
        return number and (real > 0 if bound[1] == "Positive" else real >= 0)
    if name == "Literal":
        known = [one.value if isinstance(one, ast.Constant) else ast.literal_eval(one) for one in inside]
        return value in known or (typed and str(value) in known) or any(real is one or real == one for one in known)
    if name == "None":
        return real is None
    if name == "bool":
        return isinstance(real, bool)
    if name == "int":
        return isinstance(real, int) and not isinstance(real, bool)
    if name == "float":
        return isinstance(real, int | float) and not isinstance(real, bool)
    if name == "str":
        return typed or isinstance(value, str | Path)
    if name == "Path":  # the parser does not take a list or mapping back to the text that was typed
        return isinstance(value, str | Path) if not typed else not isinstance(real, list | dict)
    if name == "timedelta":
        return (typed and not isinstance(value, str)) or (isinstance(value, str) and bool(DURATION.match(value)))
    if name in ("list", "tuple"):
        if not isinstance(real, list | tuple):
            return name == "list" and _is_file(value)
        fixed = name == "tuple" and inside and ast.unparse(inside[-1]) != "..."
        if fixed and len(real) != len(inside):
            return False
        return not inside or all(fits(inside[n] if fixed else inside[0], one) for n, one in enumerate(real))
    if name == "dict":
        if not isinstance(real, dict):
            return _is_file(value)
        return not inside or all(fits(inside[0], key) and fits(inside[1], one) for key, one in real.items())
    if is_class(kind):
        return isinstance(real, str | dict) or _is_file(value)
    return True


def _is_file(value: Any) -> bool:
    """Whether a value is the path of a file; the parser checks its content."""
    try:
        return isinstance(value, str) and bool(value) and Path(value).is_file()
    except (OSError, ValueError):
        return False


def spoken(kind: ast.expr) -> str:
    """Describes a type: ``int or null``."""
    told: list[str] = []
    for one in options(kind):
        name, inside = head(one), items(one)
        if name == "Literal":
            told += [str(ast.literal_eval(word)) for word in inside]
        elif name in ("list", "tuple") and inside:
            several = name == "list" or ast.unparse(inside[-1]) == "..."
            told.append(f"[{spoken(inside[0])}, ...]" if several else f"[{', '.join(map(spoken, inside))}]")
        elif name == "dict":
            told.append("{name: value}")
        elif is_class(one):
            told.append(f"a {name.rpartition('.')[2]}")
        else:
            told.append(WORDS.get(name, name))
    told = list(dict.fromkeys(told))
    return " or ".join([", ".join(told[:-1]), told[-1]] if len(told) > 2 else told)
