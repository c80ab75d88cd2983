"""What somebody asks for, and its words as values: variants, seeds, settings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from attnae.bench import tracking
from attnae.bench.catalog import choose
from attnae.bench.catalog.benchmark import Benchmark
from attnae.errors import UserError
from attnae.files import parse_yaml, typed
from attnae.files import relative as relative
from attnae.files import shown as shown
from attnae.result import finite

MOST_SEEDS = 1000

MEASURES = ("perceptual",)
"""Keys that change what a test measures and nothing of the training: no part of a run's identity."""

PLACE = ("data.init_args.root", "data.init_args.source", "data.init_args.download")
"""Keys that say where the images are; the digest of their pixels says what they are."""


@dataclass(frozen=True)
class Request:
    """A comparison that somebody asks for.

    Attributes:
        benchmark: What to compare.
        profile: Name of a profile; empty for the first of the benchmark.
        variants: Names separated by commas, ``all``, or ``None`` for the benchmark's defaults.
        seeds: A number of seeds (``3`` means 1, 2, 3) or seeds separated by commas (``7,``).
        data_root: Folder of the images instead of the profile's.
        overrides: ``key=value`` in the keys of ``attnae fit``; ``key+=value`` appends to a list.
        label: Name of the report instead of the one that describes profile, data and settings.
        out: Folder of all runs.
        dry: Do not insist on the profile's data.
        decode: Decode images that nobody has decoded yet; their digest is part of the identities. A dry run never does.
        precision: ``fp32``, ``bf16`` or ``auto``.
        devices: Devices that train one run, on each of its machines.
        nodes: Machines that train one run.
        wandb: Weights & Biases project that numbers are also shown in.
        keep_checkpoints: Whether complete runs keep their checkpoints.
    """

    benchmark: Benchmark
    profile: str = ""
    variants: str | None = None
    seeds: str = "1"
    data_root: Path | None = None
    overrides: list[str] = field(default_factory=list)
    label: str | None = None
    out: Path = Path("runs")
    dry: bool = False
    precision: str = "fp32"
    devices: int = 1
    nodes: int = 1
    wandb: str | None = None
    keep_checkpoints: bool = False
    decode: bool = True


@dataclass
class Settings:
    """Overrides by what they change.

    Attributes:
        numbers: What changes the numbers: part of the identity.
        place: Where the images are.
        measures: What a test measures beyond the usual.
        logger: Where else the numbers are shown.
    """

    numbers: dict[str, Any] = field(default_factory=dict)
    place: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)


def settings(request: Request) -> Settings:
    """The request's overrides, and its data root as one.

    Raises:
        UserError: An override has another form, is no YAML, or belongs to an option.
    """
    found = Settings()
    for text in request.overrides:
        key, value = setting(text)
        if f"{key}.".startswith(f"{tracking.LOGGER}."):
            found.logger[key] = value
        elif key in MEASURES:
            if not isinstance(value, bool):  # a training that does not get it cannot refuse it
                raise UserError(f"--set {text}: must be true or false.")
            found.measures[key] = value
        else:
            (found.place if key in PLACE else found.numbers)[key] = value
    root, source, download = PLACE
    if request.data_root is not None:
        found.place.setdefault(source, "official" if found.place.get(download) else "auto")
        found.place[root] = relative(request.data_root)
    elif isinstance(folder := found.place.get(root), str):
        found.place.setdefault(source, "official" if found.place.get(download) else "auto")
        found.place[root] = typed(folder)
    return found


def variants(request: Request) -> list[str]:
    """Names of the chosen variants.

    Raises:
        UserError: One is unknown, or there are none.
    """
    known, text = request.benchmark.variants, request.variants
    if text == "all":
        return list(known)
    if text is None:
        return [variant.name for variant in known.values() if variant.default]
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    if not wanted:
        raise UserError(f"--variants {text!r} selects no variants. Available: {', '.join(known)}.")
    return list(dict.fromkeys(choose("variant", name, known) for name in wanted))


def seeds(text: str) -> list[int]:
    """``"3"`` as 1, 2, 3; ``"7,"`` as 7.

    Raises:
        UserError: It is neither a number nor different seeds.
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
        found = numbers if "," in text else list(range(1, min(numbers[0], MOST_SEEDS + 1) + 1))
    except (ValueError, IndexError):
        found = []
    valid = 0 < len(found) <= MOST_SEEDS and all(0 <= seed < 2**32 for seed in found)
    if not valid or len(set(found)) < len(found):
        raise UserError(
            f"--seeds {text!r} is neither a number of seeds nor different seeds separated by commas, such as 1,2,3."
        )
    return found


def setting(text: str) -> tuple[str, Any]:
    """``key=value`` as the key and its value.

    Raises:
        UserError: It has another form, or the value is not YAML.
    """
    key, sign, value = text.partition("=")
    if not sign or not re.fullmatch(r"[A-Za-z_][\w.]*\+?", key):
        raise UserError(f"--set {text!r}: expected key=value with a key of `attnae fit`, such as trainer.max_epochs=3.")
    return key, parsed(value, text)


def parsed(value: str, text: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        UserError: It is not YAML; names the whole setting ``text``.
    """
    try:
        return plain(parse_yaml(value))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"--set {text}: not a YAML value.") from error


def plain(value: Any) -> Any:
    """A YAML value as JSON has it: text for keys and dates, ``null`` for numbers that are not finite."""
    return finite(json.loads(json.dumps(value, default=str)))
