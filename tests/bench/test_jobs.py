"""Runs as submitit jobs on this machine, and SLURM submission with fake commands (tests/cluster uses a real SLURM)."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_benchmark import ENDLESS, RUN, TINY, bench, ended, folder, log, options, start, wait_for_an_epoch

from attnae import result
from attnae.bench import jobs, plan
from attnae.bench.app import main
from attnae.bench.catalog import load
from attnae.bench.identity import RunId
from attnae.bench.request import Request
from attnae.bench.running import cluster

SHORT = [*RUN, "--variants", "vae", *options("trainer.max_epochs=2")]


# -- submitit's local executor ------------------------------------------------------------------------------------


def test_job_gives_same_numbers_as_local_run(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    job = bench(*SHORT, "--launcher", "submitit-local", cwd=tmp_path)
    assert job.code == 0, job.text
    assert "vae/seed1 complete" in job.out
    assert "Report: reports/saaae_vs_vae/tiny/README.md" in job.out
    local = bench(*SHORT, "--out", "local/runs", cwd=tmp_path)
    assert local.code == 0, local.text
    ours, other = (folder(place, "vae") for place in (tmp_path, tmp_path / "local"))
    assert (ours / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    first, second = (result.read_result(run / "result.json") for run in (ours, other))
    assert first.metrics == second.metrics
    assert first.hardware == second.hardware
    assert RunId.of(first) == RunId.of(second)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds the job's process in /proc")
def test_preempted_job_stops_and_resumes_automatically(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    arguments = [*RUN, "--variants", "vae", *options("trainer.max_epochs=60"), "--launcher", "submitit-local"]
    process = start(*arguments, cwd=tmp_path)
    wait_for_an_epoch(process, tmp_path)
    os.kill(submission(tmp_path), signal.SIGUSR2)  # as SLURM does before preemption
    done = ended(process)
    assert done.code == 0, done.text
    run = folder(tmp_path, "vae")
    before, after = log(run).split("--ckpt_path", 1)
    assert "epoch 1/60 " in before
    assert "epoch 1/60 " not in after
    assert len(result.read_result(run / "result.json").curves["epoch"]) > 10


@pytest.mark.slow
def test_ctrl_c_stops_jobs_cleanly(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    process = start(*ENDLESS, "--launcher", "submitit-local", cwd=tmp_path)
    wait_for_an_epoch(process, tmp_path)
    process.send_signal(signal.SIGINT)
    done = ended(process, patience=60)
    assert done.code == 130
    assert "0 of 1 runs are complete" in done.out
    run = folder(tmp_path, "vae")
    assert not (run / "result.json").exists()
    before = log(run)
    time.sleep(1)
    assert log(run) == before  # training has stopped


def submission(cwd: Path) -> int:
    """PID of the job process that executes the run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # the process has ended
            continue
        if b"submitit.core._submit" in words and str(cwd).encode() in b" ".join(words):
            found.append(int(path.parent.name))
    assert len(found) == 1
    return found[0]


# -- SLURM with fake commands --------------------------------------------------------------------------------------


def test_dry_run_needs_no_slurm(tmp_path: Path) -> None:
    arguments = [
        "--launcher",
        "slurm",
        "--devices",
        "2",
        "--nodes",
        "4",
        "--slurm-option",
        "partition=gpu",
        "--dry-run",
    ]
    done = bench("run", "saaae_vs_vae", "--profile", "paper", *arguments, cwd=tmp_path)
    assert done.code == 0, done.err
    assert list(tmp_path.iterdir()) == []
    _, fit, test = [line for line in done.out.splitlines() if not line.startswith("#")][:3]
    assert "--trainer.devices=2 --trainer.num_nodes=4" in fit
    assert test.endswith("--trainer.devices 1 --trainer.num_nodes 1 --trainer.strategy auto")


@pytest.mark.parametrize(
    ("arguments", "culprits"),
    [
        (["--nodes", "2"], ["--nodes", "--launcher slurm"]),
        (["--slurm-option", "partition=gpu"], ["--slurm-option", "--launcher slurm"]),
        (["--launcher", "slurm", "--slurm-option", "partition"], ["'partition'", "key=value"]),
        (["--launcher", "slurm", "--slurm-option", "time=1:00:00"], ["'time=1:00:00'", "minutes"]),
        (["--launcher", "torque"], ["torque", "slurm"]),
        (["--timeout", "0"], ["'0'"]),
        (["--timeout", "soon"], ["'soon'"]),
        (["--devices", "0"], ["'0'"]),
        (["--set", "trainer.devices=2"], ["--devices"]),
        (["--set", "trainer.num_nodes=2"], ["--nodes"]),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_usage_errors_are_one_line(arguments: list[str], culprits: list[str], tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    done = bench(*SHORT, *arguments, cwd=tmp_path)
    assert done.code == 2
    (line,) = done.err.splitlines()
    for culprit in culprits:
        assert culprit in line
    assert not list(tmp_path.rglob("log.txt"))


SBATCH = """#!/bin/sh
cp "$1" {here}/script
echo "Submitted batch job 12"
"""

SQUEUE = """#!/bin/sh
cat {here}/queue
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """Folder with fake SLURM commands: sbatch saves the script, squeue prints the file ``queue``."""
    here = tmp_path / "bin"
    here.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", SQUEUE)):
        (here / name).write_text(text.format(here=here))
        (here / name).chmod(0o755)
    (here / "queue").write_text("")
    return here


def test_queued_and_running_jobs_are_not_resubmitted(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    arguments = [*SHORT, "--seeds", "2", "--launcher", "slurm", "--jobs", "1", "--slurm-option", "partition=gpu"]
    arguments += ["--slurm-option", "reservation=lab"]
    done = bench(*arguments, cwd=tmp_path, path=slurm)
    assert done.code == 0, done.err
    assert "Submitted 2 runs as 12_0, 12_1" in done.out
    assert "attnae-bench status runs/saaae_vs_vae/tiny" in done.out
    script = (slurm / "script").read_text()
    for line in ("--partition=gpu", "--reservation=lab", "--requeue", "--time=240", "--array=0-1%1"):
        assert f"#SBATCH {line}\n" in script

    (slurm / "queue").write_text("12_0 RUNNING\n12_1 PENDING\n")
    said = bench("status", cwd=tmp_path, path=slurm).out
    assert [line.split()[1:4] for line in said.splitlines()[1:]] == [
        ["running", "job", "12_0,"],
        ["queued", "job", "12_1,"],
    ]
    again = bench(*arguments, cwd=tmp_path, path=slurm)
    assert "2 runs are already queued or running" in again.out
    assert "Submitted" not in again.out

    (slurm / "queue").write_text("12_0 RUNNING\n12_1 COMPLETING\n")
    assert "job 12_1 ended" in bench("status", cwd=tmp_path, path=slurm).out
    assert "Submitted 1 run" in bench(*arguments, cwd=tmp_path, path=slurm).out


def test_decoding_is_the_first_job(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("ATTNAE_CACHE", str(tmp_path / "cache"))  # an empty cache: no decoded images
    monkeypatch.setenv("PATH", f"{slurm}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (slurm / "sbatch").write_text(SBATCH.format(here=slurm).replace('cp "$1" ', 'cat "$1" >> '))
    arguments = [*SHORT, "--launcher", "slurm"]
    assert main(arguments) == 0
    decoding, array = (slurm / "script").read_text().split("#!/bin/bash")[1:]
    assert "--array" not in decoding
    assert "#SBATCH --dependency=afterok:12\n" in array
    run = folder(tmp_path, "vae")
    assert run.name.endswith("-????????")
    (slurm / "queue").write_text("12 PENDING\n")
    capsys.readouterr()
    assert main(arguments) == 0
    assert "1 run is already queued or running" in capsys.readouterr().out

    request = Request(load("saaae_vs_vae"), variants="vae", overrides=list(TINY), label="tiny", out=tmp_path / "runs")
    (before,) = plan.make(replace(request, decode=False)).runs
    (after,) = plan.make(request).runs
    assert (before.folder.resolve(), after.undecoded.resolve()) == (
        run.parent / before.id.folder,
        run.parent / before.id.folder,
    )
    jobs.note(before.folder, "12_0")
    assert cluster.Task(before, None, {}, request)._planned(request) == after
    assert not before.folder.exists()
    assert jobs.noted(after.folder) == "12_0"


def test_nothing_is_submitted_if_squeue_fails(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    arguments = [*SHORT, "--launcher", "slurm"]
    assert bench(*arguments, cwd=tmp_path, path=slurm).code == 0
    (slurm / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    again = bench(*arguments, cwd=tmp_path, path=slurm)
    assert again.code == 2
    assert "Unable to contact slurm controller" in again.err


def test_sbatch_error_is_reported(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
    done = bench(*SHORT, "--launcher", "slurm", "--slurm-option", "partition=gpu", cwd=tmp_path, path=slurm)
    assert done.code == 2
    last = done.err.splitlines()[-1]  # after the output of sbatch
    assert last == "attnae-bench: error: SLURM rejected the jobs: sbatch: error: invalid partition specified: gpu"


def test_machine_without_slurm_shows_submitted_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.note(tmp_path, "7_1")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert jobs.alive([tmp_path, tmp_path / "other"]) == {tmp_path: jobs.Job("7_1", "submitted")}
