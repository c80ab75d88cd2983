"""One run: what it is, where its files are, and what it takes to execute it."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from attnae import result

UNKNOWN = "?" * 8
"""What stands for the digest of images that nobody has decoded yet."""


@dataclass(frozen=True)
class RunId:
    """The identity of a run: made once, when a plan is made, and stored whole in ``result.json``.

    Two runs with equal identities would give equal numbers. The package version is not part of it.

    Attributes:
        benchmark: Name of the benchmark.
        revision: Revision of the benchmark file.
        variant: Name of the variant.
        seed: Seed of everything random in training.
        profile: Name of the profile.
        overrides: Key of ``attnae fit`` to value: what the request changed.
        configuration: The stated configuration, see :mod:`attnae.result`.
        precision: ``fp32`` or ``bf16``.
        devices: Devices that train together, on each machine.
        nodes: Machines that train together.
        data_digest: Digest of the decoded pixels; empty while it is unknown.
        reconstructed: Whether this identity was rebuilt from a result of format 1.
    """

    benchmark: str
    revision: int
    variant: str
    seed: int
    profile: str
    overrides: dict[str, Any]
    configuration: dict[str, Any]
    precision: str = "fp32"
    devices: int = 1
    nodes: int = 1
    data_digest: str = ""
    reconstructed: bool = False

    @classmethod
    def of(cls, record: result.Result) -> RunId:
        """The identity that a result states."""
        return cls(**{f.name: getattr(record, f.name) for f in fields(cls)})

    def stated(self) -> dict[str, Any]:
        """The fields as ``result.json`` holds them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def name(self) -> str:
        """Variant and seed."""
        return f"{self.variant}/seed{self.seed}"

    @cached_property
    def config8(self) -> str:
        """Eight digits for everything but seed and data, which a folder's name tells as well."""
        told = {key: value for key, value in self.stated().items() if key not in ("seed", "data_digest")}
        return short_hash(told)

    @cached_property
    def data8(self) -> str:
        """Eight digits for the data; question marks while their digest is unknown."""
        return short_hash(self.data_digest) if self.data_digest else UNKNOWN

    @property
    def folder(self) -> str:
        """Name of the run's folder below that of its variant."""
        return f"seed{self.seed}-{self.config8}-{self.data8}"


def short_hash(value: Any, digits: int = 8) -> str:
    """Hexadecimal digits for a JSON value, the same for equal values."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()[:digits]


@dataclass(frozen=True)
class Run:
    """An identity with a place and with what ``attnae`` is given.

    Attributes:
        id: What the run is.
        label: Name of the report.
        folder: Where the run's files are.
        stated: What ``stated.yaml`` holds: the stated configuration with everything that is no part of the identity.
        trains: Whether there is anything to train.
        epochs: Planned epochs.
        measures: Further arguments of the test: what it measures beyond the usual.
        logger: Further arguments of both commands: where else their numbers are shown; not printed.
        commands: What a person would type to repeat the run.
        keep_checkpoints: Whether checkpoints stay when the run is complete.
        retest: Whether the run is tested once more although it is complete.
        continues: Folder of a finished run of fewer epochs whose checkpoint the training begins with.
    """

    id: RunId
    label: str
    folder: Path
    stated: dict[str, Any]
    trains: bool
    epochs: int
    measures: tuple[str, ...] = ()
    logger: tuple[str, ...] = ()
    commands: list[str] = field(default_factory=list)
    keep_checkpoints: bool = False
    retest: bool = False
    continues: Path | None = None

    @property
    def name(self) -> str:
        """Variant and seed."""
        return self.id.name

    @property
    def undecoded(self) -> Path:
        """The folder that stood for this one while the digest of its images was unknown."""
        return self.folder.with_name(replace(self.id, data_digest="").folder)

    @property
    def file(self) -> Path:
        """The configuration that both commands read; written before each of them starts."""
        return self.folder / "stated.yaml"

    @property
    def fit(self) -> tuple[str, ...]:
        """Arguments of ``attnae`` that train; empty where there is nothing to train."""
        return ("fit", "-c", self.file.as_posix()) if self.trains else ()

    @property
    def test(self) -> tuple[str, ...]:
        """Arguments of ``attnae`` that evaluate, on one device: every image is evaluated once."""
        weights = ("--weights", f"{self.folder.as_posix()}/weights.safetensors") if self.trains else ()
        return ("test", "-c", self.file.as_posix(), *weights, *alone(self.id), *self.measures)


def alone(one: RunId) -> tuple[str, ...]:
    """Arguments that make a test take one device, whatever has trained."""
    several = one.devices * one.nodes > 1
    further = ("--trainer.num_nodes", "1", "--trainer.strategy", "auto") if several else ()
    return ("--trainer.devices", "1", *further)


def quoted(words: list[str]) -> str:
    """Words as they are typed; a leading ``~/`` stays outside of the quotes, where the shell expands it."""
    return " ".join(f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word) for word in words)
