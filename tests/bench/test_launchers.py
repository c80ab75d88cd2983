"""Ways to launch runs: jobs, several devices, time limits; on tiny real runs without a cluster (see tests/cluster for one)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from attnae import result
from attnae.bench import jobs, plan
from attnae.bench.catalog import load
from attnae.bench.running.execution import DONE, Execution

PROGRAM = [sys.executable, "-m", "attnae.bench.app"]
SMALL = ("trainer.accelerator=cpu", "data.init_args.train_images=32", "data.init_args.test_images=8",
         "data.init_args.val_images=8", "data.init_args.batch_size=16")  # fmt: skip
TINY = (*SMALL, "data.init_args.image_size=16", "model.init_args.net.init_args.image_size=16",
        "model.init_args.net.init_args.channels=[4,4,4,4]", "model.init_args.net.init_args.latent_dim=8")  # fmt: skip
NARROW = (*SMALL, "data.init_args.image_size=32", "model.init_args.discriminator.init_args.width=4",
          *(f"model.init_args.net.init_args.{name}" for name in ("width=4", "latent=4", "codes=8")))  # fmt: skip


def options(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


VAE = ["run", "saaae_vs_vae", *options(*TINY), "--label", "tiny", "--variants", "vae"]
SHORT = [*VAE, *options("trainer.max_epochs=2")]
ENDLESS = [*VAE, *options("trainer.max_epochs=100000")]


def start(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    pipe = subprocess.PIPE
    return subprocess.Popen([*PROGRAM, *arguments], cwd=cwd, stdout=pipe, stderr=pipe, text=True, env=environment)


def bench(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, cwd=cwd, path=path)
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in out + err, out + err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def only(pattern: str, cwd: Path) -> Path:
    (found,) = cwd.glob(f"runs/{pattern}")
    return found


def log(run: Path) -> str:
    return (run / "log.txt").read_text(encoding="utf-8")


def test_a_run_that_another_runner_has_completed_is_left_alone(tmp_path: Path) -> None:
    """A plan may be minutes old when its last run's turn comes."""
    (run,) = plan.make(load("saaae_vs_vae"), variants="vae", out=tmp_path).runs
    done = Execution(run)
    complete = result.Result(variant="vae", seed=1, config_hash=run.config_hash)
    run.folder.mkdir(parents=True)
    result.write(complete, run.folder / "result.json")
    before = (run.folder / "result.json").read_bytes()
    done.start({})
    assert done.poll()
    assert done.stage == DONE
    assert (run.folder / "result.json").read_bytes() == before


# -- jobs of submitit's local executor ------------------------------------------------------------------------------


def test_a_job_gives_the_numbers_of_a_local_run(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    job = bench(*SHORT, "--launcher", "submitit-local", cwd=tmp_path)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "vae/seed1 complete" in job.stdout
    assert "Report: reports/saaae_vs_vae/tiny/README.md" in job.stdout
    local = bench(*SHORT, "--out", "runs/local", cwd=tmp_path)
    assert local.returncode == 0, local.stdout + local.stderr
    ours, other = (only(f"{where}saaae_vs_vae/tiny/vae/seed1-*", tmp_path) for where in ("", "local/"))
    assert (ours / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()
    first, second = (result.read_result(run / "result.json") for run in (ours, other))
    assert first.metrics == second.metrics
    assert first.hardware == second.hardware
    assert first.config_hash == second.config_hash


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds the job's process in /proc")
def test_a_preempted_job_stops_and_goes_on_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    arguments = [*VAE, *options("trainer.max_epochs=150"), "--launcher", "submitit-local"]
    process = start(*arguments, cwd=tmp_path)
    wait_for_checkpoint(tmp_path, process)
    os.kill(submission(tmp_path), signal.SIGUSR2)  # as SLURM does before it takes a machine away
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    run = only("saaae_vs_vae/tiny/vae/seed1-*", tmp_path)
    before, after = log(run).split("--ckpt_path", 1)
    assert "epoch 1/150 " in before
    assert "epoch 1/150 " not in after
    assert len(result.read_result(run / "result.json").curves["epoch"]) > 10


@pytest.mark.slow
def test_ctrl_c_ends_jobs_in_order(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    process = start(*ENDLESS, "--launcher", "submitit-local", cwd=tmp_path)
    wait_for_checkpoint(tmp_path, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "0 of 1 runs are complete" in out
    run = only("saaae_vs_vae/tiny/vae/seed1-*", tmp_path)
    assert not (run / "result.json").exists()
    before = log(run)
    time.sleep(1)
    assert log(run) == before  # nobody trains any more


def wait_for_checkpoint(cwd: Path, process: subprocess.Popen[str]) -> None:
    patience = time.monotonic() + 120
    while not list(cwd.glob("runs/*/*/*/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.05)


def submission(cwd: Path) -> int:
    """Process of the job, which executes the run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"submitit.core._submit" in words and str(cwd).encode() in b" ".join(words):
            found.append(int(path.parent.name))
    assert len(found) == 1
    return found[0]


# -- SLURM, as far as it goes without one ---------------------------------------------------------------------------


def test_dry_run_needs_no_slurm(tmp_path: Path) -> None:
    arguments = [
        "--launcher",
        "slurm",
        "--devices",
        "2",
        "--nodes",
        "3",
        "--slurm-option",
        "partition=gpu",
        "--dry-run",
    ]
    done = bench("run", "saaae_vs_vae", "--profile", "paper", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    fit, test = [line for line in done.stdout.splitlines() if not line.startswith("#")][:2]
    assert "--trainer.devices=2 --trainer.num_nodes=3" in fit
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
def test_wrong_usage_is_one_line(arguments: list[str], culprits: list[str], tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    done = bench(*SHORT, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    for culprit in culprits:
        assert culprit in line
    assert not list(tmp_path.rglob("log.txt"))


def test_too_few_gpus_are_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    arguments = [word for word in SHORT if word != "trainer.accelerator=cpu"]
    arguments.remove("--set")
    done = bench(*arguments, "--jobs", "2", "--devices", "2", cwd=tmp_path)
    assert done.returncode == 2
    assert "needs 4 GPUs, but 3 can be seen" in done.stderr
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
    """Folder of programs that are called like SLURM's: sbatch keeps the script, squeue tells what ``queue`` holds."""
    here = tmp_path / "bin"
    here.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", SQUEUE)):
        (here / name).write_text(text.format(here=here))
        (here / name).chmod(0o755)
    (here / "queue").write_text("")
    return here


def test_what_is_queued_or_running_is_not_submitted_again(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    arguments = [*SHORT, "--seeds", "2", "--launcher", "slurm", "--jobs", "1", "--slurm-option", "partition=gpu"]
    arguments += ["--slurm-option", "reservation=lab"]
    done = bench(*arguments, cwd=tmp_path, path=slurm)
    assert done.returncode == 0, done.stderr
    assert "Submitted 2 runs as 12_0, 12_1" in done.stdout
    assert "attnae-bench status runs/saaae_vs_vae/tiny" in done.stdout
    script = (slurm / "script").read_text()
    for line in ("--partition=gpu", "--reservation=lab", "--requeue", "--time=240", "--array=0-1%1"):
        assert f"#SBATCH {line}\n" in script

    (slurm / "queue").write_text("12_0 RUNNING\n12_1 PENDING\n")
    said = bench("status", cwd=tmp_path, path=slurm).stdout
    assert [line.split()[1:4] for line in said.splitlines()[1:]] == [
        ["running", "job", "12_0,"],
        ["queued", "job", "12_1,"],
    ]
    again = bench(*arguments, cwd=tmp_path, path=slurm)
    assert "2 runs are queued or running already" in again.stdout
    assert "Submitted" not in again.stdout

    (slurm / "queue").write_text("12_0 RUNNING\n12_1 COMPLETING\n")
    assert "its job 12_1 is over" in bench("status", cwd=tmp_path, path=slurm).stdout
    assert "Submitted 1 run" in bench(*arguments, cwd=tmp_path, path=slurm).stdout


def test_a_slurm_that_does_not_answer_gets_no_second_job(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    arguments = [*SHORT, "--launcher", "slurm"]
    assert bench(*arguments, cwd=tmp_path, path=slurm).returncode == 0
    (slurm / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    again = bench(*arguments, cwd=tmp_path, path=slurm)
    assert again.returncode == 2
    assert "Unable to contact slurm controller" in again.stderr


def test_what_sbatch_refuses_is_said(slurm: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
    done = bench(*SHORT, "--launcher", "slurm", "--slurm-option", "partition=gpu", cwd=tmp_path, path=slurm)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]  # sbatch's own words come first
    assert last == "attnae-bench: error: SLURM did not take the jobs: sbatch: error: invalid partition specified: gpu"


def test_another_machine_sees_that_a_run_was_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.note(tmp_path, "7_1")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert jobs.alive([tmp_path, tmp_path / "other"]) == {tmp_path: jobs.Job("7_1", "submitted")}


# -- time limit and failures ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_takes_too_long_has_failed_and_can_go_on(tmp_path: Path) -> None:
    done = bench(*ENDLESS, "--timeout", "0.5", cwd=tmp_path)
    assert done.returncode == 1
    run = only("saaae_vs_vae/tiny/vae/seed1-*", tmp_path)
    assert result.read_result(run / "result.json").reason == "timed out after 0.5 minutes"
    assert "timed out after 0.5 minutes" in done.stdout
    assert (run / "checkpoints/last.ckpt").exists()
    tail = [line for line in done.stdout.splitlines() if line.startswith("  | ")]
    assert 1 <= len(tail) <= 5
    assert bench(*ENDLESS, "--timeout", "0.3", "--retry-failed", cwd=tmp_path).returncode == 1
    assert "--ckpt_path" in log(run)


def test_a_failure_shows_the_end_of_its_log(tmp_path: Path) -> None:
    done = bench(*SHORT, *options("model.init_args.lr=-1"), cwd=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("  log: runs/"))
    assert lines[place - 1].startswith("vae/seed1 failed: ")
    tail = [line for line in lines[place + 1 :] if line.startswith("  | ")]
    assert 1 <= len(tail) <= 5
    assert "lr" in tail[-1]


# -- several devices ------------------------------------------------------------------------------------------------


def test_devices_are_in_the_label_and_the_hash() -> None:
    benchmark = load("moe_denoising")
    one, two = plan.make(benchmark), plan.make(benchmark, devices=2)
    assert (one.label, two.label) == ("quick", "quick-devices=2")
    assert not {run.config_hash for run in one.runs} & {run.config_hash for run in two.runs}
    assert one.hashes == plan.make(benchmark, devices=1, nodes=1).hashes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "variant", "settings"),
    [
        ("moe_denoising", "moe", SMALL),
        ("saaae_vs_vae", "saaae", TINY),
        ("attentive_vqvae", "ah", NARROW),
    ],
)
def test_two_processes_train_one_run_and_one_tests_it(
    benchmark: str, variant: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    """The batch stays what it was: each process takes half of it."""
    shrunk = options(*settings, "trainer.max_epochs=2")
    done = bench("run", benchmark, *shrunk, "--variants", variant, "--devices", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = only(f"{benchmark}/*/{variant}/seed1-*", tmp_path)
    fit, test = log(run).split("$ attnae test")
    assert "MEMBER: 2/2" in fit
    assert "MEMBER" not in test
    found = result.read_result(run / "result.json")
    assert found.hardware["devices"] == 2
    assert found.metrics["heldout/images"] == 8
    assert "--trainer.devices=2" in found.commands[0]
    assert "--trainer.devices 1" in found.commands[1]
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert config["data"]["init_args"]["batch_size"] == 16  # as stated: a repetition divides it once more
    assert config["trainer"]["strategy"] == "ddp_find_unused_parameters_true"


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    done = bench(*SHORT, *options("data.init_args.batch_size=15"), "--devices", "2", cwd=tmp_path)
    assert done.returncode == 1
    assert "A batch of 15 images cannot be shared by 2 devices" in done.stdout


# -- what the runner itself costs -----------------------------------------------------------------------------------


def test_a_heartbeat_tells_speed(tmp_path: Path) -> None:
    process = start(*ENDLESS, cwd=tmp_path)
    try:
        wait_for_checkpoint(tmp_path, process)
        beat = json.loads((only("saaae_vs_vae/tiny/vae/seed1-*", tmp_path) / "progress.json").read_text())
        assert beat["images_per_second"] > 0
        assert beat["seconds"] > 0
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
