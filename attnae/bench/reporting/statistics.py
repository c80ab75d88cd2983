"""Means over seeds, and differences with their intervals."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from attnae.metrics.columns import column
from attnae.result import Result


@dataclass(frozen=True)
class Summary:
    """A number over seeds.

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
        """Summary of some values, ``None`` of none."""
        if not values:
            return None
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def summary(runs: list[Result], key: str) -> Summary | None:
    """A metric (``"<protocol>/<name>"``) or cost (bare name) over runs; runs that lack it do not count."""
    return Summary.of([value for r in runs if (value := value_of(r, key)) is not None])


def value_of(run: Result, key: str) -> float | None:
    """A metric (``"<protocol>/<name>"``) or cost (bare name) of a run."""
    return (run.metrics if "/" in key else run.efficiency).get(key)


def by_seed(runs: list[Result], key: str) -> dict[int, float]:
    """A metric or cost by seed; runs that lack it do not count."""
    return {run.seed: value for run in runs if (value := value_of(run, key)) is not None}


@dataclass(frozen=True)
class Difference:
    """A difference between two variants, or a variant and a number, over seeds.

    Attributes:
        mean: Mean difference.
        low: Lower end of the 95% interval of the mean; ``None`` for a single seed.
        high: Upper end.
        n: Number of seeds.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def difference(left: dict[int, float], right: dict[int, float] | float) -> Difference | None:
    """Left minus right, paired over the seeds that both have, with Student's 95% interval; ``None`` if they share none.

    Args:
        left: Values by seed.
        right: Values by seed, or a number that has no seed.
    """
    if isinstance(right, dict):
        values = [left[seed] - right[seed] for seed in sorted(left.keys() & right.keys())]
    else:
        values = [left[seed] - right for seed in sorted(left)]
    if not values:
        return None
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return Difference(mean, None, None, 1)
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    half = float(stdtrit(n - 1, 0.975)) * statistics.stdev(values) / n**0.5
    return Difference(mean, mean - half, mean + half, n)


def tolerance(key: str, value: float, share: float) -> float:
    """How much a share of a value is in the units of its column; of decibels the share of the ratio that they stand for."""
    return 10 * math.log10(1 + share) if column(key).unit == "dB" else share * abs(value)


def epochs_of(runs: list[Result]) -> int:
    """Epochs of the longest training; 0 where nothing was trained."""
    return max((int(r.curves["epoch"][-1] or 0) for r in runs if r.curves.get("epoch")), default=0)


def at_epoch(run: Result, key: str, epoch: int) -> float | None:
    """A curve's value at an epoch."""
    values = dict(zip(run.curves.get("epoch", []), run.curves.get(key, []), strict=False))
    return values.get(float(epoch))
