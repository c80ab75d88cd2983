"""Finds the files that ship with the package (``configs/``, ``benchmarks/``, ``models/``) and writes files atomically."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from attnae.errors import UserError
from attnae.paths import shown

MOST_VALUES = 100_000
"""Maximum number of values in a YAML file, because a few nested aliases could exhaust the memory."""

PACKAGE = Path(__file__).resolve().parent


def shipped(*parts: str) -> Path:
    """Path of something that travels with the package, such as ``benchmarks/``: at a checkout's root, or inside a wheel."""
    wheel = PACKAGE / "_files"
    return (wheel if wheel.is_dir() else PACKAGE.parent).joinpath(*parts)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path that atomically replaces ``path`` when the block succeeds.

    Readers see the old or the new file, never a partial one, even after ``kill -9`` or on a full disk.

    Raises:
        UserError: The folder is not writable, or the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp creates private files, unsuitable for shared caches and reports
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"Cannot write {shown(path)}: {error.strerror or error}. Free space or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` as UTF-8, atomically. Bytes of file names that are not UTF-8 are written as ``\\xff``."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe loader that rejects duplicate keys and reads ``1e-4`` as a number, like ``attnae fit``."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := next((key for place, key in enumerate(keys) if key in keys[:place]), None):
            raise yaml.YAMLError(f"duplicate key {twice!r}, {node.start_mark}")
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


class _Dumper(yaml.SafeDumper):
    """Writes YAML that :class:`_Loader` reads back as the same value, without aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind in (_Loader, _Dumper):  # PyYAML's rule requires a decimal point
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def parse_yaml(text: str) -> Any:
    """Parses a YAML text, such as the value in ``--set key=value``.

    Raises:
        yaml.YAMLError: The text is not valid YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except (KeyError, IndexError, AttributeError, TypeError) as error:  # of explicit tags, such as `!!bool maybe`
        raise yaml.YAMLError(f"invalid value: {error}") from error


def dump_yaml(value: Any) -> str:
    """Writes YAML that :func:`parse_yaml` reads back as the same value, with mappings in order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping from a file. Rejects tags that construct objects, and excessive aliases.

    Raises:
        UserError: The file is missing or is not a YAML mapping.
    """
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise UserError(f"{shown(path)} is not a YAML mapping.")
        if _values(raw, {}) > MOST_VALUES:
            raise UserError(f"Cannot read {shown(path)}: its aliases expand to more than {MOST_VALUES:,} values.")
    except OSError as error:
        raise UserError(f"Cannot read {shown(path)}: {error.strerror or error}.") from error
    except (UnicodeDecodeError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"Cannot read {shown(path)}: {error}") from error
    return raw


def _values(value: Any, known: dict[int, int]) -> int:
    """Number of values after expanding all aliases, computed without expanding them."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = MOST_VALUES  # a value that contains itself is infinite
        inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_values(each, known) for each in inner)
    return known[id(value)]
