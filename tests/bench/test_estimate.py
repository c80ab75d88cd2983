"""Estimates of time, disk and memory agree with sums by hand, and with what a run then takes."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_benchmark import RUN, bench

from attnae.bench import catalog, plan
from attnae.bench import estimate as costs
from attnae.bench.catalog import configuration
from attnae.bench.estimate import STARTUP, Estimate
from attnae.bench.identity import Run
from attnae.bench.request import Request
from attnae.result import Result, processor


def planned(tmp_path: Path, **changes: Any) -> plan.Plan:
    return plan.make(Request(catalog.load("saaae_vs_vae"), "short", "vae,saaae", out=tmp_path, dry=True, **changes))


def earlier(made: plan.Plan, variant: str, **changes: Any) -> Result:
    """A run of 10 epochs of 1,000 images at 100 images per second, with 4 seconds of validation in each epoch."""
    one = next(run.id for run in made.runs if run.id.variant == variant)
    values: dict[str, Any] = one.stated() | {
        "data": {"train": 1000, "size": 64},
        "hardware": {"device": "CPU", "processor": processor(), "threads": 2},
        "efficiency": {"images_per_second": 100.0, "seconds_per_epoch": 10.0, "params_total": 1e6, "peak_memory_mb": 500.0},
        "curves": {"epoch": [float(epoch) for epoch in range(1, 11)]},
        "wall_seconds": 10 * 10.0 + 10 * 4.0 + STARTUP,
    }  # fmt: skip
    return replace(Result(**values, label="short", status="complete"), **changes)


def estimate(
    runs: list[Run], images: dict[str, int | None], done: list[Result], jobs: int, threads: int | None
) -> Estimate:
    each = {run.id.variant: costs.cost(run, images[run.id.variant], done, threads) for run in runs}
    return costs.estimate(runs, each, jobs)


def test_a_longer_run_on_more_images_is_estimated_from_a_shorter_one(tmp_path: Path) -> None:
    made = planned(tmp_path)
    (run,) = [run for run in made.runs if run.id.variant == "vae"]  # 20 epochs
    found = estimate([run], {"vae": 5000}, [earlier(made, "vae")], jobs=1, threads=2)
    assert found.seconds == pytest.approx(20 * 5000 / 100 + 20 * 4 + STARTUP)
    assert found.unknown == []
    assert found.disk == pytest.approx(4e6 + 1e6)
    assert found.extra == pytest.approx(6 * 4e6)
    assert found.memory == pytest.approx(500e6)


@pytest.mark.parametrize("extends", [False, True])
def test_only_the_epochs_after_the_checkpoint_count(tmp_path: Path, extends: bool) -> None:
    """A training that was interrupted, and one that continues a shorter run."""
    made = planned(tmp_path)
    (run,) = [run for run in made.runs if run.id.variant == "vae"]  # 20 epochs
    whole = estimate([run], {"vae": 5000}, [earlier(made, "vae")], jobs=1, threads=2).seconds
    begun = tmp_path / "shorter" if extends else run.folder
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "checkpoints/last.ckpt").touch()
    (begun / "metrics.csv").write_text("epoch\n" + "".join(f"{epoch}\n" for epoch in range(1, 16)))
    left = estimate(
        [replace(run, continues=begun if extends else None)], {"vae": 5000}, [earlier(made, "vae")], jobs=1, threads=2
    )
    assert whole is not None
    assert left.seconds == pytest.approx(whole / 4)
    assert (left.disk, left.memory) == (pytest.approx(5e6), pytest.approx(500e6))


def test_jobs_divide_the_time_and_multiply_the_memory(tmp_path: Path) -> None:
    made = planned(tmp_path, seeds="3")
    done = [earlier(made, "vae"), earlier(made, "saaae")]
    one, two = (estimate(made.runs, {"vae": 1000, "saaae": 1000}, done, jobs, 2) for jobs in (1, 2))
    assert one.seconds is not None
    assert two.seconds == pytest.approx(one.seconds / 2)
    assert two.memory == pytest.approx(1000e6)
    assert one.disk == two.disk


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"configuration": {"data.init_args.image_size": 32}},
        {"hardware": {"device": "CPU", "processor": "another", "threads": 2}},
        {"hardware": {"device": "CPU", "processor": processor(), "threads": 8}},
        {"hardware": {"device": "NVIDIA H100", "processor": processor(), "threads": 2}},
        {"status": "failed"},
        {"efficiency": {"images_per_second": 100.0}},
        {"efficiency": {"images_per_second": 0.0, "seconds_per_epoch": 10.0}},
        {"variant": "saaae"},
    ],
    ids=["precision", "image size", "processor", "threads", "device", "failed", "no seconds", "no speed", "network"],
)
def test_runs_under_other_conditions_do_not_count(change: dict[str, Any], tmp_path: Path) -> None:
    change = dict(change)
    made = planned(tmp_path)
    (run,) = [run for run in made.runs if run.id.variant == "vae"]
    one = earlier(made, change.get("variant", "vae"))
    if overrides := change.pop("configuration", None):
        change["configuration"] = configuration.changed(one.configuration, overrides)
    done = [replace(one, **change)]
    found = estimate([run], {"vae": 1000}, done, jobs=1, threads=2)
    assert found.seconds is None
    assert found.unknown == ["vae"]
    if "efficiency" in change or "hardware" in change:
        assert not costs.timed(done[0], 2)


def test_an_unknown_variant_is_named_beside_the_others(tmp_path: Path) -> None:
    made = planned(tmp_path)
    found = estimate(made.runs, {"vae": 1000, "saaae": 1000}, [earlier(made, "vae")], jobs=1, threads=2)
    assert found.seconds == pytest.approx(20 * 1000 / 100 + 20 * 4 + STARTUP)
    assert found.unknown == ["saaae"]


def test_a_dry_run_estimates_what_the_run_then_takes(tmp_path: Path) -> None:
    """In a tiny run the start of the processes dominates, so the bounds are wide."""
    command = [*RUN, "--variants", "vae"]
    before = bench(*command, "--dry-run", cwd=tmp_path)
    assert "# Estimated: unknown time (vae: not run on this machine yet), 1.0 MB on disk" in before.out
    done = bench(*command, cwd=tmp_path)
    assert "Estimated: unknown time" in done.out
    after = bench(*command, "--seeds", "2,", "--dry-run", cwd=tmp_path)
    minutes, seconds = map(int, re.findall(r"# Estimated: (\d+):(\d+), ", after.out)[0])
    assert done.seconds / 3 < 60 * minutes + seconds < 2 * done.seconds + 2


def test_steps_are_timed_where_nothing_was_run(tmp_path: Path) -> None:
    command = [*RUN, "--variants", "vae,saaae", "--estimate"]
    done = bench(*command, cwd=tmp_path)
    assert done.code == 0, done.text
    assert done.err.splitlines()[-2:] == ["timing vae", "timing saaae"]
    (told,) = re.findall(r"# Estimated: (\d+:\d+), [\d.]+ MB on disk, up to .* of memory\n", done.out)
    assert told != "0:00"
    assert "attnae fit -c run.yaml" in done.out
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    done = bench(*RUN, "--variants", "vae", "--set", "model.init_args.lr=1e30", "--estimate", cwd=tmp_path)
    assert done.code == 2
    assert re.fullmatch(r"attnae-bench: error: Cannot time vae: .*not finite.*", done.err.splitlines()[-1])
