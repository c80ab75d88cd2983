"""Runs that are interrupted, killed, timed out or locked by another runner, and how they resume."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from tiny_benchmark import (
    ENDLESS,
    RUN,
    bench,
    ended,
    equal,
    folder,
    log,
    options,
    readme,
    start,
    table,
    training,
    wait_for_an_epoch,
)

from attnae import result
from attnae.bench import plan
from attnae.bench.app import main
from attnae.bench.catalog import load
from attnae.bench.request import Request
from attnae.bench.running.execution import DONE, FAILED, Execution, _set_aside

LONG = [*RUN, "--jobs", "2", *options("trainer.max_epochs=60")]
"""Enough epochs to interrupt the run: a few seconds."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run, the reference for interrupted runs."""
    cwd = tmp_path_factory.mktemp("uninterrupted")
    done = bench(*LONG, "--variants", "vae", cwd=cwd)
    assert done.code == 0, done.text
    return folder(cwd, "vae")


def test_terminated_report_leaves_no_partial_files(uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted.parents[3], tmp_path / "runs")
    process = start("report", cwd=tmp_path)
    partial = lambda: list(tmp_path.glob("reports/**/.*.png"))  # noqa: E731
    while not partial() and process.poll() is None:
        time.sleep(0.001)
    process.terminate()
    done = ended(process)
    assert done.code == 128 + signal.SIGTERM, done.text
    assert done.err == ""
    assert not partial()
    assert bench("report", cwd=tmp_path).code == 0


@pytest.mark.parametrize(("end", "code"), [("SystemExit(143)", 143), ("KeyboardInterrupt()", 130), ("ValueError()", 1)])
def test_a_signal_while_a_native_module_loads_has_its_exit_code(end: str, code: int) -> None:
    script = f"""
from attnae.streams import run

def main():
    try:
        raise {end}
    except BaseException as error:
        raise ImportError("initialization failed") from error

run("attnae", main)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert ("Traceback" in done.stderr) == (code == 1), done.stderr


@pytest.mark.slow
def test_interrupted_run_resumes(uninterrupted: Path, tmp_path: Path) -> None:
    process = start(*LONG, "--variants", "vae", cwd=tmp_path)
    wait_for_an_epoch(process, tmp_path)
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 130, done.text
    assert done.err == ""
    (line,) = [line for line in done.out.splitlines() if line.startswith("Stopped.")]
    assert "0 of 1 runs are complete" in line
    run = folder(tmp_path, "vae")
    assert not (run / "result.json").exists()
    status = bench("status", cwd=tmp_path)
    assert "interrupted" in status.out

    again = bench(*LONG, "--variants", "vae", cwd=tmp_path)
    assert again.code == 0, again.text
    before, after = log(run).split("--ckpt_path", 1)
    assert "epoch 1/60 " in before
    assert "epoch 1/60 " not in after
    equal(run, uninterrupted)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds the child in /proc")
def test_killed_training_is_reported_as_failed_and_can_be_retried(uninterrupted: Path, tmp_path: Path) -> None:
    process = start(*LONG, "--variants", "vae,saaae", cwd=tmp_path)
    wait_for_an_epoch(process, tmp_path)
    os.kill(training(process, "vae/seed1"), signal.SIGKILL)
    done = ended(process)
    assert done.code == 1, done.text
    assert "SIGKILL" in done.out
    assert "--retry-failed" in done.out
    killed, other = (result.read_result(folder(tmp_path, name) / "result.json") for name in ("vae", "saaae"))
    assert (killed.status, other.status) == ("failed", "complete")
    assert "SIGKILL" in killed.reason
    assert "1 of 2 runs complete" in readme(tmp_path)
    assert table(readme(tmp_path), "Failed runs")[1][:2] == ["vae", "1"]

    still = bench(*LONG, "--variants", "vae,saaae", cwd=tmp_path)
    assert still.code == 1  # failed runs are not retried by default
    before = (folder(tmp_path, "saaae") / "result.json").stat().st_mtime_ns
    repaired = bench(*LONG, "--variants", "vae,saaae", "--retry-failed", cwd=tmp_path)
    assert repaired.code == 0, repaired.text
    assert "--ckpt_path" in log(folder(tmp_path, "vae"))
    assert "Failed runs" not in readme(tmp_path)
    assert (folder(tmp_path, "saaae") / "result.json").stat().st_mtime_ns == before
    equal(folder(tmp_path, "vae"), uninterrupted)


def test_run_locked_by_another_runner_is_skipped(tmp_path: Path) -> None:
    arguments = [*LONG, "--variants", "vae"]
    planned = bench(*arguments, "--dry-run", cwd=tmp_path).out.splitlines()[0]
    run = tmp_path / planned.rsplit(" ", 1)[1]
    run.mkdir(parents=True)
    with FileLock(run / ".lock"):
        done = bench(*arguments, cwd=tmp_path)
    assert done.code == 1
    assert "locked by another runner" in done.text
    assert not (run / "log.txt").exists()


def test_run_completed_by_another_runner_is_skipped(tmp_path: Path) -> None:
    """The last run of a plan may start long after the plan was made."""
    (run,) = plan.make(Request(load("saaae_vs_vae"), variants="vae", out=tmp_path)).runs
    done = Execution(run)
    complete = result.Result(**run.id.stated())
    run.folder.mkdir(parents=True)
    result.write(complete, run.folder / "result.json")
    before = (run.folder / "result.json").read_bytes()
    done.start({})
    assert done.poll()
    assert done.stage == DONE
    assert (run.folder / "result.json").read_bytes() == before


def test_result_of_a_newer_version_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = plan.make(Request(load("saaae_vs_vae"), variants="vae", out=tmp_path)).runs
    run.folder.mkdir(parents=True)
    record = run.folder / "result.json"
    record.write_text('{"version": 99}')
    late = Execution(run)  # written after the plan was made
    late.start({})
    assert (late.stage, record.read_text()) == (FAILED, '{"version": 99}')
    places = ["--out", str(tmp_path), "--reports", str(tmp_path / "reports")]
    assert main(["run", "saaae_vs_vae", "--variants", "vae", *places, "--timeout", "0.01"]) == 2
    assert "result.json has format 99" in (said := capsys.readouterr().err)
    assert "Update attnae" in said
    assert record.read_text() == '{"version": 99}'


def test_a_result_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    """As when the disk fails for a moment; another training would replace it."""
    (run,) = plan.make(Request(load("saaae_vs_vae"), variants="vae", out=tmp_path)).runs
    (run.folder / "result.json").mkdir(parents=True)
    late = Execution(run)
    late.start({})
    assert late.stage == FAILED
    assert "result.json" in late.reason
    assert (run.folder / "result.json").is_dir()


@pytest.mark.parametrize("state", ["of another run", "damaged", "failed"])
def test_results_in_the_way_are_set_aside_with_their_weights(state: str, tmp_path: Path) -> None:
    record = tmp_path / "result.json"
    identity = {"benchmark": "b", "label": "l", "profile": "p", "variant": "v", "seed": 1}
    result.write(result.Result(**identity, status="failed" if state == "failed" else "complete"), record)
    if state == "damaged":
        record.write_text("{")
    for name in ("weights.safetensors", "per_image.npz"):
        (tmp_path / name).write_text(name)
    _set_aside(record)
    names = {re.sub(r"-\d+", "-N", path.name) for path in tmp_path.iterdir()}
    assert (
        names
        == {
            "of another run": {"result-N.json", "weights-N.safetensors", "per_image-N.npz"},
            "damaged": {"result-N.json", "weights.safetensors", "per_image.npz"},  # to be tested again
            "failed": {"weights.safetensors", "per_image.npz"},
        }[state]
    )


@pytest.mark.slow
def test_timed_out_run_fails_and_resumes(tmp_path: Path) -> None:
    done = bench(*ENDLESS, "--timeout", "0.4", cwd=tmp_path)
    assert done.code == 1
    run = folder(tmp_path, "vae")
    assert result.read_result(run / "result.json").reason == "timed out after 0.4 minutes"
    assert "timed out after 0.4 minutes" in done.out
    assert (run / "checkpoints/last.ckpt").exists()
    tail = [line for line in done.out.splitlines() if line.startswith("  | ")]
    assert 1 <= len(tail) <= 5
    assert bench(*ENDLESS, "--timeout", "0.1", "--retry-failed", cwd=tmp_path).code == 1
    assert "--ckpt_path" in log(run)


def test_heartbeat_reports_speed(tmp_path: Path) -> None:
    process = start(*ENDLESS, cwd=tmp_path)
    try:
        wait_for_an_epoch(process, tmp_path)
        beat = json.loads((folder(tmp_path, "vae") / "progress.json").read_text())
        assert beat["images_per_second"] > 0
        assert beat["seconds"] > 0
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
