"""A request for a comparison, and how its options are parsed: variants, seeds, settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from attnae.bench import tracking
from attnae.bench.catalog import choose
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.keys.catalog import is_group
from attnae.errors import UserError
from attnae.files import parse_yaml
from attnae.paths import relative, typed
from attnae.result import finite

MOST_SEEDS = 1000

MEASURES = ("perceptual",)
"""Keys that change which metrics a test computes but not the training. They are not part of the run identity."""

PLACE = ("data.init_args.root", "data.init_args.source", "data.init_args.download")
"""Keys that locate the images; the images are identified by the digest of their pixels."""


@dataclass(frozen=True)
class Request:
    """A request for a comparison.

    Attributes:
        benchmark: The benchmark to run.
        profile: Name of a profile; empty for the first profile of the benchmark.
        variants: Comma-separated names, ``all``, or ``None`` for the default variants of the benchmark.
        seeds: The number of seeds (``3`` means 1, 2, 3) or comma-separated seeds (``7,``).
        data_root: Folder of images that replaces the data of the profile.
        overrides: ``key=value`` with keys of ``attnae fit``; ``key+=value`` appends to a list.
        label: Name of the report; ``None`` for a name derived from profile, data and settings.
        out: Folder of all runs.
        dry: Whether this is a dry run, which does not require the data of the profile.
        decode: Whether to decode new images to compute their digest, which is part of the run identity. A dry run never
            decodes.
        precision: ``fp32``, ``bf16`` or ``auto``.
        devices: Devices per machine that train one run.
        nodes: Machines that train one run.
        wandb: Weights & Biases project to log to.
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
    """Overrides, grouped by what they change.

    Attributes:
        numbers: Overrides that affect results; part of the run identity.
        place: Overrides that locate the images.
        measures: Overrides that enable additional test metrics.
        logger: Overrides that configure the logger.
    """

    numbers: dict[str, Any] = field(default_factory=dict)
    place: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)


def settings(request: Request) -> Settings:
    """Groups the overrides of a request; ``data_root`` counts as an override.

    Raises:
        UserError: An override is malformed, is not valid YAML, or has a value of the wrong type.
    """
    found = Settings()
    for key, value in overrides(request.overrides).items():
        if f"{key.rstrip('+')}.".startswith(f"{tracking.LOGGER}."):
            found.logger[key] = value
        elif key in MEASURES:
            if not isinstance(value, bool):  # checked here because `attnae fit` does not receive it
                raise UserError(
                    f"--set {key}={value if isinstance(value, str) else json.dumps(value)}: must be true or false."
                )
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


def overrides(texts: Iterable[str]) -> dict[str, Any]:
    """The values of settings by key. Equal settings give equal values, however they are written.

    A group of keys counts as its keys: ``trainer={max_epochs: 3}`` is ``trainer.max_epochs=3``. What a repeated ``key+=``
    appends is collected; of any other repeated key, the last value counts.

    Args:
        texts: Settings as for ``--set``.

    Raises:
        UserError: A setting is malformed, or is not valid YAML.

    Example:
        >>> overrides(["trainer={max_epochs: 3}", "trainer.callbacks+=Timer", "trainer.callbacks+=LearningRateMonitor"])
        {'trainer.max_epochs': 3, 'trainer.callbacks+': ['Timer', 'LearningRateMonitor']}
    """
    found: dict[str, Any] = {}
    for text in texts:
        for key, value in _ungrouped(*setting(text)):
            if key.endswith("+") and key in found:
                found[key] = [
                    one for side in (found[key], value) for one in (side if isinstance(side, list) else [side])
                ]
            else:
                found[key] = value
    return found


def _ungrouped(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A setting, or those inside it if its key is a group of keys."""
    if isinstance(value, dict) and value and is_group(key):
        for name, inner in value.items():
            yield from _ungrouped(f"{key}.{name}", inner)
    else:
        yield key, value


def variants(request: Request) -> list[str]:
    """Names of the selected variants.

    Raises:
        UserError: A name is unknown, or no variant is selected.
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
    """Parses ``--seeds``: ``"3"`` means 1, 2, 3; ``"7,"`` means seed 7.

    Raises:
        UserError: The text is neither a count nor a list of distinct seeds.
    """
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
        found = numbers if "," in text else list(range(1, min(numbers[0], MOST_SEEDS + 1) + 1))
    except (ValueError, IndexError):
        found = []
    valid = 0 < len(found) <= MOST_SEEDS and all(0 <= seed < 2**32 for seed in found)
    if not valid or len(set(found)) < len(found):
        raise UserError(
            f"--seeds {text!r}: expected the number of seeds, such as 3, or distinct comma-separated seeds, such as 1,2,3."
        )
    return found


def setting(text: str) -> tuple[str, Any]:
    """Splits ``key=value`` and parses the value.

    Raises:
        UserError: The text is malformed, or the value is not valid YAML.
    """
    key, sign, value = text.partition("=")
    if not sign or not re.fullmatch(r"[A-Za-z_][\w.]*\+?", key):
        raise UserError(f"--set {text!r}: expected key=value with a key of `attnae fit`, such as trainer.max_epochs=3.")
    return key, parsed(value, text)


def parsed(value: str, text: str) -> Any:
    """Parses a YAML value.

    Raises:
        UserError: The value is not valid YAML; the message quotes the whole setting ``text``.
    """
    try:
        found = parse_yaml(value)
        whole = plain(found)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"--set {text}: the value is not valid YAML.") from error
    if finite(found) != found:
        raise UserError(f"--set {text}: expected a finite number.")
    return whole


def plain(value: Any) -> Any:
    """Converts a YAML value to JSON types: keys and dates become strings, non-finite numbers become ``null``."""
    return finite(json.loads(json.dumps(value, default=str)))
