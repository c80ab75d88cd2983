"""Code of a benchmark outside the package: its version, and whether its classes can be imported."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnae.bench import keys
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.catalog.configuration import classes
from attnae.bench.running import processes
from attnae.errors import UserError
from attnae.paths import shown

_checked: set[tuple[str, str]] = set()
"""Digests of code, with the questions about its classes, that were found to be in order."""

SCRIPT = Path(__file__).with_name("running") / "classes.py"


def version(folder: Path | None, configuration: Mapping[str, Any]) -> dict[str, str]:
    """The digest of a folder's Python files as part of a run's identity, if the run uses a class of the folder.

    After a change of the code, runs of other variants stay complete, and those of the folder are made anew.

    Args:
        folder: Folder of the code; ``None`` if there is none.
        configuration: The merged configuration of the run.
    """
    if folder is None or not any(path.startswith(f"{folder.name}.") for path in classes(configuration)):
        return {}
    return {"code": digest(folder)}


def digest(folder: Path) -> str:
    """Digest of the names and contents of a folder's Python files, whatever their line endings."""
    hashed = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        if not any(part.startswith((".", "__")) for part in inside.parts[:-1]):
            text = path.read_bytes().replace(b"\r\n", b"\n")
            hashed.update(f"{inside.as_posix()} {len(text)}\n".encode() + text)
    return hashed.hexdigest()


def check(benchmark: Benchmark, profile: str, configurations: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks the keys of a benchmark outside the package, and that its classes can be imported and take their arguments.

    The classes are imported in a process of their own, so that changed code is read again.

    Args:
        benchmark: The benchmark.
        profile: Name of the profile.
        configurations: Merged configuration of each selected variant.

    Raises:
        UserError: A key, class or argument is wrong; the message gives the variant, the key and the reason.
    """
    where = shown(benchmark.file) if benchmark.file else benchmark.name
    asked = []
    for variant, configuration in configurations.items():
        keys.check_configuration(benchmark.configuration(variant, profile), f"{where}, {variant}")
        try:
            for key, path, given in _others(configuration):
                asked.append({"where": f"{variant}: {key}", "path": path, "given": given, "task": key == "model"})
        except UserError as error:
            raise UserError(f"{where}, {variant}: {error}") from None
    if not (asked or benchmark.code):
        return
    folder = benchmark.code
    text = json.dumps({"folder": str(folder) if folder else None, "classes": asked}, default=str)
    known = (digest(folder) if folder else "", text)
    if known in _checked:  # the points of a grid
        return
    done = processes.run(str(SCRIPT), [], os.environ, text)
    try:
        problem = json.loads(done.stdout)
    except ValueError:  # the code ended the process
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        problem = f"importing its classes ended the process: {last}"
    if problem:
        raise UserError(f"{where}: {problem}")
    _checked.add(known)


def _others(value: Any, key: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """Key, path and names of the stated arguments of each class outside attnae and the libraries it configures."""
    if isinstance(value, Mapping):
        path = value.get("class_path")
        if isinstance(path, str) and "." in path and path.split(".")[0] not in ("attnae", "torch", "lightning"):
            given = value.get("init_args") or {}
            if not isinstance(given, Mapping):
                raise UserError(f"{key}.init_args must be a mapping, got {given!r:.60}.")
            yield key, path, list(given)
        for name, inner in value.items():
            yield from _others(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _others(inner, f"{key}[{place}]")
