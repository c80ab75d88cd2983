"""The record of a run, ``result.json``: the one thing that training and the benchmark runner share. Plain Python.

A run is two commands. ``attnae fit`` leaves ``fit.json`` in the run's folder, ``attnae test`` leaves ``test.json``
(both are a :class:`Part`); the runner joins them with what it planned into ``result.json``, written last and
atomically: its presence means that the run is over, its ``status`` says how.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from attnae.errors import UserError
from attnae.files import write_text

VERSION = 1
"""Version of the file format; a reader refuses any other."""


@dataclass
class Part:
    """What one command learnt about its run.

    Attributes:
        metrics: ``"<protocol>/<name>"`` to number; names, formulas and units are defined in ``attnae.metrics.columns``.
        efficiency: Parameters, operations, seconds, memory; see ``attnae.metrics.columns``.
        curves: Equally long lists by name (``epoch``, ``seconds`` and what was logged per epoch); ``None`` where absent.
        data: Name, kind, fingerprint, counts and image size of the data.
        selection: The rule by which the evaluated weights were chosen.
        versions: Package names to versions.
        hardware: Device, processor, threads, operating system.
        images: Paths of pictures, relative to the run's folder.
    """

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
    """A finished run.

    Attributes:
        benchmark: Name of the benchmark file.
        label: Folder of the report that the run belongs to.
        profile: Name of the profile.
        variant: Name of the variant.
        seed: Seed of initialisation, order, corruption and noise in training.
        status: ``"complete"`` or ``"failed"``.
        reason: One line that says why the run failed; empty otherwise.
        commands: The commands that repeat the run, paths relative to the working folder.
        git: Commit and dirty flag of the checkout, empty when installed from a wheel. ``tested``, after a further test:
            commit, dirty flag and versions of that; all else is of the training.
        config_hash: Hash of merged configuration, overrides, data fingerprint and package version.
        wall_seconds: Time from the start of the first command to the end of the last, of the attempt that finished the run.
        version: Format of this file.
    """

    benchmark: str = ""
    label: str = ""
    profile: str = ""
    variant: str = ""
    seed: int = 0
    status: str = "complete"
    reason: str = ""
    commands: list[str] = field(default_factory=list)
    git: dict[str, Any] = field(default_factory=dict)
    config_hash: str = ""
    wall_seconds: float = 0.0
    version: int = VERSION


NAME = re.compile(r"[A-Za-z0-9][\w.=+-]{0,199}")
"""What can name a folder on its way to a report: no separators, nothing that Markdown or HTML would read."""

NAMES = {"benchmark", "label", "profile", "variant"}


def label_part(text: str) -> str:
    """What of a text can stand in a label."""
    return re.sub(r"[^\w.=+-]+", "_", text)


def write(part: Part, path: Path) -> None:
    """Writes a part or a result atomically; numbers that are not finite become ``null``."""
    write_text(
        path, json.dumps(_finite(asdict(part)), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    )


def read_part(path: Path) -> Part:
    """Reads ``fit.json`` or ``test.json``.

    Raises:
        UserError: The file is missing, cut short or of another form.
    """
    return _read(path, Part)


def read_result(path: Path) -> Result:
    """Reads ``result.json``, which may come from anybody: a report is made of whatever passes here.

    Raises:
        UserError: The file is missing, cut short, of another version or of another form.
    """
    result = _read(path, Result)
    if result.version != VERSION:
        raise UserError(f"{path} has version {result.version}, this attnae reads version {VERSION}. Repeat the run.")
    if result.status not in ("complete", "failed"):
        raise UserError(f"{path} has the unknown status {result.status!r}. Delete it to repeat the run.")
    return result


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name: f for f in fields(kind)}
        defaults = kind()
        if not isinstance(raw, dict) or set(raw) - set(known):
            raise ValueError("unknown keys")
        for name, value in raw.items():
            expected = type(getattr(defaults, name))
            if not isinstance(value, (int, float) if expected is float else expected) or isinstance(value, bool):
                raise ValueError(f"{name} is not a {expected.__name__}")
        for name in ("metrics", "efficiency"):  # null means "not a finite number": a missing value, shown as "-"
            numbers = {key: float(number) for key, number in raw.get(name, {}).items() if number is not None}
            raw[name] = {key: number for key, number in numbers.items() if math.isfinite(number)}
        for curve in raw.get("curves", {}).values():
            if not isinstance(curve, list) or not all(value is None or _is_number(value) for value in curve):
                raise ValueError("a curve is not a list of numbers")
        if not all(isinstance(text, str) for name in ("images", "commands") for text in raw.get(name, [])):
            raise ValueError("a path or command is not text")
        for name in NAMES & raw.keys():  # they become folders
            if not NAME.fullmatch(raw[name]) and raw[name]:
                raise ValueError(f"the {name} {raw[name]!r:.60} cannot name a folder")
        if not isinstance(raw.get("data", {}).get("converted", {}), dict):
            raise ValueError("what was converted is not counted by reason")
        return kind(**raw)
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"Cannot read {path}: {error}. Delete it to repeat the run.") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
