"""The record of a run, ``result.json``, format 2: the one thing that training and the benchmark runner share. Plain Python.

A run is two commands. ``attnae fit`` leaves ``fit.json`` in the run's folder, ``attnae test`` leaves ``test.json``
(both are a :class:`Part`); the runner joins them with the run's identity into ``result.json``, written last and
atomically: its presence means that the run is over, its ``status`` says how. The file is one flat JSON object:

=================  =====================================================================================================
``benchmark``      Name of the benchmark file, and ``revision``, the number in it that changes with the numbers.
``variant``        Name of the variant, and ``seed`` and ``profile``.
``overrides``      Key of ``attnae fit`` to value: what the request changed against benchmark and profile.
``configuration``  The stated configuration: everything that files and overrides say about the numbers, without class
                   defaults, loggers, paths, callbacks of the suite and what only measures.
``precision``      ``fp32`` or ``bf16``; ``devices`` per machine and ``nodes``: how many trained together.
``data_digest``    Digest of the decoded pixels of both splits; empty where nobody has taken it.
``reconstructed``  Whether the identity above was rebuilt from commands and commit (results migrated from format 1).
-----------------  -----------------------------------------------------------------------------------------------------
``label``          Name of the report that the run was made for.
``status``         ``complete`` or ``failed``; then ``reason`` says why in one line.
``finished_at``    When the run ended, UTC, such as ``2026-01-31T12:00:00.000Z``; empty in migrated results.
``metrics``        ``"<protocol>/<name>"`` to number; see ``attnae.metrics.columns``.
``last_epochs``    Equally long lists: ``epoch``, and test metrics at each of the last epochs by ``"<protocol>/<name>"``.
``efficiency``     Parameters, operations, seconds, memory, by name.
``curves``         Equally long lists: ``epoch``, ``seconds``, and what was logged in each epoch.
``selection``      The rule by which the evaluated weights were chosen.
``data``           Name, kind, counts and image size of the data, and the digest that training measured.
``commands``       The commands that repeat the run, with paths relative to the working folder or to home (``~``).
``versions``       Package names to versions; shown, never part of the identity.
``hardware``       Device, processor, threads, operating system.
``git``            Commit and dirty flag of the checkout; ``tested``: the same of a later test, with its versions.
``wall_seconds``   Time from the first command to the end of the last, of the attempt that finished the run.
``images``         Paths of pictures, relative to the run's folder.
``version``        Format of this file: 2.
=================  =====================================================================================================
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from attnae.errors import UserError
from attnae.files import write_text

VERSION = 2
"""Version of the file format; a reader refuses any other."""


@dataclass
class Part:
    """What one command measured; the module's table describes every field."""

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
    """A finished run; the module's table describes every field."""

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
"""What can name a folder on its way to a report: no separators, nothing that Markdown or HTML would read."""

NAMES = {"benchmark", "label", "profile", "variant"}

TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)?", re.ASCII)

MOST_LEVELS = 50
"""Of a result: a configuration has ten."""

Record = tuple[Path, Result]
"""The folder in which a result was found, and the result."""


P = TypeVar("P", bound=Part)


def now() -> str:
    """The present time as ``finished_at`` tells it: equally long texts whose order is that of the times."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def label_part(text: str) -> str:
    """What of a text can stand in a label."""
    return re.sub(r"[^\w.=+-]+", "_", text)


def write(part: Part, path: Path) -> None:
    """Writes a part or a result atomically; numbers that are not finite become ``null``."""
    write_text(
        path, json.dumps(finite(asdict(part)), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    )


def read_part(path: Path) -> Part:
    """Reads ``fit.json`` or ``test.json``.

    Raises:
        UserError: The file is missing, cut short or of another form.
    """
    return parse(load(path), Part, path)


def read_result(path: Path) -> Result:
    """Reads ``result.json``, which may come from anybody: a report is made of whatever passes here.

    Raises:
        UserError: The file is missing, cut short, of another format or of another form.
    """
    raw = load(path)
    if isinstance(raw, dict) and type(version := raw.get("version")) is int and version != VERSION:
        if version == 1:
            advice = f"Convert it with `python -m attnae.bench.migrate {path.parent}`"
        else:
            advice = "Update attnae" if version > VERSION else "Delete the file to repeat the run"
        raise UserError(f"{path} has format {version}, this attnae reads format {VERSION}. {advice}.")
    result = parse(raw, Result, path)
    if result.status not in ("complete", "failed"):
        raise UserError(f"{path} has the unknown status {result.status!r}. Delete it to repeat the run.")
    if not TIME.fullmatch(result.finished_at):
        raise UserError(f"{path} has the unreadable time finished_at = {result.finished_at!r:.60}.")
    return result


def load(path: Path) -> Any:
    """The JSON value in a file.

    Raises:
        UserError: The file is missing or cut short.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"Cannot read {path}: {error}. Delete it to repeat the run.") from error


def parse(raw: Any, kind: type[P], path: Path) -> P:
    """A part or a result from JSON; every value has the type that the class gives it.

    Raises:
        UserError: A key is unknown, or a value has another form; names ``path``.
    """
    try:
        known = {f.name: f for f in fields(kind)}
        defaults = kind()
        if not isinstance(raw, dict):
            raise ValueError("not a JSON object")
        if _deep(raw):
            raise ValueError(f"nested more than {MOST_LEVELS} levels deep")
        if unknown := sorted(set(raw) - set(known)):
            raise ValueError(f"unknown keys, such as {unknown[0]!r:.60}")
        for name, value in raw.items():
            expected = type(getattr(defaults, name))
            fits = isinstance(value, (int, float) if expected is float else expected)
            if not fits or isinstance(value, bool) != (expected is bool):
                raise ValueError(f"{name} is not a {expected.__name__}")
        for name in ("metrics", "efficiency"):  # null means "not a finite number": a missing value, shown as "-"
            numbers = {key: float(number) for key, number in raw.get(name, {}).items() if number is not None}
            raw[name] = {key: number for key, number in numbers.items() if math.isfinite(number)}
        for curve in (*raw.get("curves", {}).values(), *raw.get("last_epochs", {}).values()):
            if not isinstance(curve, list) or not all(value is None or _is_number(value) for value in curve):
                raise ValueError("a curve is not a list of numbers")
        if not all(isinstance(text, str) for name in ("images", "commands") for text in raw.get(name, [])):
            raise ValueError("a path or command is not text")
        for name in NAMES & raw.keys():  # they become folders
            if not NAME.fullmatch(raw[name]) and raw[name]:
                raise ValueError(f"the {name} {raw[name]!r:.60} cannot name a folder")
        if not isinstance(raw.get("data", {}).get("converted", {}), dict):
            raise ValueError("converted images are not counted by reason")
        return kind(**raw)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"Cannot read {path}: {error}. Delete it to repeat the run.") from error


def _deep(value: Any) -> bool:
    """Whether a JSON value is nested so deep that only a recursion without end would read it."""
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level if isinstance(outer, dict | list)
                 for inner in (outer.values() if isinstance(outer, dict) else outer)]  # fmt: skip
    return bool(level)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def finite(value: Any) -> Any:
    """A JSON value with ``null`` for numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value
