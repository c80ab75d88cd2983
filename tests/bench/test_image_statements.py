"""Statements over test images: bootstrap compared with scipy.stats, arrays with recorded metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attnae.bench.reporting.images import bootstrap, compare, read
from attnae.errors import UserError

values = st.lists(st.floats(-50, 50), min_size=2, max_size=40)


def test_interval_matches_scipy_percentile_bootstrap() -> None:
    gaps = np.random.default_rng(3).gamma(2.0, 5.0, 400) - 12
    low, high = bootstrap(gaps)
    expected = stats.bootstrap((gaps,), np.mean, n_resamples=20000, method="percentile").confidence_interval
    spread = gaps.std() / 20
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.2 * spread)
    assert bootstrap(gaps) == (low, high)  # reports are reproducible to the digit


def test_interval_covers_population_mean() -> None:
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        low, high = bootstrap(random.exponential(1.0, 200))
        covered += low < 1.0 < high
    assert 0.89 <= covered / 200 <= 0.985  # nominal 95%, Monte Carlo error 1.5%


def test_statement_text() -> None:
    left, right = np.array([10.0, 20.0, 30.0, 40.0]), np.array([15.0, 25.0, 36.0, 39.0])
    found = compare(left, right, "lower")
    assert found is not None
    assert (found.better, found.worse, found.n, found.mean) == (3, 1, 4, -3.75)
    words = found.words(1, "dB")
    assert words.startswith("with these weights better on 75% of 4 images, -3.8 [-")
    assert words.endswith("] dB; variation between seeds is not covered")
    higher = compare(left, right, "higher")
    assert higher is not None
    assert (higher.better, higher.worse) == (1, 3)


def test_incomparable_images() -> None:
    assert compare(np.ones(3), np.ones(4), "lower") is None
    assert compare(np.ones(1), np.ones(1), "lower") is None
    assert compare(np.array([]), np.array([]), "lower") is None
    assert compare(np.array([np.nan, 1.0, np.inf]), np.ones(3), "lower") is None
    same = compare(np.ones(9), np.ones(9), "lower")
    assert same is not None
    assert (same.better, same.worse, same.mean, same.low, same.high) == (0, 0, 0.0, 0.0, 0.0)


@given(values, st.sampled_from([0.5, 2.0, 1024.0]))
def test_symmetry_scale_and_order(drawn: list[float], scale: float) -> None:
    left, right = np.array(drawn), np.zeros(len(drawn))
    one, other = compare(left, right, "lower"), compare(right, left, "lower")
    scaled = compare(left * scale, right, "lower")
    assert one is not None
    assert other is not None
    assert scaled is not None
    assert (one.better, one.worse) == (other.worse, other.better)
    assert one.low == pytest.approx(-other.high, abs=1e-9)
    assert one.low <= one.mean + 1e-9
    assert one.mean <= one.high + 1e-9
    assert scaled.low == pytest.approx(one.low * scale)


def test_arrays_use_unit_of_recorded_metric(tmp_path: Path) -> None:
    path = tmp_path / "per_image.npz"
    np.savez_compressed(path, **{"heldout/sse": np.array([3.0, 6.0]), "heldout/psnr": np.array([20.0, 30.0])})  # type: ignore[arg-type]
    assert read(path, "heldout/psnr_mean") == pytest.approx(np.array([20.0, 30.0]))
    assert read(path, "heldout/sse", 4.5) == pytest.approx(np.array([3.0, 6.0]))
    assert read(path, "heldout/mse", 0.045) == pytest.approx(np.array([0.03, 0.06]))
    assert read(path, "heldout/mse") is None
    for key in ("heldout/ssim_mean", "heldout/kl", "train_set/sse", "params_trainable"):
        assert read(path, key, 1.0) is None
    assert read(tmp_path / "none.npz", "heldout/sse", 1.0) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04cut short", b"\x93NUMPY", b"text"])
def test_damaged_arrays_are_rejected_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "per_image.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"per_image\.npz"):
        read(path, "heldout/sse", 1.0)


def test_pickled_arrays_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "per_image.npz"
    np.savez(path, **{"heldout/sse": np.array([print], dtype=object)})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="contains pickled objects"):
        read(path, "heldout/sse", 1.0)
