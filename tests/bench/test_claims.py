"""Verdicts and intervals, against scipy.stats and by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attnae.bench import catalog
from attnae.bench.catalog.benchmark import Claim
from attnae.bench.reporting import page
from attnae.bench.reporting.statistics import difference
from attnae.bench.reporting.verdicts import judge
from attnae.result import Result

KEY = "heldout/psnr_mean"
numbers = st.floats(-100, 100).map(lambda value: round(value, 3))


def run(variant: str, seed: int, value: float | None, key: str = KEY) -> Result:
    return Result(
        benchmark="moe_ablation",
        label="paper",
        profile="paper",
        variant=variant,
        seed=seed,
        status="complete",
        metrics={} if value is None else {key: value},
        data={"kind": "array", "title": "pixels", "train": 4, "test": 2, "size": 32},
    )


def claim(**changes: Any) -> Claim:
    given: dict[str, Any] = {
        "claim": "c",
        "where": "w",
        "left": "moe",
        "metric": KEY,
        "relation": "higher",
        "right": "dense",
    }
    return Claim(**{**given, **changes})


def rows(moe: list[float], dense: list[float]) -> dict[str, list[Result]]:
    return {
        name: [run(name, seed, value) for seed, value in enumerate(values, 1)]
        for name, values in (("moe", moe), ("dense", dense))
    }


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8))
def test_interval_matches_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    left, right = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    found = difference(left, right)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.n == len(pairs)
    gaps = [a - b for a, b in pairs]
    if len({round(gap, 6) for gap in gaps}) == 1:  # scipy has no interval without variance
        assert found.low == pytest.approx(found.mean)
        assert found.high == pytest.approx(found.mean)
        return
    expected = stats.ttest_rel(list(left.values()), list(right.values())).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)


def test_differences_are_paired_by_seed() -> None:
    found = difference({1: 10.0, 2: 20.0, 9: 0.0}, {2: 19.0, 1: 9.0, 7: 0.0})
    assert found is not None
    assert (found.mean, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 2)
    assert difference({1: 1.0}, {2: 1.0}) is None


@pytest.mark.parametrize(
    ("relation", "margin", "moe", "dense", "state"),
    [
        ("higher", 0.0, [22.6, 22.7, 22.8], [15.0, 15.2, 15.1], "reproduced"),
        ("higher", 0.0, [15.0, 15.2, 15.1], [22.6, 22.7, 22.8], "not reproduced"),
        ("higher", 0.0, [22.0, 23.0, 24.0], [23.0, 22.0, 23.5], "not decidable at n = 3"),
        ("higher", 1.0, [22.5, 22.6, 22.7], [22.4, 22.5, 22.6], "not reproduced"),
        ("lower", 0.0, [1.0, 1.1, 1.2], [2.0, 2.1, 2.3], "reproduced"),
        ("lower", 0.0, [2.0, 2.1, 2.3], [1.0, 1.1, 1.2], "not reproduced"),
        ("equal", 0.5, [22.5, 22.6, 22.7], [22.4, 22.5, 22.6], "reproduced"),
        ("equal", 0.01, [22.5, 22.6, 22.7], [22.4, 22.5, 22.6], "not reproduced"),
        ("higher", 0.0, [22.0], [15.0], "not decidable at n = 1 (speaks for it)"),
        ("higher", 0.0, [15.0], [22.0], "not decidable at n = 1 (speaks against it)"),
        ("higher", 0.0, [22.0], [], "not run"),
        ("higher", 0.0, [], [22.0], "not run"),
    ],
)
def test_verdicts(relation: str, margin: float, moe: list[float], dense: list[float], state: str) -> None:
    assert judge(claim(relation=relation, margin=margin), rows(moe, dense)).state == state


def test_claims_about_a_number_and_about_a_mean_of_metrics() -> None:
    verdict = judge(claim(relation="equal", right=22.0, margin=0.5), rows([22.1, 22.2, 22.0], []))
    assert (verdict.state, verdict.right) == ("reproduced", 22.0)
    both = [run("moe", seed, 20.0 + seed) for seed in (1, 2)]
    for one in both:
        one.metrics["heldout/ssim_mean"] = 10.0
    verdict = judge(claim(metric=[KEY, "heldout/ssim_mean"], right=0.0), {"moe": both})
    assert verdict.left == pytest.approx((21 + 22 + 20) / 4)
    lacking = [run("moe", 1, 20.0)]  # the mean of the available metrics would be a different quantity
    assert judge(claim(metric=[KEY, "heldout/ssim_mean"], right=0.0), {"moe": lacking}).state == "not run"


def test_report_prints_a_verdict_for_every_claim() -> None:
    benchmark = catalog.load("moe_ablation")
    results = [run(v, s, x + s / 10) for v, x in (("moe_clamped", 22.0), ("dense_clamped", 15.0)) for s in (1, 2, 3)]
    text = page.text(benchmark, results, [])
    section = text.split("## The paper's claims")[1].split("\n## ")[0]
    assert section.count("**not run**") == len(benchmark.claims) - 1
    assert "22.20 - 15.20 = +7.00 [+7.00, +7.00] dB" in section
    assert "**reproduced**" in section
    assert "## Differences from dense, clamped" in text
    single = page.text(benchmark, [r for r in results if r.seed == 1], [])
    assert "±" not in single
    assert "## Differences" not in single
    assert "not decidable at n = 1 (speaks for it)" in single
