"""Verdicts: wording, intervals compared with scipy.stats, Holm's procedure, and invariants."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from attnae.bench.reporting.judgment import (
    DECIDED,
    HOLDS,
    NO_DIFFERENCE,
    NOT_COMPARABLE,
    NOT_RUN,
    ONE_SEED,
    OPPOSITE,
    UNDECIDED,
    Question,
    judge_all,
    judge_one,
)
from attnae.bench.reporting.seeds import (
    Estimate,
    holm,
    last_epoch_means,
    paired,
    quantile,
    seeds_to_decide,
    unpaired,
)

numbers = st.floats(-100, 100).map(lambda value: round(value, 3))
pairs = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8)
relations: st.SearchStrategy[Literal["higher", "lower", "equal"]] = st.sampled_from(["higher", "lower", "equal"])
FLIPPED: dict[str, Any] = {"higher": "lower", "lower": "higher", "equal": "equal"}


def seeded(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values, 1))


def sides(drawn: list[tuple[float, float]]) -> tuple[dict[int, float], dict[int, float]]:
    return seeded([a for a, _ in drawn]), seeded([b for _, b in drawn])


def spread(drawn: list[tuple[float, float]]) -> bool:
    return len({round(a - b, 6) for a, b in drawn}) > 1


@given(pairs, st.sampled_from([0.05, 0.025, 0.05 / 3, 0.5]))
def test_interval_and_p_values_match_paired_t_test(drawn: list[tuple[float, float]], alpha: float) -> None:
    assume(spread(drawn))
    found = paired(*sides(drawn))
    assert found is not None
    left, right = ([pair[side] for pair in drawn] for side in (0, 1))
    expected = stats.ttest_rel(left, right)
    assert found.interval(alpha) == pytest.approx(tuple(expected.confidence_interval(1 - alpha)), rel=1e-9, abs=1e-9)
    assert found.p_two_sided() == pytest.approx(expected.pvalue, rel=1e-6)
    greater = stats.ttest_rel(left, right, alternative="greater").pvalue
    assert found.p_above(0) == pytest.approx(greater, rel=1e-6, abs=1e-12)
    assert found.p_below(0) == pytest.approx(1 - greater, rel=1e-6, abs=1e-12)


@given(pairs, st.floats(0.01, 50), st.sampled_from([0.05, 0.025, 0.05 / 3]))
def test_p_values_agree_with_intervals(drawn: list[tuple[float, float]], margin: float, alpha: float) -> None:
    found = paired(*sides(drawn))
    assert found is not None
    ends = found.interval(alpha)
    assert ends is not None
    low, high = ends
    assert low <= found.mean <= high
    near = [abs(p - alpha) < 1e-9 for p in (found.p_two_sided(), found.p_inside(margin), found.p_outside(margin))]
    assume(not any(near))
    assert (found.p_two_sided() < alpha) == (low > 0 or high < 0)
    assert (found.p_inside(margin) < alpha) == (-margin < low and high < margin)
    assert (found.p_outside(margin) < alpha) == (low > margin or high < -margin)


def test_equivalence_is_two_one_sided_tests_by_hand() -> None:
    found = paired(seeded([0.01, -0.02, 0.015, 0.005]), 0.0)
    assert found is not None
    values = [0.01, -0.02, 0.015, 0.005]
    one_sided = [stats.ttest_1samp(values, -0.05, alternative="greater").pvalue,
                 stats.ttest_1samp(values, 0.05, alternative="less").pvalue]  # fmt: skip
    assert found.p_inside(0.05) == pytest.approx(2 * max(one_sided))


@pytest.mark.parametrize(
    ("relation", "margin", "left", "right", "direction"),
    [
        ("higher", 0.0, [22.6, 22.7, 22.8], [15.0, 15.2, 15.1], HOLDS),
        ("higher", 0.0, [15.0, 15.2, 15.1], [22.6, 22.7, 22.8], OPPOSITE),
        ("higher", 0.0, [22.0, 23.0, 24.0], [23.0, 22.0, 23.5], UNDECIDED),
        ("lower", 0.0, [1.0, 1.1, 1.2], [2.0, 2.1, 2.3], HOLDS),
        ("lower", 0.0, [2.0, 2.1, 2.3], [1.0, 1.1, 1.2], OPPOSITE),
        ("higher", 0.2, [22.51, 22.60, 22.69], [22.50, 22.58, 22.68], NO_DIFFERENCE),
        ("lower", 0.2, [22.51, 22.60, 22.69], [22.50, 22.58, 22.68], NO_DIFFERENCE),
        ("higher", 0.005, [22.51, 22.60, 22.69], [22.50, 22.58, 22.68], UNDECIDED),
        ("equal", 0.2, [22.51, 22.60, 22.69], [22.50, 22.58, 22.68], HOLDS),
        ("equal", 0.01, [22.6, 22.7, 22.8], [15.0, 15.2, 15.1], OPPOSITE),
        ("equal", 0.02, [22.51, 22.60, 22.69], [22.50, 22.58, 22.68], UNDECIDED),
        ("higher", 0.0, [22.0], [15.0], ONE_SEED),
        ("equal", 9.0, [22.0], [15.0], ONE_SEED),
        ("higher", 0.0, [22.0], [], NOT_RUN),
        ("higher", 0.0, [], [22.0], NOT_RUN),
        ("higher", 0.0, [math.nan, math.inf], [1.0, 2.0], NOT_RUN),
        ("higher", 0.0, [5.0, math.nan, math.inf], [1.0, 2.0, 3.0], ONE_SEED),
        ("higher", 0.0, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], UNDECIDED),
        ("higher", 0.1, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], NO_DIFFERENCE),
        ("higher", 0.0, [3.0, 4.0, 5.0], [1.0, 2.0, 3.0], HOLDS),
        ("higher", 0.0, [1.7e308, -1.7e308], [0.0, 0.0], UNDECIDED),
    ],
)
def test_directions(relation: Any, margin: float, left: list[float], right: list[float], direction: str) -> None:
    assert judge_one(Question(seeded(left), seeded(right), relation, margin)).direction == direction


def test_pairs_by_seed_and_unpaired_seeds_are_listed() -> None:
    verdict = judge_one(Question({1: 10.0, 2: 20.0, 9: 0.0, 4: 1.0}, {2: 19.0, 1: 9.0, 7: 0.0, 4: math.nan}, "higher"))
    assert (verdict.direction, verdict.seeds, verdict.unpaired) == (HOLDS, (1, 2), (4, 7, 9))
    assert verdict.means == (15.0, 14.0)
    assert (verdict.low, verdict.high) == (1.0, 1.0)
    assert unpaired({1: 1.0, 2: math.inf}, 3.0) == (2,)
    one = judge_one(Question({1: 10.0, 2: 20.0}, {2: 19.0, 3: 9.0}, "higher", published=2.0))
    assert (one.direction, one.low, one.size_words) == (ONE_SEED, None, "")


def test_thousands_of_seeds() -> None:
    left = {seed: math.sin(seed) + 0.2 for seed in range(5000)}
    verdict = judge_one(Question(left, 0.0, "higher"))
    assert verdict.direction == HOLDS
    assert (verdict.low, verdict.high) == pytest.approx(
        tuple(stats.ttest_1samp(list(left.values()), 0.0).confidence_interval())
    )
    undecided = judge_one(Question({seed: math.sin(seed) for seed in range(5000)}, 0.0, "higher"))
    assert undecided.direction_words == "undecided at n = 5000, more than 5000 seeds would decide"


def test_absolute_claims_require_published_conditions() -> None:
    ours = seeded([25.10, 25.12, 25.13])
    assert judge_one(Question(ours, 25.12, "equal", 0.2)).direction == HOLDS
    other = judge_one(Question(ours, 25.12, "equal", 0.2, departures=("other images", "shorter schedule")))
    assert (other.direction, other.condition_words) == (NOT_COMPARABLE, "other images, shorter schedule")
    between = Question(ours, seeded([24.0, 24.1, 24.0]), "higher", departures=("other images",))
    assert judge_one(between).direction == HOLDS
    counted = Question({1: 599689.0}, 599689.0, "equal", 0.5, departures=("other images",), exact=True)
    assert judge_one(counted).direction == HOLDS  # parameter counts do not depend on the images
    assert judge_one(replace(counted, departures=("smaller network",))).direction == NOT_COMPARABLE
    assert judge_one(counted).condition_words == "other images"
    assert judge_one(between).condition_words == "other images"
    assert judge_one(replace(between, departures=())).condition_words == "as published"


def test_verdict_text() -> None:
    left, right = seeded([25.3, 25.1, 25.35]), seeded([25.1, 25.0, 25.15])
    verdict = judge_one(Question(left, right, "higher", published=7.61))
    assert verdict.size_words == "2% of the published effect [0.3, 4]"
    assert verdict.level_words == "95% interval"
    opposite = judge_one(Question(right, left, "higher", published=7.61))
    assert opposite.size_words == "-2% of the published effect [-4, -0.3]"
    lower = judge_one(Question(left, right, "lower", published=-7.61))
    assert lower.size_words == opposite.size_words
    assert judge_one(Question(left, right, "higher")).size_words == ""
    undecided = judge_one(Question(seeded([1.0, -0.2, 0.9]), 0.0, "higher"))
    assert undecided.direction_words == f"undecided at n = 3, about {undecided.needed} seeds would decide"
    far = judge_one(Question(seeded([1.0, -1.01]), 0.0, "higher"))
    assert far.direction_words == "undecided at n = 2, more than 100 seeds would decide"


def test_required_number_of_seeds_by_hand() -> None:
    estimate = Estimate(0.5, 0.6, 3)
    needed = seeds_to_decide(estimate, 0.5)
    assert needed is not None
    assert stats.t.ppf(0.975, needed - 1) * 0.6 / needed**0.5 < 0.5
    assert stats.t.ppf(0.975, needed - 2) * 0.6 / (needed - 1) ** 0.5 >= 0.5
    assert needed == 9
    adjusted = seeds_to_decide(estimate, 0.5, 0.05 / 3)
    assert adjusted is not None
    assert adjusted > needed
    assert seeds_to_decide(Estimate(0.01, 1.0, 3), 0.01) is None
    assert seeds_to_decide(Estimate(0.01, None, 1), 0.01) is None
    assert quantile(0.05, 3) == pytest.approx(4.302652729911275)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.05 / 3, 0.025, 0.025])  # only the first is rejected
    assert holm([0.01, 0.02, 0.04]) == pytest.approx([0.05 / 3, 0.025, 0.05])  # all rejected
    assert holm([0.019, 0.001, 1.0]) == pytest.approx([0.025, 0.05 / 3, 0.05])
    assert holm([0.019, 0.5, 1.0]) == pytest.approx([0.05 / 3] * 3)
    assert holm([]) == []
    assert holm([0.3]) == [0.05]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_holm_agrees_with_adjusted_p_values(values: list[float]) -> None:
    order = sorted(range(len(values)), key=lambda place: values[place])
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):  # Holm 1979, as in R's p.adjust
        largest = max(largest, (len(values) - rank) * values[place])
        adjusted[place] = largest
    assume(all(abs(value - 0.05) > 1e-9 for value in adjusted))
    assert [p <= rate for p, rate in zip(values, holm(values), strict=True)] == [p <= 0.05 for p in adjusted]


def test_claim_among_three_needs_stronger_evidence() -> None:
    alone = Question(seeded([-4.0, -3.2, -5.1]), 0.0, "lower")
    assert 0.05 / 3 < alone.p_value() < 0.05
    assert judge_all([alone])[0].direction == HOLDS
    family = [
        replace(alone, primary=True),
        Question({}, {}, "higher", primary=True),
        Question({1: 1.0}, 0.0, "higher", primary=True),
    ]
    first, second, third = judge_all(family)
    assert (first.direction, second.direction, third.direction) == (UNDECIDED, NOT_RUN, ONE_SEED)
    assert first.level_words == "98.3% interval (Holm, 3 primary claims)"
    assert first.low is not None
    assert first.low < -4.1 < 0 <= (first.high or 0)


claims = st.builds(
    lambda drawn, relation, margin: Question(*sides(drawn), relation, margin, primary=True),
    pairs,
    relations,
    st.floats(0.01, 60),
)


@given(st.lists(claims, min_size=1, max_size=3))
def test_holm_never_decides_more_claims_than_unadjusted(questions: list[Question]) -> None:
    for adjusted, plain in zip(judge_all(questions), map(judge_one, questions), strict=True):
        assert adjusted.direction not in DECIDED or plain.direction in DECIDED
        assert adjusted.low is not None
        assert adjusted.high is not None
        assert plain.low is not None
        assert plain.high is not None
        assert adjusted.low <= plain.low + 1e-9
        assert plain.high - 1e-9 <= adjusted.high


@given(pairs, relations, st.floats(0.01, 60))
def test_swapping_sides_and_relation_changes_nothing(
    drawn: list[tuple[float, float]], relation: Any, margin: float
) -> None:
    left, right = sides(drawn)
    one = judge_one(Question(left, right, relation, margin))
    other = judge_one(Question(right, left, FLIPPED[relation], margin))
    assert (one.direction, one.needed) == (other.direction, other.needed)
    assert one.low == pytest.approx(-(other.high or 0.0))


@given(pairs, st.floats(0.01, 60), st.floats(1, 10))
def test_wider_margin_only_moves_verdicts_to_no_difference(
    drawn: list[tuple[float, float]], margin: float, factor: float
) -> None:
    left, right = sides(drawn)
    narrow, wide = (judge_one(Question(left, right, "higher", size)).direction for size in (margin, margin * factor))
    assert wide in (narrow, NO_DIFFERENCE)
    narrow, wide = (judge_one(Question(left, right, "equal", size)).direction for size in (margin, margin * factor))
    order = [OPPOSITE, UNDECIDED, HOLDS]
    assert order.index(wide) >= order.index(narrow)


@given(pairs, relations, st.floats(0.01, 60), st.sampled_from([2.0**-10, 0.5, 2.0, 1024.0]))
def test_verdicts_do_not_depend_on_the_unit(
    drawn: list[tuple[float, float]], relation: Any, margin: float, scale: float
) -> None:
    left, right = sides(drawn)
    scaled = [{seed: value * scale for seed, value in side.items()} for side in (left, right)]
    one = judge_one(Question(left, right, relation, margin, published=3.0))
    other = judge_one(Question(*scaled, relation, margin * scale, published=3.0 * scale))
    assert (one.direction, one.needed, one.size_words) == (other.direction, other.needed, other.size_words)


@given(pairs, relations, st.floats(0.01, 60))
def test_undecided_claims_need_more_seeds_than_they_have(
    drawn: list[tuple[float, float]], relation: Any, margin: float
) -> None:
    assume(spread(drawn))
    verdict = judge_one(Question(*sides(drawn), relation, margin))
    assert (verdict.needed is None) or (verdict.direction == UNDECIDED and verdict.needed > len(drawn))


def test_last_epochs_average_is_applied_to_all_runs() -> None:
    whole = {"epoch": [16.0, 17.0, 18.0, 19.0, 20.0], "heldout/mse": [1.0, 2.0, 3.0, 4.0, 5.0]}
    short = {"epoch": [1.0, 2.0], "heldout/mse": [9.0, 9.0]}
    holes = {**whole, "heldout/mse": [1.0, 2.0, None, 4.0, 5.0]}
    assert last_epoch_means({1: whole, 2: short, 3: holes, 4: {}}, "heldout/mse") == ({1: 3.0}, (2, 3, 4))
    assert last_epoch_means({1: {}, 2: {}}, "heldout/mse") == ({}, (1, 2))
    assert last_epoch_means({1: whole}, "heldout/psnr_mean") == ({}, (1,))
