"""One run: a variant of a benchmark with one seed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One variant with one seed.

    Attributes:
        benchmark: Name of the benchmark.
        label: Name of the report.
        profile: Name of the profile.
        variant: Name of the variant.
        seed: Seed of everything random in training.
        folder: Where the run's files are.
        fit: Arguments of ``attnae`` that train; empty where there is nothing to train.
        test: Arguments of ``attnae`` that evaluate.
        epochs: Planned epochs.
        config_hash: Identifies configuration, data and package version.
        logger: Further arguments of both commands that say where else their numbers are shown; not printed.
        configuration: What ``stated.yaml`` in its folder holds, the file that both commands start from.
        again: Whether to test it once more although it is complete.
    """

    benchmark: str
    label: str
    profile: str
    variant: str
    seed: int
    folder: Path
    fit: tuple[str, ...]
    test: tuple[str, ...]
    epochs: int
    config_hash: str
    logger: tuple[str, ...] = ()
    configuration: dict[str, Any] = field(default_factory=dict)
    again: bool = False

    @property
    def name(self) -> str:
        """Variant and seed."""
        return f"{self.variant}/seed{self.seed}"

    @property
    def commands(self) -> list[str]:
        """What a person would type."""
        return [shlex.join(("attnae", *arguments)) for arguments in (self.fit, self.test) if arguments]
