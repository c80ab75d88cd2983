"""Means over seeds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

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
    return Summary.of(
        [value for r in runs if (value := (r.metrics if "/" in key else r.efficiency).get(key)) is not None]
    )


def at_epoch(run: Result, key: str, epoch: int) -> float | None:
    """A curve's value at an epoch."""
    values = dict(zip(run.curves.get("epoch", []), run.curves.get(key, []), strict=False))
    return values.get(float(epoch))
