"""Statistics over paired seeds: mean difference, interval, p-values, Holm's levels, number of seeds needed to decide."""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALPHA = 0.05
"""Two-sided error rate of one claim, or of all primary claims of a benchmark together."""

MOST_SEEDS = 100
"""Larger numbers of seeds needed to decide are reported as "more than 100"."""

LAST_EPOCHS = "last_epochs"
"""Rule of a benchmark file (``average: last_epochs``): test metrics are averaged over the last epochs first."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference over seeds.

    Attributes:
        mean: Mean of the paired differences.
        std: Their sample standard deviation; ``None`` for a single seed.
        n: Number of seeds.
    """

    mean: float
    std: float | None
    n: int

    def interval(self, alpha: float = ALPHA) -> tuple[float, float] | None:
        """Student's interval of the mean at the level ``1 - alpha``; ``None`` for a single seed.

        Args:
            alpha: Two-sided error rate in (0, 1).
        """
        if self.std is None:
            return None
        if self.std == 0:
            return self.mean, self.mean
        half = quantile(alpha, self.n) * self.std / math.sqrt(self.n)
        return self.mean - half, self.mean + half

    def p_two_sided(self, value: float = 0.0) -> float:
        """p-value of a two-sided t-test of the mean against ``value``; 1 for a single seed."""
        return min(2 * self.p_above(value), 2 * self.p_below(value), 1.0)

    def p_above(self, value: float) -> float:
        """p-value of the one-sided t-test that shows ``mean > value``."""
        if self.std is None:
            return 1.0
        if self.std == 0:
            return 0.0 if self.mean > value else 1.0
        from scipy.special import stdtr  # scipy.stats takes a second to import

        # Scaled last: dividing a small spread first could underflow to 0.
        return float(stdtr(self.n - 1, -(self.mean - value) / self.std * math.sqrt(self.n)))

    def p_below(self, value: float) -> float:
        """p-value of the one-sided t-test that shows ``mean < value``."""
        return Estimate(-self.mean, self.std, self.n).p_above(-value)

    def p_inside(self, margin: float) -> float:
        """p-value at which the interval lies within ``(-margin, margin)``: two one-sided tests, doubled.

        A 95% interval inside the margin is therefore a TOST at 2.5%, stricter than the customary 5%.
        """
        return min(1.0, 2 * max(self.p_above(-margin), self.p_below(margin)))

    def p_outside(self, margin: float) -> float:
        """p-value at which the interval lies entirely above ``margin`` or entirely below ``-margin``."""
        return min(1.0, 2 * self.p_above(margin), 2 * self.p_below(-margin))


def paired(left: Mapping[int, float], right: Mapping[int, float] | float) -> Estimate | None:
    """Left minus right over shared seeds; ``None`` if there are none.

    Args:
        left: Values by seed. Non-finite values are treated as missing.
        right: Values by seed, or a constant.
    """
    differences = [left[seed] - _at(right, seed) for seed in shared(left, right)]
    if not differences:
        return None
    n = len(differences)
    if n == 1 or min(differences) == max(differences):  # avoids a spurious spread from rounding
        return Estimate(differences[0], None if n == 1 else 0.0, n)
    mean = math.fsum(value / n for value in differences)
    return Estimate(mean, math.hypot(*(value - mean for value in differences)) / math.sqrt(n - 1), n)


def shared(left: Mapping[int, float], right: Mapping[int, float] | float) -> tuple[int, ...]:
    """Seeds for which both sides have a finite value, in order."""
    seeds = left.keys() & right.keys() if isinstance(right, Mapping) else left.keys()
    return tuple(sorted(seed for seed in seeds if math.isfinite(left[seed] - _at(right, seed))))


def unpaired(left: Mapping[int, float], right: Mapping[int, float] | float) -> tuple[int, ...]:
    """Seeds that only one side has or whose value is not finite; verdicts ignore them and reports list them."""
    seeds = left.keys() | right.keys() if isinstance(right, Mapping) else left.keys()
    return tuple(sorted(seeds - set(shared(left, right))))


def _at(right: Mapping[int, float] | float, seed: int) -> float:
    return right[seed] if isinstance(right, Mapping) else right


def quantile(alpha: float, n: int) -> float:
    """Student's two-sided quantile for ``n`` seeds."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    return float(stdtrit(n - 1, 1 - alpha / 2))


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """The error rate at which Holm's procedure tests each claim of a family.

    The claim of the smallest p-value is tested at ``alpha / m``, the next at ``alpha / (m - 1)`` and so on; if one
    fails, it and all following claims keep its level. An interval at the level ``1 - <error rate>`` then excludes the null
    exactly where Holm's procedure rejects it.

    Args:
        p_values: p-values in [0, 1] of all claims of the family; 1 for a claim that cannot be tested.
        alpha: Probability of one or more false rejections in the family.

    Returns:
        Error rates in the order of the claims.
    """
    rates = [alpha] * len(p_values)
    failed: float | None = None
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        rate = failed if failed is not None else alpha / (len(p_values) - rank)
        rates[place] = rate
        if failed is None and p_values[place] > rate:
            failed = rate
    return rates


def seeds_to_decide(estimate: Estimate, distance: float, alpha: float = ALPHA) -> int | None:
    """Number of seeds at which the interval's half width would fall below ``distance``.

    Assumes the mean and spread seen so far and the same level. With exactly that many seeds, the probability of a decision
    is about one half.

    Args:
        estimate: Estimate from two or more seeds.
        distance: Distance from the mean to the nearest value that the interval must exclude; positive.
        alpha: Error rate of the interval.

    Returns:
        The number, ``None`` if it is above :data:`MOST_SEEDS`.
    """
    if estimate.std is None or distance <= 0:
        return None
    std, counts = estimate.std, range(2, MOST_SEEDS + 1)
    place = bisect.bisect_left(counts, True, key=lambda n: quantile(alpha, n) * std / math.sqrt(n) < distance)
    return counts[place] if place < len(counts) else None


def last_epoch_means(
    recorded: Mapping[int, Mapping[str, Sequence[float | None]]], key: str
) -> tuple[dict[int, float], tuple[int, ...]]:
    """Mean of a test metric over the last epochs of each run, for the rule :data:`LAST_EPOCHS`.

    Runs that recorded fewer epochs than the others or lack a value are left out.

    Args:
        recorded: ``last_epochs`` of the runs by seed, ``{"epoch": [16, 17, ...], "heldout/mse": [...]}``.
        key: ``"<protocol>/<name>"``.

    Returns:
        Means by seed, and the seeds that are left out.
    """
    most = max((len(lists.get("epoch", [])) for lists in recorded.values()), default=0)
    means = {}
    for seed, lists in recorded.items():
        values = [value for value in lists.get(key, []) if value is not None and math.isfinite(value)]
        if values and len(values) == most:
            means[seed] = statistics.fmean(values)
    return means, tuple(sorted(recorded.keys() - means.keys()))
