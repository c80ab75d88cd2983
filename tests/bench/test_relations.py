"""Two metrics of all runs over each other: the lines through them, and the figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from attnae.bench import catalog
from attnae.bench.catalog.benchmark import Relation
from attnae.bench.reporting import figures
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.page import text
from attnae.bench.reporting.pictures import relation
from attnae.result import Result

POWER = 0.29
SPEC = Relation("t", "heldout/dead_rows", "heldout/mse", slope="heldout/power", per=48)


def run(rows: float, mse: float, variant: str = "dense_clamped", seed: int = 1) -> Result:
    metrics = {"heldout/dead_rows": rows, "heldout/mse": mse, "heldout/power": POWER}
    return Result(benchmark="moe_ablation", label="quick", profile="quick", variant=variant, seed=seed, status="complete",
                  metrics=metrics, efficiency={})  # fmt: skip


numbers = st.floats(-100, 100, allow_subnormal=False).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=30))
@example([(22.156, 0.0)] * 3)
def test_the_fitted_line_is_scipys(points: list[tuple[float, float]]) -> None:
    x, y = zip(*points, strict=True)
    found = relation.fit(points)
    if len(set(x)) == 1:
        assert found is None
        return
    assert found is not None
    expected = stats.linregress(x, y)
    assert (found.slope, found.intercept) == pytest.approx((expected.slope, expected.intercept), rel=1e-6, abs=1e-6)
    half = stats.t.ppf(0.975, len(points) - 2) * expected.stderr if len(set(y)) > 1 else 0.0  # scipy's is missing
    # scipy takes the root of 1 - r^2, whose rounding error is 1e-8 of the slope where all points are on the line.
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=1e-5, abs=1e-6 * max(1, 10 * abs(expected.slope)))


def test_two_points_have_no_fit() -> None:
    assert relation.fit([(0, 1), (1, 2)]) is None
    assert relation.fit([]) is None


def test_the_predicted_line_begins_at_the_runs_without_x_and_rises_by_the_metric() -> None:
    runs = [run(0, 0.005), run(0, 0.007), run(4, 0.03)]
    points = [(one.metrics["heldout/dead_rows"], one.metrics["heldout/mse"]) for one in runs]
    assert relation.predicted(SPEC, points, runs) == pytest.approx((0.006, POWER / 48))
    assert relation.predicted(SPEC, points[2:], runs[2:]) is None
    assert relation.predicted(Relation("t", SPEC.x, SPEC.y), points, runs) is None


def test_a_black_row_costs_its_share_of_the_power() -> None:
    # The sentence behind the predicted line, from pixels: a perfect model whose first 3 of 48 rows are black.
    images = np.random.default_rng(0).random((40, 3, 8, 8))
    output = images.copy().reshape(40, 3, 2, 4, 2, 4)
    for position in range(3):
        output[:, 0, :, 0, :, position] = 0
    mse = ((output.reshape(images.shape) - images) ** 2).mean()
    assert mse == pytest.approx(3 / 48 * (images**2).mean(), rel=0.1)


def test_a_report_shows_relations_that_have_runs(tmp_path: Path) -> None:
    benchmark = catalog.load("moe_ablation")
    clean = [run(0, 0.0055, "moe", seed) for seed in (1, 2)]
    folders = {(r.variant, r.seed): tmp_path for r in clean}
    assert "relation.png" not in figures.draw(Report(benchmark, "a", clean), folders, tmp_path / "a")
    runs = [*clean, *(run(k, 0.0055 + k * POWER / 48, seed=k) for k in (1, 2, 4))]
    folders = {(one.variant, one.seed): tmp_path for one in runs}
    report = Report(benchmark, "b", runs, tmp_path / "b")
    assert "relation.png" in figures.draw(report, folders, tmp_path / "b" / "figures")
    page = text(report)
    assert "(figures/relation.png)" in page
    assert benchmark.relations[0].note.strip()[:40] in page
