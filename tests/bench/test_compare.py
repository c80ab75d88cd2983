"""``attnae-bench compare`` on synthetic results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from attnae import result
from attnae.bench.app import main
from attnae.bench.commands.compare import BETTER, REGRESSION, verdict
from attnae.bench.reporting.seeds import Estimate, quantile
from attnae.result import Result

MACHINE = {"device": "CPU", "processor": "one", "threads": 2}
Values = Mapping[tuple[str, int], float]


def write(folder: Path, values: Values, label: str = "short", **changes: Any) -> Path:
    """Complete runs, one for each PSNR."""
    for (variant, seed), psnr in values.items():
        one = Result(
            benchmark="moe_denoising",
            label=label,
            profile="short",
            variant=variant,
            seed=seed,
            metrics={"heldout/psnr_mean": psnr, "heldout/psnr_std": 1.0},
            efficiency={"seconds_per_epoch": 10.0, "params_trainable": 5},
            hardware=MACHINE,
            versions={"torch": "2.5"},
            finished_at="2026-01-31T12:00:00.000Z",
        )
        result.write(Result(**{**vars(one), **changes}), folder / label / variant / f"seed{seed}" / "result.json")
    return folder


def seeds(*values: float) -> dict[tuple[str, int], float]:
    return {("moe", seed): value for seed, value in enumerate(values, 1)}


def compared(tmp_path: Path, a: Values, b: Values, *arguments: str, **changes: Any) -> int:
    write(tmp_path / "a", a)
    write(tmp_path / "b", b, label="other", **changes)
    return main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), *arguments])


@pytest.mark.parametrize(
    ("a", "b", "code", "shown"),
    [
        (seeds(25.0, 25.2, 25.1), seeds(25.0, 25.2, 25.1), 0, "+0.00"),
        (seeds(25.0, 25.2, 25.1), seeds(24.0, 24.3, 24.1), 1, "-0.97"),
        (seeds(25.0, 25.2, 25.1), seeds(26.0, 26.3, 26.1), 0, BETTER),
        (seeds(25.0, 26.0, 25.5), seeds(25.9, 25.1, 24.4), 0, "-0.37"),  # noise
        (seeds(25.0, 25.2), seeds(24.999, 25.199), 0, ""),  # significant, but below the displayed precision
        (seeds(25.0), seeds(24.9), 0, "-0.10"),
        (seeds(25.0), seeds(24.7), 1, REGRESSION),  # error increased by more than 5%, which is 0.21 dB
    ],
)
def test_regressions_beyond_the_noise_are_marked(
    a: Values, b: Values, code: int, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path, a, b) == code
    out = capsys.readouterr().out
    assert shown in out
    assert out.endswith(f"Regressions beyond the noise: {code}.\n")
    assert (REGRESSION in out) == bool(code)


def test_single_seed_tolerance_option(tmp_path: Path) -> None:
    assert compared(tmp_path, seeds(25.0), seeds(24.7), "--tolerance", "10") == 0
    assert compared(tmp_path, seeds(25.0), seeds(24.9), "--tolerance", "1") == 1
    assert main(["compare", str(tmp_path), str(tmp_path), "--tolerance", "much"]) == 2


def test_only_common_seeds_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(tmp_path, seeds(25.0, 25.0, 99.0), {**seeds(25.0, 25.0), ("dense", 7): 1.0}) == 0
    out = capsys.readouterr().out
    assert "99" not in out
    assert "only in A: moe/seed3" in out
    assert "only in B: dense/seed7" in out


def test_differences_in_setup_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes: dict[str, Any] = {
        "configuration": {"trainer": {"max_epochs": 2}},
        "versions": {"torch": "2.6"},
        "hardware": {**MACHINE, "processor": "two"},
        "data": {"title": "pixels"},
        "data_digest": "12ab",
        "efficiency": {"seconds_per_epoch": 99.0, "params_trainable": 5},
    }
    assert compared(tmp_path, seeds(25.0, 25.1), seeds(25.0, 25.1), **changes) == 0  # another machine may be slower
    out = capsys.readouterr().out
    assert re.search("configuration of moe: [0-9a-f]{8} -> [0-9a-f]{8}", out)
    assert "A and B cannot share a table: different images: digests unknown and 12ab" in out
    assert "version of torch: 2.5 -> 2.6" in out
    assert "hardware, processor: one -> two" in out
    assert "data: None -> pixels 12ab" in out
    assert "threads" not in out


def test_slowdown_is_a_regression_only_over_several_seeds_on_the_same_machine(tmp_path: Path) -> None:
    slow = {"seconds_per_epoch": 20.0, "params_trainable": 5}
    assert compared(tmp_path, seeds(25.0, 25.1), seeds(25.0, 25.1), efficiency=slow) == 1
    assert compared(tmp_path / "single", seeds(25.0), seeds(25.0), efficiency=slow) == 0


def test_a_missing_metric_is_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(tmp_path, seeds(25.0), seeds(25.0), metrics={"heldout/psnr_std": 1.0}) == 1
    assert "moe/seed1: heldout/psnr_mean is missing in B" in capsys.readouterr().out


def test_nothing_that_got_worse_goes_unseen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Variants that the benchmark no longer has; labels and benchmarks of one side are named."""
    assert compared(tmp_path, {("removed", 1): 25.0}, {("removed", 1): 15.0}) == 1
    write(tmp_path / "a", seeds(25.0), label="third")
    write(tmp_path / "a", seeds(25.0), label="other")
    write(tmp_path / "a", seeds(25.0), label="fourth", benchmark="moe_ablation")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2  # no variant in common
    write(tmp_path / "b", seeds(25.0), label="other")
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Not compared, only in A: moe_ablation, moe_denoising/short, moe_denoising/third" in out


def test_last_epochs_are_averaged_as_in_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last epoch alone is a third better, the mean over the last five as it was."""
    for side, errors in (("a", [0.01] * 5), ("b", [0.0115, 0.011, 0.011, 0.009, 0.0075])):
        epochs = [1.0, 2.0, 3.0, 4.0, 5.0]
        changes = {
            "benchmark": "attentive_vqvae",
            "metrics": {"heldout/mse": errors[-1]},
            "curves": {"epoch": epochs},
            "last_epochs": {"epoch": epochs, "heldout/mse": errors},
        }
        write(tmp_path / side, {("vqvae", 1): 0.0}, **changes)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "0.0075" not in said
    assert BETTER not in said


def test_new_failure_is_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(tmp_path, seeds(25.0), seeds(25.0), status="failed", reason="out of [memory]") == 1
    assert "moe/seed1 failed in B: out of [memory]" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "b"), str(tmp_path / "a")]) == 0


def test_several_labels_are_matched_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, psnr in (("a", 25.0), ("b", 24.0)):
        write(tmp_path / side, seeds(psnr), label="short")
        write(tmp_path / side, seeds(20.0), label=f"only-{side}")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "20.00" not in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b" / "only-b")]) == 2
    assert "Name the two folders to compare" in capsys.readouterr().err


def test_nothing_to_compare_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a", seeds(25.0))
    write(tmp_path / "b", seeds(25.0), benchmark="moe_ablation")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "nowhere")]) == 2
    assert "No results below" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "nothing to compare" in capsys.readouterr().err
    write(tmp_path / "c", {("moe", 7): 1.0, ("dense", 1): 1.0})
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "c")]) == 2
    assert "no variant with the same seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "mean", "low", "high", "expected"),
    [
        ("heldout/mse", 0.2, 0.1, 0.3, REGRESSION),  # lower is better
        ("heldout/mse", -0.2, -0.3, -0.1, BETTER),
        ("heldout/mse", 0.2, -0.1, 0.5, ""),
        ("heldout/mse", 0.06, None, None, REGRESSION),
        ("heldout/mse", 0.04, None, None, ""),
        ("heldout/psnr_std", 5.0, 4.0, 6.0, ""),  # neither direction is better
        ("seconds_per_epoch", 5.0, None, None, ""),
        ("params_trainable", 1.0, None, None, REGRESSION),
    ],
)
def test_verdict(key: str, mean: float, low: float | None, high: float | None, expected: str) -> None:
    if low is None or high is None:
        found = Estimate(mean, None, 1)
    else:
        found = Estimate(mean, (high - low) / 2 / quantile(0.05, 3) * 3**0.5, 3)
        assert found.interval() == pytest.approx((low, high))
    assert verdict(key, found, 1.0, 0.05) == expected
