"""Means over seeds, and values by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from attnae.metrics.columns import column
from attnae.result import Result


@dataclass(frozen=True)
class Summary:
    """Summary of a value over seeds.

    Attributes:
        mean: Mean.
        std: Sample standard deviation; ``None`` for a single seed.
        n: Number of seeds.
    """

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: list[float]) -> Summary | None:
        """Summary of values; ``None`` if there are none."""
        if not values:
            return None
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def summary(runs: list[Result], key: str) -> Summary | None:
    """A metric (``"<protocol>/<name>"``) or cost (bare name) over runs; runs without it are ignored."""
    return Summary.of([value for r in runs if (value := value_of(r, key)) is not None])


def value_of(run: Result, key: str) -> float | None:
    """A metric (``"<protocol>/<name>"``) or cost (bare name) of a run."""
    return (run.metrics if "/" in key else run.efficiency).get(key)


def by_seed(runs: list[Result], key: str) -> dict[int, float]:
    """A metric or cost by seed; runs without it are ignored."""
    return {run.seed: value for run in runs if (value := value_of(run, key)) is not None}


def mean_by_seed(runs: list[Result], keys: Sequence[str]) -> dict[int, float]:
    """The mean of several metrics by seed; runs that lack one of them are ignored."""
    found = {}
    for run in runs:
        values = [value for key in keys if (value := value_of(run, key)) is not None]
        if len(values) == len(keys):
            found[run.seed] = statistics.fmean(values)
    return found


def same_images(some: list[Result], others: list[Result], key: str) -> bool:
    """Whether runs of two variants measured a metric on the same number of images, so that it can be compared."""
    one, other = (summary(runs, f"{key.rpartition('/')[0]}/images") for runs in (some, others))
    return not (one and other) or one.mean == other.mean


def comparable(some: list[Result], others: list[Result], keys: list[str]) -> bool:
    """Whether runs of two variants measured all of these metrics on the same number of images."""
    return all(same_images(some, others, key) for key in keys if "/" in key)


def tolerance(key: str, value: float, share: float) -> float:
    """Converts a relative tolerance to the unit of a column; for decibels, it is relative to the underlying ratio."""
    return 10 * math.log10(1 + share) if column(key).unit == "dB" else share * abs(value)


def epochs_of(runs: list[Result]) -> int:
    """Epochs of the longest training; 0 without training."""
    return max((int(r.curves["epoch"][-1] or 0) for r in runs if r.curves.get("epoch")), default=0)


def at_epoch(run: Result, key: str, epoch: int) -> float | None:
    """A curve's value at an epoch."""
    values = dict(zip(run.curves.get("epoch", []), run.curves.get(key, []), strict=False))
    return values.get(float(epoch))
