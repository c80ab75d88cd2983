"""Error rates of verdicts over synthetic benchmarks with known effects."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from attnae.bench.reporting.judgment import HOLDS, NO_DIFFERENCE, OPPOSITE, Question, judge_all

BENCHMARKS = 2000
SEEDS, FAMILIES = (3, 5, 10), (1, 2, 3)
MARGIN = 1.0
EFFECTS = {"null": 0.0, "margin": MARGIN, "real": 4.0}
SPREAD = 1.0
"""Standard deviation of paired differences over seeds."""


@dataclass
class Rates:
    benchmarks: int = 0
    wrong_direction: int = 0
    claims: int = 0
    covered: int = 0
    null_decided: int = 0
    equivalent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EFFECTS, 0))
    asked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(EFFECTS, 0))
    detected: int = 0


def simulate(
    seeds: int, family: int, kinds: tuple[str, ...], margin: float, adjust: bool = True, spread: float = SPREAD
) -> Rates:
    """2,000 benchmarks with claim effects drawn from ``kinds``; both sides share the seeds."""
    random = np.random.default_rng([seeds, family, len(kinds), round(100 * spread)])
    rates = Rates()
    for _ in range(BENCHMARKS):
        drawn = [kinds[place] for place in random.integers(len(kinds), size=family)]
        questions = []
        for kind in drawn:
            shared = random.normal(0, 3, seeds)  # shared by a seed: image order and initialization
            gap = EFFECTS[kind] + spread * random.normal(size=seeds)
            left, right = (dict(enumerate(values.tolist())) for values in (shared + gap, shared))
            questions.append(Question(left, right, "higher", margin, primary=adjust))
        verdicts = judge_all(questions)
        wrong = False
        for kind, verdict in zip(drawn, verdicts, strict=True):
            assert verdict.low is not None
            assert verdict.high is not None
            rates.claims += 1
            rates.covered += verdict.low <= EFFECTS[kind] <= verdict.high
            rates.asked[kind] += 1
            rates.equivalent[kind] += verdict.direction == NO_DIFFERENCE
            rates.detected += kind == "real" and verdict.direction == HOLDS
            wrong |= verdict.direction == OPPOSITE or (verdict.direction == HOLDS and kind == "null")
        rates.benchmarks += 1
        rates.wrong_direction += wrong
    return rates


def slack(rate: float, n: int) -> float:
    """Three standard errors of a simulated rate; expect one false alarm in 700 checks, but the seed is fixed."""
    return float(3 * np.sqrt(rate * (1 - rate) / n))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seeds", SEEDS)
def test_wrong_directions_in_a_benchmark_without_effects(seeds: int, family: int) -> None:
    """Worst case for the family-wise error rate: every rejection is an error."""
    rates = simulate(seeds, family, ("null",), margin=0.0)
    rate = rates.wrong_direction / rates.benchmarks
    assert rate <= 0.05 + slack(0.05, rates.benchmarks)
    assert rate >= 0.05 - slack(0.05, rates.benchmarks) - 0.003  # Holm's first step uses the full error budget
    print(f"familywise, all null, n = {seeds}, {family} primary: {rate:.2%}")


@pytest.mark.parametrize("seeds", SEEDS)
def test_family_error_rate_without_holm_is_too_high(seeds: int) -> None:
    rates = simulate(seeds, 3, ("null",), margin=0.0, adjust=False)
    expected = 1 - 0.95**3
    assert rates.wrong_direction / rates.benchmarks == pytest.approx(expected, abs=slack(expected, rates.benchmarks))
    assert rates.covered / rates.claims == pytest.approx(0.95, abs=slack(0.95, rates.claims))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seeds", SEEDS)
def test_error_rates_with_mixed_effects(seeds: int, family: int) -> None:
    rates = simulate(seeds, family, tuple(EFFECTS), margin=MARGIN)
    rate = rates.wrong_direction / rates.benchmarks
    assert rate <= 0.05 + slack(0.05, rates.benchmarks)
    for kind in ("margin", "real"):  # effects as large as the margin: at most 2.5% are called "no difference"
        assert rates.equivalent[kind] / rates.asked[kind] <= 0.025 + slack(0.025, rates.asked[kind])
    coverage = rates.covered / rates.claims
    assert coverage >= 0.95 - slack(0.95, rates.claims)
    power = rates.detected / rates.asked["real"]
    assert power > {3: 0.5, 5: 0.95, 10: 0.99}[seeds]  # power for an effect of four standard deviations
    false = rates.equivalent["margin"] / rates.asked["margin"]
    print(f"mixed, n = {seeds}, {family} primary: familywise {rate:.2%}, coverage {coverage:.2%}, "
          f"false equivalence {false:.2%}, power {power:.1%}")  # fmt: skip


@pytest.mark.parametrize("seeds", SEEDS)
def test_equivalence_at_margin_has_nominal_error_with_small_spread(seeds: int) -> None:
    """If the spread is small relative to the margin, TOST has a 2.5% error rate and detects most true equivalences."""
    rates = simulate(seeds, 1, ("margin",), margin=MARGIN, spread=0.1)
    false = rates.equivalent["margin"] / rates.claims
    assert false == pytest.approx(0.025, abs=slack(0.025, rates.claims))
    assert rates.covered / rates.claims == pytest.approx(0.95, abs=slack(0.95, rates.claims))
    rates = simulate(seeds, 1, ("null",), margin=MARGIN, spread=0.1)
    true = rates.equivalent["null"] / rates.claims
    assert true > 0.95
    print(f"equivalence, n = {seeds}: false {false:.2%}, true {true:.1%}")
