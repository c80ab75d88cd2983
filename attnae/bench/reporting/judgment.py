"""Verdicts on claims: direction, size and condition. Pure functions of numbers by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from attnae.bench.reporting.seeds import (
    ALPHA,
    MOST_SEEDS,
    Estimate,
    holm,
    paired,
    seeds_to_decide,
    shared,
    unpaired,
)

HOLDS, OPPOSITE, NO_DIFFERENCE, UNDECIDED = "holds", "opposite", "no difference", "undecided"
ONE_SEED, NOT_COMPARABLE, NOT_RUN = "one seed", "not comparable", "not run"
DECIDED = (HOLDS, OPPOSITE, NO_DIFFERENCE)

AS_PUBLISHED = "as published"
Departure = Literal["other images", "shorter schedule", "smaller network"]


@dataclass(frozen=True)
class Question:
    """A claim with the measurements that it is judged by.

    Attributes:
        left: Our values by seed.
        right: Values by seed of the variant it is compared with, or a published number.
        relation: Claimed relation of left to right.
        margin: Largest negligible difference, in units of the metric; 0 if none is given. Required for ``equal``.
        published: Published difference of the same quantity, left minus right; ``None`` if unknown.
        departures: Differences from the published conditions.
        primary: Whether it belongs to the family adjusted by Holm's procedure.
        exact: Whether the values do not depend on the seed, such as parameter counts.
    """

    left: Mapping[int, float]
    right: Mapping[int, float] | float
    relation: Literal["higher", "lower", "equal"]
    margin: float = 0.0
    published: float | None = None
    departures: tuple[Departure, ...] = ()
    primary: bool = False
    exact: bool = False

    def estimate(self) -> Estimate | None:
        """Left minus right over paired seeds; for exact values, one seed is sufficient."""
        found = paired(self.left, self.right)
        return Estimate(found.mean, 0.0, found.n) if found is not None and self.exact else found

    @property
    def comparable(self) -> bool:
        """Whether the right side is a variant, or a number published under the same conditions."""
        if isinstance(self.right, Mapping):
            return True
        return "smaller network" not in self.departures if self.exact else not self.departures

    def p_value(self) -> float:
        """p-value for the claim's relation; 1 if it cannot be tested."""
        found = self.estimate()
        if found is None or not self.comparable:
            return 1.0
        if self.relation == "equal":
            return min(found.p_inside(self.margin), found.p_outside(self.margin))
        return found.p_two_sided()


@dataclass(frozen=True)
class Judgment:
    """A verdict.

    Attributes:
        direction: One of the constants above.
        estimate: Left minus right; ``None`` without runs.
        low: Lower end of the interval; ``None`` for one seed.
        high: Upper end.
        alpha: Error rate of that interval: 0.05, or less for a primary claim.
        family: Number of primary claims that share the error rate of 5%; 1 without adjustment.
        means: Means of left and right over shared seeds.
        seeds: Shared seeds.
        unpaired: Seeds that were run on one side only.
        needed: For an undecided claim, number of seeds that would decide; ``None`` if more than 100.
        published: Published difference.
        departures: Differences from the published conditions.
    """

    direction: str
    estimate: Estimate | None = None
    low: float | None = None
    high: float | None = None
    alpha: float = ALPHA
    family: int = 1
    means: tuple[float, float] | None = None
    seeds: tuple[int, ...] = ()
    unpaired: tuple[int, ...] = ()
    needed: int | None = None
    published: float | None = None
    departures: tuple[Departure, ...] = field(default=())

    @property
    def direction_words(self) -> str:
        """``holds``, or ``undecided at n = 3, about 9 seeds would decide``."""
        if self.direction != UNDECIDED or self.estimate is None:
            return self.direction
        needed = f"about {self.needed}" if self.needed else f"more than {max(MOST_SEEDS, self.estimate.n)}"
        return f"{UNDECIDED} at n = {self.estimate.n}, {needed} seeds would decide"

    @property
    def size_words(self) -> str:
        """``2% of the published effect [1, 3]``; empty without a published effect, or for one seed."""
        if self.estimate is None or self.low is None or self.high is None or not self.published:
            return ""
        if self.direction == NOT_COMPARABLE:
            return ""
        low, high = sorted((self.low / self.published, self.high / self.published))
        return f"{_percent(self.estimate.mean / self.published)}% of the published effect [{_percent(low)}, {_percent(high)}]"

    @property
    def condition_words(self) -> str:
        """``as published``, or the differences from the published conditions."""
        return ", ".join(self.departures) or AS_PUBLISHED

    @property
    def level_words(self) -> str:
        """``95% interval``, or with Holm's adjustment ``98.3% interval (Holm, 3 primary claims)``."""
        adjusted = f" (Holm, {self.family} primary claims)" if self.family > 1 else ""
        return f"{100 * (1 - self.alpha):.3g}% interval{adjusted}"


def judge_all(questions: Iterable[Question]) -> list[Judgment]:
    """Judges the claims of one benchmark.

    Verdicts follow from the 95% interval (Student's t over paired seeds); the level for primary claims comes from Holm's
    procedure. Primary claims without runs are part of the family, so leaving them out cannot help the others.

    Args:
        questions: All claims, at most three of them primary.

    Returns:
        Verdicts in the same order.
    """
    asked = list(questions)
    primary = [place for place, question in enumerate(asked) if question.primary]
    rates = dict(zip(primary, holm([asked[place].p_value() for place in primary]), strict=True))
    return [
        judge_one(question, rates.get(place, ALPHA), len(primary) if question.primary else 1)
        for place, question in enumerate(asked)
    ]


def judge_one(question: Question, alpha: float = ALPHA, family: int = 1) -> Judgment:
    """Judges one claim by the interval at the level ``1 - alpha``."""
    estimate = question.estimate()
    if estimate is None:
        return Judgment(NOT_RUN, alpha=alpha, family=family, unpaired=unpaired(question.left, question.right),
                        published=question.published, departures=question.departures)  # fmt: skip
    ends = estimate.interval(alpha)
    low, high = ends if ends is not None else (None, None)
    if not question.comparable:
        direction = NOT_COMPARABLE
    elif low is None or high is None:
        direction = ONE_SEED
    else:
        direction = direction_of(question.relation, question.margin, low, high)
    seeds = shared(question.left, question.right)
    return Judgment(
        direction,
        estimate,
        low,
        high,
        alpha,
        family,
        (_mean(question.left, seeds), _mean(question.right, seeds)),
        seeds,
        unpaired(question.left, question.right),
        _needed(question, estimate, alpha) if direction == UNDECIDED else None,
        question.published,
        question.departures,
    )


def direction_of(relation: Literal["higher", "lower", "equal"], margin: float, low: float, high: float) -> str:
    """The verdict that an interval of left minus right gives on a claim.

    An interval within the margin means no difference, even if it excludes 0.
    """
    inside = margin > 0 and -margin < low and high < margin
    if relation == "equal":
        return HOLDS if inside else OPPOSITE if low > margin or high < -margin else UNDECIDED
    if inside:
        return NO_DIFFERENCE
    if low > 0:
        return HOLDS if relation == "higher" else OPPOSITE
    if high < 0:
        return HOLDS if relation == "lower" else OPPOSITE
    return UNDECIDED


def _needed(question: Question, estimate: Estimate, alpha: float) -> int | None:
    """Smallest number of seeds that would decide the claim either way."""
    size, margin = abs(estimate.mean), question.margin
    ways = (abs(size - margin),) if question.relation == "equal" else (size, margin - size)
    return seeds_to_decide(estimate, max(ways), alpha)


def _mean(values: Mapping[int, float] | float, seeds: tuple[int, ...]) -> float:
    return fmean(values[seed] for seed in seeds) if isinstance(values, Mapping) else values


def _percent(share: float) -> str:
    """Whole percents, one decimal place below 1%; never "-0"."""
    percent = 100 * share
    if not math.isfinite(percent):
        return "-"
    text = f"{percent:,.0f}" if abs(percent) >= 1 or percent == 0 else f"{percent:.1f}"
    return "0" if float(text.replace(",", "")) == 0 else text
