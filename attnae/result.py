"""The result of a run, ``result.json`` (format 2): the interface between training and the benchmark runner.

A run consists of two commands. ``attnae fit`` writes ``fit.json`` to the run folder, ``attnae test`` writes
``test.json`` (both are a :class:`Part`). The runner merges them with the run identity into ``result.json``, which is
written last and atomically: if it exists, the run has ended, and ``status`` is its outcome. The file is a flat JSON
object:

=================  =====================================================================================================
``benchmark``      Name of the benchmark file; ``revision``: its revision number.
``variant``        Name of the variant; ``seed``; ``profile``: name of the profile.
``overrides``      Keys of ``attnae fit`` that the request changed, with their values.
``configuration``  The stated configuration: all settings from files and overrides that affect results, without class
                   defaults, loggers, paths, callbacks of the suite and keys that only add measurements.
``precision``      ``fp32`` or ``bf16``; ``devices`` per machine and ``nodes`` (machines) used for training.
``data_digest``    Digest of the decoded pixels of both splits; empty if it was not computed.
``reconstructed``  Whether the identity above was rebuilt from commands and commit (results migrated from format 1).
-----------------  -----------------------------------------------------------------------------------------------------
``label``          Name of the report that the run was made for.
``status``         ``complete`` or ``failed``; ``reason``: the cause of a failure in one line.
``finished_at``    UTC time at which the run ended, such as ``2026-01-31T12:00:00.000Z``; empty in migrated results.
``metrics``        Numbers by ``"<protocol>/<name>"``; see ``attnae.metrics.columns``.
``last_epochs``    Lists of equal length: ``epoch``, and test metrics after each of the last epochs.
``efficiency``     Parameters, operations, seconds, memory, by name.
``curves``         Lists of equal length: ``epoch``, ``seconds``, and the values logged in each epoch.
``selection``      The rule that selected the evaluated weights.
``data``           Name, kind, counts and image size of the data, and the digest computed in training.
``commands``       Commands that reproduce the run, with paths relative to the working folder or home (``~``).
``versions``       Package versions by name; shown in reports, not part of the identity.
``hardware``       Device, CPU, threads and operating system.
``git``            Commit and dirty flag of the checkout; ``tested``: the same for a later test, with versions.
``wall_seconds``   Time from the start of the first command to the end of the last, for the final attempt.
``images``         Paths of pictures, relative to the run folder.
``version``        Format of this file, 2.
=================  =====================================================================================================
"""

from __future__ import annotations

import json
import math
import platform
import re
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from attnae.errors import UserError
from attnae.files import write_text
from attnae.paths import shown

VERSION = 2
"""Version of the file format; other versions are rejected."""


@dataclass
class Part:
    """Measurements of one command; the fields are described in the module docstring."""

    metrics: dict[str, float] = field(default_factory=dict)
    efficiency: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    last_epochs: dict[str, list[float | None]] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    selection: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)


@dataclass
class Result(Part):
    """A finished run; the fields are described in the module docstring."""

    benchmark: str = ""
    revision: int = 1
    variant: str = ""
    seed: int = 0
    profile: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    devices: int = 1
    nodes: int = 1
    data_digest: str = ""
    reconstructed: bool = False
    label: str = ""
    status: str = "complete"
    reason: str = ""
    finished_at: str = ""
    commands: list[str] = field(default_factory=list)
    git: dict[str, Any] = field(default_factory=dict)
    wall_seconds: float = 0.0
    version: int = VERSION


NAME = re.compile(r"[A-Za-z0-9][\w.=+-]{0,199}")
"""Valid folder names: no separators, and no characters with a meaning in Markdown or HTML."""

NAMES = {"benchmark", "label", "profile", "variant"}

TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)?", re.ASCII)

LARGEST = 1e100
"""Largest magnitude of a metric; squares of larger ones would overflow."""

MOST_LEVELS = 50
"""Maximum nesting depth of a result; typical configurations have ten levels."""

Record = tuple[Path, Result]
"""A result and the folder in which it was found."""


class NewerFormat(UserError):
    """A newer version of attnae wrote the file, so it must not be replaced."""


P = TypeVar("P", bound=Part)


def now() -> str:
    """The current time in the format of ``finished_at``; strings sort chronologically."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def label_part(text: str) -> str:
    """Replaces characters that are not allowed in a label."""
    return re.sub(r"[^\w.=+-]+", "_", text)


def write(part: Part, path: Path) -> None:
    """Writes a part or a result atomically; non-finite numbers become ``null``."""
    write_text(
        path, json.dumps(finite(asdict(part)), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    )


def read_part(path: Path) -> Part:
    """Reads ``fit.json`` or ``test.json``.

    Raises:
        UserError: The file is missing, truncated or malformed.
    """
    return parse(load(path), Part, path)


def read_result(path: Path) -> Result:
    """Reads and validates ``result.json``; the file may come from an untrusted source.

    Raises:
        NewerFormat: The file is of a newer version of attnae.
        UserError: The file is missing, truncated, malformed, or has an older format.
    """
    raw = load(path)
    if isinstance(raw, dict) and type(version := raw.get("version")) is int and version != VERSION:
        told = f"{shown(path)} has format {version}, but this version of attnae reads format {VERSION}."
        if version > VERSION:
            raise NewerFormat(f"{told} Update attnae.")
        convert = f"Convert it with `python -m attnae.bench.migrate {shown(path.parent)}`."
        raise UserError(f"{told} {convert if version == 1 else 'Delete the file to repeat the run.'}")
    result = parse(raw, Result, path)
    if result.status not in ("complete", "failed"):
        raise UserError(f"{shown(path)} has the unknown status {result.status!r}. Delete it to repeat the run.")
    if not TIME.fullmatch(result.finished_at):
        raise UserError(
            f"{shown(path)} has an invalid finished_at: {result.finished_at!r:.60}. Delete it to repeat the run."
        )
    return result


def load(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: The file is missing or truncated.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"Cannot read {shown(path)}: {why}. Delete it to repeat the run.") from error


def parse(raw: Any, kind: type[P], path: Path) -> P:
    """Converts JSON to a part or a result and checks the type of every value.

    Raises:
        UserError: A key is unknown, or a value is malformed; the message includes ``path``.
    """
    try:
        known = {f.name: f for f in fields(kind)}
        defaults = kind()
        if not isinstance(raw, dict):
            raise ValueError("not a JSON object")
        if _deep(raw):
            raise ValueError(f"nested more than {MOST_LEVELS} levels deep")
        if unknown := sorted(set(raw) - set(known)):
            raise ValueError(f"unknown key {unknown[0]!r:.60}")
        for name, value in raw.items():
            expected = type(getattr(defaults, name))
            fits = isinstance(value, (int, float) if expected is float else expected)
            if not fits or isinstance(value, bool) != (expected is bool):
                raise ValueError(f"{name} is not a {expected.__name__}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is not a finite number")
        for name in ("metrics", "efficiency"):  # null is a non-finite number, treated as missing and shown as "-"
            numbers = {key: float(number) for key, number in raw.get(name, {}).items() if number is not None}
            raw[name] = {key: number for key, number in numbers.items() if math.isfinite(number)}
            if huge := [key for key, number in raw[name].items() if abs(number) > LARGEST]:
                raise ValueError(f"{huge[0]!r:.60} is above {LARGEST:g}")
        for curve in (*raw.get("curves", {}).values(), *raw.get("last_epochs", {}).values()):
            if not isinstance(curve, list) or not all(value is None or _is_number(value) for value in curve):
                raise ValueError("a curve is not a list of numbers")
        if not all(isinstance(text, str) for name in ("images", "commands") for text in raw.get(name, [])):
            raise ValueError("a path or command is not a string")
        for name in NAMES & raw.keys():  # used as folder names
            if not NAME.fullmatch(raw[name]) and raw[name]:
                raise ValueError(f"the {name} {raw[name]!r:.60} is not a valid folder name")
        if not isinstance(raw.get("data", {}).get("converted", {}), dict):
            raise ValueError("data.converted is not an object")
        json.dumps(raw, ensure_ascii=False).encode()  # fails for half a surrogate pair, which no file can hold
        return kind(**raw)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"Cannot read {shown(path)}: {error}. Delete it to repeat the run.") from error


def _deep(value: Any) -> bool:
    """Whether a JSON value is nested deeper than :data:`MOST_LEVELS`."""
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level if isinstance(outer, dict | list)
                 for inner in (outer.values() if isinstance(outer, dict) else outer)]  # fmt: skip
    return bool(level)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def finite(value: Any) -> Any:
    """Replaces non-finite numbers in a JSON value with ``null``."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value


def processor() -> str:
    """Name of this machine's processor, as recorded in results."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
