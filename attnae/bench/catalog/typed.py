"""Converts YAML mappings to dataclasses with type checks; errors give the file, the location and the closest valid name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from attnae.errors import UserError

T = TypeVar("T")

_hints = cache(get_type_hints)

NAMES = {str: "a string", bool: "true or false", int: "a whole number", float: "a number", type(None): "null",
         list: "a list", dict: "a mapping"}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A location in a file, for messages such as ``benchmarks/x.yaml: claims[2].metric: ...``.

    Attributes:
        file: The file name to display.
        path: Keys and list indices that lead to the location; empty for the whole file.
    """

    file: str
    path: str = ""

    def at(self, key: Any) -> Place:
        """The location at a key, or at a 0-based index in a list."""
        if isinstance(key, int) and not isinstance(key, bool):
            return Place(self.file, f"{self.path}[{key}]")
        return Place(self.file, f"{self.path}.{key}" if self.path else str(key))

    def error(self, text: str) -> UserError:
        """Creates an error for this location."""
        return UserError(": ".join(part for part in (self.file, self.path, text) if part))

    def choose(self, kind: str, name: Any, options: Iterable[str]) -> None:
        """Checks that a name is one of the options.

        Raises:
            UserError: The name is unknown.
        """
        options = list(options)
        if name not in options:
            raise self.error(f"unknown {kind} {name!r}.{suggestion(name, options)}")


def suggestion(name: Any, options: Iterable[str]) -> str:
    """``" Did you mean X?"`` if an option is similar to the name, else a list of all options."""
    options = list(options)
    close = difflib.get_close_matches(str(name), options, 1)
    return f" Did you mean {close[0]}?" if close else f" Available: {', '.join(options) or 'none'}."


def build(kind: type[T], raw: Any, place: Place, **given: Any) -> T:
    """Creates a dataclass from a mapping.

    ``metadata={"key": ...}`` of a field sets its key in the file.

    Args:
        kind: The dataclass.
        raw: The mapping read from the file.
        place: Location of the mapping in the file.
        given: Values of fields that must not be in the mapping.

    Raises:
        UserError: A key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(raw, dict):
        raise place.error(f"must be a mapping, got {_shown(raw)}")
    hints = _hints(cast(Any, kind))
    known = {_key(field): field for field in fields(cast(Any, kind)) if field.name not in given and field.init}
    for key in raw:
        if key not in known:
            raise place.error(f"unknown key {key!r}.{suggestion(key, known)}")
    values = dict(given)
    for key, field in known.items():
        if key in raw:
            values[field.name] = convert(hints[field.name], raw[key], place.at(key))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise place.error(f"missing key {key!r}")
    return kind(**values)


def convert(hint: Any, value: Any, place: Place) -> Any:
    """Converts a value to a type: dataclass, list, mapping, union, literal or plain value.

    In a mapping of dataclasses with a field ``name``, the key becomes the name.

    Raises:
        UserError: The value has the wrong type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _union(arguments, value, place)
    if origin is Literal:
        if not any(value == option and type(value) is type(option) for option in arguments):
            raise place.error(f"must be one of {', '.join(map(str, arguments))}, got {_shown(value)}")
        return value
    if is_dataclass(hint):
        return build(cast(type, hint), value, place)
    if origin is list:
        if not isinstance(value, list):
            raise place.error(f"must be a list, got {_shown(value)}")
        return [convert(arguments[0], each, place.at(index)) for index, each in enumerate(value)]
    if origin is dict:
        return _mapping(arguments, value, place)
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise place.error(f"must be {NAMES[hint]}, got {_shown(value)}")
    return value


def _mapping(arguments: tuple[Any, ...], value: Any, place: Place) -> dict[Any, Any]:
    key_type, value_type = arguments
    if not isinstance(value, dict):
        raise place.error(f"must be a mapping, got {_shown(value)}")
    found = {}
    for key, each in value.items():
        inside = Place(place.file, f"{place.path}.{key}")
        name = convert(key_type, key, Place(place.file, f"{place.path}, key {key}"))
        named = is_dataclass(value_type) and any(field.name == "name" for field in fields(value_type))
        found[name] = (
            build(cast(type, value_type), each, inside, name=name) if named else convert(value_type, each, inside)
        )
    return found


def _union(options: tuple[Any, ...], value: Any, place: Place) -> Any:
    for option in options:
        if get_origin(option) in (list, dict) and isinstance(value, get_origin(option)):
            return convert(option, value, place)  # its error is more specific than that of the union
        try:
            return convert(option, value, place)
        except UserError:
            continue
    kinds = " or ".join(_called(option) for option in options)
    raise place.error(f"must be {kinds}, got {_shown(value)}")


def _called(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return NAMES[get_origin(kind) or kind]


def _key(field: Field[Any]) -> str:
    return str(field.metadata.get("key", field.name))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
