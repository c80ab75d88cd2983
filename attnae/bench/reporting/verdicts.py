"""What our runs say about a paper's claims."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from attnae.bench.catalog.benchmark import Claim
from attnae.bench.reporting.statistics import Difference, difference, value_of
from attnae.metrics.columns import column
from attnae.result import Result

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        state: ``reproduced``, ``not reproduced``, ``not decidable at n = <seeds>`` or ``not run``.
        left: Our mean of the left side over the seeds that both have; ``None`` if there are none.
        right: Our mean of the right side over the same seeds, or the number that the claim compares with.
        difference: Left minus right, with its interval over seeds.
    """

    state: str
    left: float | None = None
    right: float | None = None
    difference: Difference | None = None


def judge(claim: Claim, rows: dict[str, list[Result]]) -> Verdict:
    """Decides a claim by the 95% interval of the difference over seeds.

    Reproduced if the whole interval satisfies the relation, not reproduced if none of it does, not decidable otherwise.
    One seed has no interval and decides nothing; whether it speaks for the claim or against it is said all the same.

    Args:
        claim: The claim.
        rows: Complete runs by variant.
    """
    left = _values(claim, rows.get(claim.left, []))
    right: dict[int, float] | float = (
        _values(claim, rows.get(claim.right, [])) if isinstance(claim.right, str) else float(claim.right)
    )
    found = difference(left, right)
    if found is None:
        return Verdict(NOT_RUN)
    if isinstance(right, dict):
        seeds = left.keys() & right.keys()
        means = fmean(left[seed] for seed in seeds), fmean(right[seed] for seed in seeds)
    else:
        means = fmean(left.values()), right
    low, high = found.low, found.high
    if all(column(key).kind == "counted" for key in claim.keys):  # no seed changes them
        low = high = found.mean
    if low is None or high is None:
        speaks = "for" if _holds(claim, found.mean, found.mean) else "against"
        return Verdict(f"not decidable at n = 1 (speaks {speaks} it)", *means, found)
    if _holds(claim, low, high):
        return Verdict(REPRODUCED, *means, found)
    state = NOT_REPRODUCED if _fails(claim, low, high) else f"not decidable at n = {found.n}"
    return Verdict(state, *means, found)


def _holds(claim: Claim, low: float, high: float) -> bool:
    """Whether all differences between ``low`` and ``high`` satisfy the relation."""
    if claim.relation == "equal":
        return -claim.margin <= low and high <= claim.margin
    return low > claim.margin if claim.relation == "higher" else high < -claim.margin


def _fails(claim: Claim, low: float, high: float) -> bool:
    """Whether none of them does."""
    if claim.relation == "equal":
        return low > claim.margin or high < -claim.margin
    return high <= claim.margin if claim.relation == "higher" else low >= -claim.margin


def _values(claim: Claim, runs: list[Result]) -> dict[int, float]:
    """The claim's metric by seed; runs that lack one of its keys do not count."""
    found = {}
    for run in runs:
        values = [value_of(run, key) for key in claim.keys]
        numbers = [value for value in values if value is not None]
        if len(numbers) == len(values):
            found[run.seed] = fmean(numbers)
    return found
