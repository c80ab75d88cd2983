"""One run: its identity, its files and the arguments that execute it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from attnae import result

UNKNOWN = "?" * 8
"""Placeholder for the digest of images that have not been decoded yet."""

FOLDER = re.compile(r"seed\d+-[0-9a-f]{8}(-([0-9a-f]{8}|\?{8}))?(-[0-9a-f]{6})?", re.ASCII)
"""Names of run folders: see :attr:`RunId.folder`; without the data in format 1, with a suffix by ``merge``."""


CHECKPOINT = Path("checkpoints", "last.ckpt")
"""The last checkpoint in the folder of a run."""


@dataclass(frozen=True)
class RunId:
    """The identity of a run: created once with the plan and stored in full in ``result.json``.

    Runs with equal identities give equal results. The package version is not part of the identity.

    Attributes:
        benchmark: Name of the benchmark.
        revision: Revision of the benchmark file.
        variant: Name of the variant.
        seed: Random seed of the training.
        profile: Name of the profile.
        overrides: The keys of ``attnae fit`` that the request changed, with their values.
        configuration: The stated configuration, see :mod:`attnae.result`.
        precision: ``fp32`` or ``bf16``.
        devices: Devices per machine that train together.
        nodes: Machines that train together.
        data_digest: Digest of the decoded pixels; empty if unknown.
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
        """The identity stored in a result."""
        return cls(**{f.name: getattr(record, f.name) for f in fields(cls)})

    def stated(self) -> dict[str, Any]:
        """The fields as stored in ``result.json``."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def name(self) -> str:
        """Variant and seed."""
        return f"{self.variant}/seed{self.seed}"

    @cached_property
    def config8(self) -> str:
        """Eight hexadecimal digits that identify everything except seed and data."""
        told = {key: value for key, value in self.stated().items() if key not in ("seed", "data_digest")}
        return short_hash(told)

    @cached_property
    def data8(self) -> str:
        """Eight hexadecimal digits that identify the data; question marks if the digest is unknown."""
        return short_hash(self.data_digest) if self.data_digest else UNKNOWN

    @property
    def folder(self) -> str:
        """Name of the run folder inside the folder of its variant."""
        return f"seed{self.seed}-{self.config8}-{self.data8}"


def short_hash(value: Any, digits: int = 8) -> str:
    """A short hexadecimal hash of a JSON value; equal values have equal hashes."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()[:digits]


@dataclass(frozen=True)
class Run:
    """A run to execute: its identity, its folder and the arguments of ``attnae``.

    Attributes:
        id: The identity of the run.
        label: Name of the report.
        folder: Folder of the run's files.
        stated: Content of ``stated.yaml``: the stated configuration plus the keys that are not part of the identity.
        trains: Whether the variant is trained.
        epochs: Planned number of epochs.
        trust: Arguments of both commands that make the code of a benchmark outside the package importable.
        measures: Extra test arguments that enable additional metrics.
        logger: Extra arguments of both commands that configure the logger; not printed.
        commands: Commands that reproduce the run.
        keep_checkpoints: Whether to keep checkpoints after the run completes.
        retest: Whether to test the run again although it is complete.
        continues: Folder of a finished run of fewer epochs whose checkpoint the training starts from.
    """

    id: RunId
    label: str
    folder: Path
    stated: dict[str, Any]
    trains: bool
    epochs: int
    trust: tuple[str, ...] = ()
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
    def checkpoint(self) -> Path | None:
        """Checkpoint that the training starts from: its own, else that of the run that it continues."""
        own = self.folder / CHECKPOINT
        return own if own.exists() else self.continues and self.continues / CHECKPOINT

    @property
    def undecoded(self) -> Path:
        """The folder of the run before the digest of its images was known."""
        return self.folder.with_name(replace(self.id, data_digest="").folder)

    @property
    def file(self) -> Path:
        """The configuration file of both commands; written before each command starts."""
        return self.folder / "stated.yaml"

    @property
    def fit(self) -> tuple[str, ...]:
        """Arguments of ``attnae`` for training; empty if the variant is not trained."""
        return ("fit", *self.trust, "-c", self.file.as_posix()) if self.trains else ()

    @property
    def test(self) -> tuple[str, ...]:
        """Arguments of ``attnae`` for the test, on one device so that every image is evaluated exactly once."""
        weights = ("--weights", f"{self.folder.as_posix()}/weights.safetensors") if self.trains else ()
        return ("test", *self.trust, "-c", self.file.as_posix(), *weights, *alone(self.id), *self.measures)


def alone(one: RunId) -> tuple[str, ...]:
    """Arguments that restrict a test to one device, regardless of how many were used in training."""
    several = one.devices * one.nodes > 1
    further = ("--trainer.num_nodes", "1", "--trainer.strategy", "auto") if several else ()
    return ("--trainer.devices", "1", *further)


def quoted(words: list[str]) -> str:
    """A command line with shell quoting; a leading ``~/`` stays unquoted so that the shell expands it."""
    return " ".join(f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word) for word in words)
