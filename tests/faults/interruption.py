"""Processes killed at any moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from harness import (
    SMALL,
    VARIANT,
    Tally,
    at_work_in,
    background,
    bench,
    fault,
    folder_of,
    run_arguments,
    same_run,
    scratch,
    trainings,
    wait_until,
    whole,
)

EPOCHS = {"saaae_vs_vae": 60, "attentive_vqvae": 30, "moe_denoising": 16}
"""A run long enough to be killed several times."""

PATIENCE = 300.0
"""Seconds for what takes a few where nothing else runs."""

CACHE, EPOCH, CHECKPOINT, BETWEEN, REPORT = (
    "a cache build", "an epoch", "a checkpoint", "between fit and test", "a report"
)  # fmt: skip
RUNNER, TRAINING = "runner", "training"

KILLS = [
    (CACHE, signal.SIGKILL, RUNNER),
    (CHECKPOINT, signal.SIGKILL, TRAINING),
    (BETWEEN, signal.SIGKILL, RUNNER),
    (CACHE, signal.SIGTERM, TRAINING),
    (EPOCH, signal.SIGINT, RUNNER),
    (EPOCH, signal.SIGKILL, RUNNER),
    (CHECKPOINT, signal.SIGTERM, RUNNER),
    (EPOCH, signal.SIGINT, TRAINING),
    (BETWEEN, signal.SIGTERM, TRAINING),
    (REPORT, signal.SIGKILL, RUNNER),
]
"""When, by what, and who. Those that come later in a run come later here, but for the second cache build."""

ORDER = (CACHE, EPOCH, CHECKPOINT, BETWEEN, REPORT)


def moment(when: str, cwd: Path, benchmark: str) -> Callable[[], bool]:
    """Whether it has come, from what can be seen outside."""
    run = f"runs/{benchmark}/tiny/{VARIANT[benchmark]}/seed*"
    began = time.time()

    def rows() -> int:
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in cwd.glob(f"{run}/metrics.csv"))

    before = rows()
    return {
        CACHE: lambda: any(cwd.glob("cache/.*.part")),
        EPOCH: lambda: rows() > before + 1 and any(cwd.glob(f"{run}/checkpoints/last.ckpt")),
        CHECKPOINT: lambda: any(cwd.glob(f"{run}/checkpoints/.last.ckpt.*")) or rows() > before + 4,
        BETWEEN: lambda: any(cwd.glob(f"{run}/fit.json")),
        REPORT: lambda: any(p.stat().st_mtime > began for p in cwd.glob(f"reports/{benchmark}/tiny/figures")),
    }[when]


def kill(cwd: Path, benchmark: str, when: str, number: signal.Signals, who: str, delay: float) -> None:
    """Starts the command, kills it at a given moment, and checks what it left behind."""
    process = background(*run_arguments(benchmark, EPOCHS[benchmark]), "--retry-failed", cwd=cwd)
    try:
        come = moment(when, cwd, benchmark)
        assert wait_until(lambda: come() or process.poll() is not None, interval=0.002), "the moment did not come"
        assert process.poll() is None, f"over before {when}: {process.communicate()[0][-300:]}"
        if who == TRAINING:
            assert wait_until(lambda: trainings(process.pid) or process.poll() is not None), "no training"
        time.sleep(delay)
        for target in [process.pid] if who == RUNNER else trainings(process.pid):
            os.kill(target, number)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert "Traceback" not in out + err, (out + err)[-600:]
    assert process.returncode != 0, f"nothing was killed: {out[:300]}"
    assert wait_until(lambda: not at_work_in(cwd), PATIENCE), f"left behind: {at_work_in(cwd)}"
    for run in cwd.glob(f"runs/{benchmark}/tiny/*/seed*"):
        whole(run)


def campaign(tally: Tally, benchmark: str, kills: list[tuple[str, signal.Signals, str]], folder: Path) -> None:
    """Compares a run that was killed repeatedly and resumed with an uninterrupted run."""
    calm, cwd = scratch(folder), scratch(folder)
    command = run_arguments(benchmark, EPOCHS[benchmark])
    done = bench(*command, cwd=calm)
    assert done.code == 0, done.text
    chance = random.Random(1)
    for when, number, who in sorted(kills, key=lambda each: ORDER.index(each[0])):
        with tally.attempt(f"{benchmark}, {number.name} to the {who} in {when}"):
            if when == CACHE:
                shutil.rmtree(cwd / "cache", ignore_errors=True)
            kill(cwd, benchmark, when, number, who, chance.uniform(0, 0.3) if when in (EPOCH, BETWEEN) else 0)
    with tally.attempt(f"{benchmark}, after {len(kills)} kills", counts=False):
        complete = {path: path.stat().st_mtime_ns for path in cwd.glob("runs/*/tiny/*/*/result.json")}
        done = bench(*command, "--retry-failed", cwd=cwd)
        assert done.code == 0, done.text
        if REPORT in (when for when, _, _ in kills):  # what was killed last was the report of a complete run
            assert "1 already complete" in done.out
            assert all(path.stat().st_mtime_ns == then for path, then in complete.items()), "done once more"
        same_run(folder_of(calm, benchmark), folder_of(cwd, benchmark))
        weights = folder_of(cwd, benchmark) / "weights.safetensors"
        when_made = weights.stat().st_mtime_ns
        again = bench(*command, cwd=cwd)
        assert again.code == 0, again.text
        assert "1 already complete" in again.out
        assert weights.stat().st_mtime_ns == when_made, "a finished run was repeated"
        litter = [path for path in folder_of(cwd, benchmark).rglob(".*") if path.name != ".lock"]
        assert not litter, f"left behind: {[path.name for path in litter]}"


@fault(
    "Killed",
    "SIGKILL, SIGTERM or SIGINT to the runner or its training, in a cache build, an epoch, a checkpoint, between fit and "
    "test, and in a report; one benchmark per paper",
    "No processes or partial files are left; the next `run` resumes and ends with the same weights, metrics and curves as "
    "an uninterrupted run, bit for bit; a finished run is not repeated",
    short=3,
    long=30,
)
def killed(tally: Tally, times: int, folder: Path) -> None:
    each, benchmarks = (times, ["saaae_vs_vae"]) if times < len(KILLS) else (times // len(SMALL), list(SMALL))
    for benchmark in benchmarks:
        campaign(tally, benchmark, KILLS[:each], folder / benchmark)


@fault(
    "Two at once",
    "A second runner with the same two runs, started while the first is running",
    "Each run is executed once; the second executes unlocked runs and names the process and machine that lock the others",
    short=0,
    long=1,
)
def two_at_once(tally: Tally, times: int, folder: Path) -> None:
    for _ in range(times):
        two_runners(tally, scratch(folder))


def two_runners(tally: Tally, cwd: Path) -> None:
    with tally.attempt("two runners"):
        command = [*run_arguments("saaae_vs_vae", 30), "--seeds", "2", "--jobs", "1"]
        first = background(*command, cwd=cwd)
        assert wait_until(lambda: any(cwd.glob("runs/**/log.txt"))), "the first did not start"
        second: subprocess.Popen[str] = background(*command, cwd=cwd)
        told = [process.communicate(timeout=600) for process in (first, second)]
        assert "Traceback" not in str(told), told
        logs = [path.read_text(encoding="utf-8") for path in cwd.glob("runs/**/log.txt")]
        assert len(logs) == 2
        assert all(log.count("$ attnae fit") == log.count("$ attnae test") == 1 for log in logs), "executed twice"
        assert f"locked by another runner (process {first.pid} on" in told[1][0], told[1]
        for run in cwd.glob("runs/saaae_vs_vae/tiny/vae/seed*"):
            whole(run)
        done = bench(*command, cwd=cwd)
        assert done.code == 0, done.text
        assert "2 already complete" in done.out
