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
    """A claim with the numbers that decide it.

    Attributes:
        left: Our values by seed.
        right: Values by seed of what it is compared with, or a published number.
        relation: What is claimed of left and right.
        margin: Largest difference that does not matter, in units of the metric; 0 if none is stated. ``equal`` needs one.
        published: The paper's difference for the same quantity, left minus right; ``None`` if it gives none.
        departures: How our condition departs from the published one.
        primary: Whether it belongs to the family that Holm's procedure adjusts.
        exact: Whether no seed changes the values, as with counted parameters.
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
        """Left minus right over paired seeds; of exact values one seed is as good as many."""
        found = paired(self.left, self.right)
        return Estimate(found.mean, 0.0, found.n) if found is not None and self.exact else found

    @property
    def comparable(self) -> bool:
        """Whether the right side is a variant, or a number that was published under our condition."""
        if isinstance(self.right, Mapping):
            return True
        return "smaller network" not in self.departures if self.exact else not self.departures

    def p_value(self) -> float:
        """p-value of the hypothesis that the claim's relation turns on; 1 where nothing can be tested."""
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
        direction: One of the words above.
        estimate: Left minus right; ``None`` if nothing was run.
        low: Lower end of the interval that decides; ``None`` for one seed.
        high: Upper end.
        alpha: Error rate of that interval: 0.05, or less for a primary claim.
        family: Number of primary claims that share the 5%; 1 where nothing is adjusted.
        means: Mean of left, and of right or the number, over the same seeds.
        seeds: Seeds that count.
        unpaired: Seeds that only one side has.
        needed: For an undecided claim, number of seeds that would decide; ``None`` if more than 100.
        published: The paper's difference.
        departures: How our condition departs from the published one.
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
        """``2% of the published effect [1, 3]``; empty where no size is published, or from one seed."""
        if self.estimate is None or self.low is None or self.high is None or not self.published:
            return ""
        if self.direction == NOT_COMPARABLE:
            return ""
        low, high = sorted((self.low / self.published, self.high / self.published))
        return f"{_percent(self.estimate.mean / self.published)}% of the published effect [{_percent(low)}, {_percent(high)}]"

    @property
    def condition_words(self) -> str:
        """``as published``, or what differs."""
        return ", ".join(self.departures) or AS_PUBLISHED

    @property
    def level_words(self) -> str:
        """``95% interval``, or with Holm's adjustment ``98.3% interval (Holm, 3 primary claims)``."""
        adjusted = f" (Holm, {self.family} primary claims)" if self.family > 1 else ""
        return f"{100 * (1 - self.alpha):.3g}% interval{adjusted}"


def judge_all(questions: Iterable[Question]) -> list[Judgment]:
    """Judges the claims of one benchmark.

    The interval decides: 95%, Student's t over paired seeds; of primary claims at the level that Holm's procedure gives.
    Every primary claim counts in the family, also one that has no runs yet: what is not run cannot help the others.

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
    """What an interval of left minus right says about a claim.

    A difference that is too small to matter is no difference, even where its sign is certain: the margin comes first.
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
    """Seeds that would decide in either way, whichever takes fewer."""
    size, margin = abs(estimate.mean), question.margin
    ways = (abs(size - margin),) if question.relation == "equal" else (size, margin - size)
    return seeds_to_decide(estimate, max(ways), alpha)


def _mean(values: Mapping[int, float] | float, seeds: tuple[int, ...]) -> float:
    return fmean(values[seed] for seed in seeds) if isinstance(values, Mapping) else values


def _percent(share: float) -> str:
    """Whole percents, a digit more below 1%; never "-0"."""
    percent = 100 * share
    if not math.isfinite(percent):
        return "-"
    text = f"{percent:,.0f}" if abs(percent) >= 1 or percent == 0 else f"{percent:.1f}"
    return "0" if float(text.replace(",", "")) == 0 else text
