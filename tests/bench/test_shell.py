"""``show``, ``doctor``, ``clean`` and completion, through the public command."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from bash import completed
from filelock import FileLock
from rich.console import Console

from attnae import cli, result
from attnae.bench import catalog, plan, store
from attnae.bench.app import main
from attnae.bench.commands import doctor
from attnae.bench.estimate import STARTUP
from attnae.bench.request import Request
from attnae.bench.running.launch import duration
from attnae.bench.running.resources import cores
from attnae.data.cache_folder import wanted_folder
from attnae.result import Result, processor


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate working folder and home, without accounts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def finished(
    folder: Path, variant: str, seed: int = 1, status: str = "complete", profile: str = "quick", **data: str
) -> Path:
    run = folder / "saaae_vs_vae" / profile / variant / f"seed{seed}-0123abcd"
    one = Result(
        benchmark="saaae_vs_vae",
        label=profile,
        profile=profile,
        variant=variant,
        seed=seed,
        status=status,
        reason="no [luck]" if status == "failed" else "",
        metrics={"heldout/sse": 1.0},
        efficiency={"seconds_per_epoch": 15.0, "params_total": 25e6},
        data={"kind": "embedded", "title": "embedded photos", "train": 500, **data},
        hardware={"device": "CPU", "processor": "a processor", "threads": 2},
    )
    result.write(one, run / "result.json")
    (run / "log.txt").write_text("x" * 1000)
    return run


# -- show ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalog.names())
def test_show_prints_variants_profiles_and_claims(
    name: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", name]) == 0
    out, benchmark = capsys.readouterr().out, catalog.load(name)
    for text in (
        benchmark.title,
        *benchmark.variants,
        *benchmark.profiles,
        *(claim.claim for claim in benchmark.claims),
    ):
        assert text in out
    assert "Times are unknown: no finished runs in runs with as many threads" in out


def test_show_estimates_time_and_disk_from_finished_runs(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of other epochs, from the speed of a run; never from a run of another processor."""
    made = plan.make(Request(catalog.load("saaae_vs_vae"), "quick", "vae,saaae", dry=True))
    (run,) = [run for run in made.runs if run.id.variant == "vae"]
    images = made.images["vae"] or 100  # counted where they were decoded before
    for variant, machine in (("vae", processor()), ("saaae", "another processor")):
        one = next(one.id for one in made.runs if one.id.variant == variant)
        values = one.stated() | {
            "data": {"kind": "embedded", "title": "embedded photos", "train": 100, "size": 64},
            "hardware": {"device": "CPU", "processor": machine, "threads": cores()},
            "efficiency": {"images_per_second": 10.0, "seconds_per_epoch": 10.0, "params_total": 25e6},
            "curves": {"epoch": [1.0]},
            "wall_seconds": 10.0 + STARTUP,
        }
        result.write(Result(**values, label="x", status="complete"), elsewhere / "mine" / variant / "result.json")
    assert main(["show", "saaae_vs_vae", "--out", "mine"]) == 0
    out = capsys.readouterr().out
    assert f"{run.epochs} epochs, {duration(run.epochs * images / 10 + STARTUP)}, 25M" in out
    assert f"{run.epochs} epochs, 25M" in out  # saaae
    assert "default variants, one seed: unknown time, 202.0 MB on disk, plus up to 600.0 MB during training" in out
    assert "finished runs in mine with as many threads as a run will have: 1 so far" in out


def test_show_unknown_benchmark(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "moe_denoisin"]) == 2
    assert "Did you mean moe_denoising?" in capsys.readouterr().err


# -- doctor --------------------------------------------------------------------------------------------------------


def test_doctor_finds_this_machine_ready(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / "data" / "cifar10" / "cifar-10-batches-py").mkdir(parents=True)
    for name in ("data_batch_1", "test_batch"):
        (elsewhere / "data" / "cifar10" / "cifar-10-batches-py" / name).touch()
    for split in ("train", "test"):
        (elsewhere / "data" / "faces" / split).mkdir(parents=True)
        (elsewhere / "data" / "faces" / split / "a.png").touch()
    assert main(["doctor"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"torch {metadata.version('torch')}" in out
    assert "data/cifar10: CIFAR-10 (official)" in out
    assert "It can be downloaded: the official files (2.6 GB" in out
    assert "--data-root data/faces (folder)" in out
    assert "not logged in" in out
    assert "free" in out
    assert "Ready" in out
    assert not (elsewhere / "runs").exists()


def test_doctor_prints_no_folder_of_the_user(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Absolute paths contain the name of the user, and the JSON is for bug reports.
    for name in ("ATTNAE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (elsewhere / "work").mkdir()
    monkeypatch.chdir(elsewhere / "work")
    assert main(["doctor", "--json"]) == 0
    told = {finding["subject"]: finding["text"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert told["runs"].startswith("runs: ")
    assert told["image cache"].startswith("~/.cache/attnae: ")


@pytest.mark.parametrize("command", [["show", "mine.yaml"], ["run", "moe_denoising", "--reports", "file"], ["new", "file/x"],
                                     ["report", "--check", "missing"]])  # fmt: skip
def test_errors_name_files_relative_to_the_working_folder(
    elsewhere: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "file").touch()
    assert main(command) == 2
    told = capsys.readouterr().err
    assert command[-1] in told
    assert str(elsewhere) not in told


def test_doctor_flags_malicious_and_missing_packages(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    true = metadata.version

    def version(name: str) -> str:
        if name == "einops":
            raise metadata.PackageNotFoundError(name)
        return "2.6.3" if name == "lightning" else true(name)

    monkeypatch.setattr(metadata, "version", version)
    assert main(["doctor"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "lightning 2.6.3 is a malicious release" in out
    assert "einops is missing" in out
    assert "Fix these problems first: packages" in out


def test_doctor_prints_json_for_bug_reports(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["torch"] == metadata.version("torch")
    assert report["versions"]["python"] == platform.python_version()
    assert all(finding.keys() == {"state", "subject", "text"} for finding in report["findings"])
    assert {"attnae", "packages", "machine", "runs"} <= {finding["subject"] for finding in report["findings"]}

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["torch"] is None
    (broken,) = [finding["text"] for finding in report["findings"] if finding["state"] == "broken"]
    assert "torch is missing" in broken


def test_doctor_reports_read_only_folder(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere / "file").touch()
    assert main(["doctor", "--out", "file/runs"]) == 1
    assert "is not writable" in " ".join(capsys.readouterr().out.split())


def test_doctor_queries_slurm_and_driver(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, answer in (("sinfo", "gpu* up 4 nodes gpu:8"), ("nvidia-smi", "0, NVIDIA H200, 143771 MiB, 570.1")):
        program = elsewhere / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{answer}'\n")
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{elsewhere / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "PATIENCE", 0.01)  # torch takes seconds
    assert main(["doctor"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "gpu* up 4 nodes gpu:8" in out
    assert "NVIDIA H200" in out
    assert "torch cannot be imported, or did not respond" in out


def test_a_user_without_a_home_folder_has_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ATTNAE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert wanted_folder() == tmp_path / ".cache" / "attnae"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without HOME and an entry in passwd
    assert wanted_folder() == Path(tempfile.gettempdir()) / "attnae"


# -- clean ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(elsewhere: Path) -> Path:
    """Runs: complete, complete with a stale checkpoint, failed, unfinished, and from a newer attnae."""
    folder = elsewhere / "runs"
    finished(folder, "vae")
    stale = finished(folder, "vae", 2)
    (stale / "checkpoints").mkdir()
    (stale / "checkpoints" / "last.ckpt").write_bytes(bytes(2_000_000))
    finished(folder, "saaae", status="failed")
    unfinished = finished(folder, "saaae", 2)
    (unfinished / "result.json").unlink()
    newer = finished(folder, "saaae", 3)
    (newer / "result.json").write_text(json.dumps({**json.loads((newer / "result.json").read_text()), "version": 99}))
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != ".lock"}


def test_clean_without_yes_only_lists(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(runs)
    assert main(["clean"]) == 0
    out = capsys.readouterr().out
    assert "failed: no [luck]" in out
    assert "unfinished, 0 epochs done" in out
    assert "2.0 MB" in out
    assert "seed3" not in out
    assert "--yes" in out
    assert files(runs) == before


def test_clean_removes_unfinished_runs_and_keeps_results(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(runs)
    assert main(["clean", "--yes"]) == 0
    gone = before - files(runs)
    assert {path.split("/")[2:4][0] + "/" + path.split("/")[3][:5] for path in gone} == {
        "vae/seed2",
        "saaae/seed1",
        "saaae/seed2",
    }
    assert {path.rsplit("/", 1)[-1] for path in gone if "/vae/" in path} == {"checkpoints", "last.ckpt"}
    assert main(["clean"]) == 0
    assert "Nothing to clean" in capsys.readouterr().out


def test_clean_keeps_locked_runs(runs: Path) -> None:
    held = runs / "saaae_vs_vae" / "quick" / "saaae" / "seed2-0123abcd"
    with FileLock(held / ".lock"):
        assert main(["clean", "--yes"]) == 0
        assert (held / "log.txt").exists()
    assert main(["clean", "--yes"]) == 0
    assert not held.exists()


def test_clean_keeps_a_run_that_ends_meanwhile(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state was read before it was complete."""
    read = store.states
    monkeypatch.setattr(
        store, "states", lambda root: [replace(one, status="running or interrupted") for one in read(root)]
    )
    complete = runs / "saaae_vs_vae" / "quick" / "vae" / "seed1-0123abcd"
    assert main(["clean", "--yes"]) == 0
    assert (complete / "result.json").exists()


def test_clean_keeps_folders_that_are_no_runs_and_results_inside(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any folder can contain a log.txt: that of all runs, or one of somebody else."""
    assert main(["clean", "--yes"]) == 0
    failed = finished(runs, "saaae", status="failed")
    (runs / "thesis").mkdir()
    (runs / "log.txt").touch()
    (runs / "thesis" / "log.txt").touch()
    shutil.copy(failed / "result.json", runs / "thesis")
    shutil.copytree(runs / "saaae_vs_vae" / "quick" / "vae", failed / "kept")
    before = files(runs)
    capsys.readouterr()
    assert main(["clean", "--yes"]) == 0
    assert "Nothing to clean" in capsys.readouterr().out
    assert files(runs) == before


def test_clean_keeps_results_that_were_set_aside(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = finished(elsewhere / "runs", "vae", status="failed")
    (failed / "result-1790000000000000000.json").write_text('{"version": 99}')
    assert main(["clean", "--yes"]) == 0
    assert "Nothing to clean" in capsys.readouterr().out
    assert failed.exists()


def test_linked_runs_are_found_but_not_removed(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(elsewhere / "disk", "vae", status="failed")
    finished(elsewhere / "disk", "vae", 2)
    (elsewhere / "runs").mkdir()
    (elsewhere / "runs" / "saaae_vs_vae").symlink_to(elsewhere / "disk" / "saaae_vs_vae")
    (elsewhere / "disk" / "saaae_vs_vae" / "circle").symlink_to(elsewhere / "runs")
    assert main(["status"]) == 0
    assert capsys.readouterr().out.count("vae/seed") == 2
    assert main(["merge", "runs", "-o", "merged"]) == 0
    assert "Copied 2 results" in capsys.readouterr().out
    assert main(["clean", "--yes"]) == 0
    assert "Nothing to clean" in capsys.readouterr().out
    (elsewhere / "empty").mkdir()
    assert main(["merge", "empty", "-o", "merged"]) == 1
    assert "Left out: empty: there are no results below it" in capsys.readouterr().out


def test_clean_removes_empty_folders_but_not_the_root(elsewhere: Path) -> None:
    finished(elsewhere / "runs", "vae", status="failed")
    assert main(["clean", "--yes"]) == 0
    assert list((elsewhere / "runs").iterdir()) == []
    assert main(["clean", "nowhere"]) == 2


def reported(label: str, *states: str) -> Path:
    """A report that keeps results of these states."""
    folder = Path("reports/saaae_vs_vae") / label
    for seed, status in enumerate(states):
        one = result.Result(benchmark="saaae_vs_vae", variant="vae", label=label, seed=seed, status=status)
        result.write(one, folder / "runs" / f"vae-seed{seed}.json")
    (folder / "README.md").write_text("# A report\n")
    return folder


def test_clean_removes_reports_of_failures_alone(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(elsewhere / "runs", "vae", status="failed")
    gone, kept = reported("failed", "failed", "failed"), reported("mixed", "failed", "complete")
    superseded, newer = reported("superseded", "failed"), reported("newer", "failed")
    (superseded / "runs/superseded").mkdir()
    one = result.Result(benchmark="saaae_vs_vae", variant="vae", label="superseded")
    result.write(one, superseded / "runs/superseded/vae-seed1-abc.json")
    (newer / "runs/vae-seed0.json").write_text('{"version": 99}')
    assert main(["clean"]) == 0
    assert "report with only failed runs" in capsys.readouterr().out
    assert gone.exists()
    assert main(["clean", "--yes"]) == 0
    assert not gone.exists()
    assert all(folder.exists() for folder in (kept, superseded, newer, elsewhere / "reports"))


@pytest.mark.parametrize("inside", ["vae", "vae/seed1-0123abcd"])
def test_status_inside_a_run(
    inside: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(runs / "saaae_vs_vae" / "quick" / inside)
    (runs / "saaae_vs_vae" / "quick" / "vae" / "seed1-0123abcd" / "result.json").unlink()
    assert main(["status", "."]) == 0
    assert "  vae/seed1-0123abcd  running or interrupted" in capsys.readouterr().out


# -- narrow terminals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 160])
def test_status_never_cuts_what_identifies_a_run(
    width: int, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnae.bench.commands.status.console", lambda: Console(width=width))
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "runs/saaae_vs_vae/quick"
    for folder in runs.glob("*/*/*/seed*"):
        (line,) = [line for line in lines if f"{folder.parent.name}/{folder.name} " in line]
        assert line.startswith("  ")
    assert "…" not in "".join(lines)
    told = " ".join(" ".join(lines).split())
    assert "failed no [luck]" in told
    if width < 160:
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize("benchmark", catalog.names())
def test_show_never_cuts_a_name(
    benchmark: str, elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnae.bench.commands.show.console", lambda: Console(width=60))
    assert main(["show", benchmark]) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    words = out.split()
    assert all(words.count(name) >= 2 for name in catalog.load(benchmark).variants)  # described, and with its cost


# -- terminals that cannot print everything ------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["list"], ["show", "saaae_vs_vae"], ["status"], ["doctor"], ["show", "nö"]])
def test_a_terminal_without_a_character_gets_a_replacement(command: list[str], runs: Path) -> None:
    finished(runs, "vae", 7, status="failed")
    record = next(runs.glob("*/*/vae/seed7*/result.json"))
    record.write_text(record.read_text("utf-8").replace("no [luck]", "größer als ∞"), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "attnae.bench.app", *command],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1, 2)
    assert b"Traceback" not in done.stderr
    assert done.stdout.isascii()
    if command == ["status"]:
        assert b"gr??er als ?" in done.stdout


# -- completion ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_completion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert {"list", "show", "run", "compare", "clean"} <= set(completed(script, "attnae-bench", ""))
    assert completed(script, "attnae-bench", "compare", "--tol") == ["--tolerance"]
    assert main(["--print-completion", "cobol"]) == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_completion_of_attnae(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["attnae", "--print-completion", "bash"])
    assert cli.main() == 0
    script = capsys.readouterr().out
    use = ["apply", "encode", "decode", "sample", "export", "models"]
    assert completed(script, "attnae", "") == [*use, "fit", "validate", "test", "predict"]
    assert "--sigma" in completed(script, "attnae", "apply", "--s")
    assert "--trainer.max_epochs" in completed(script, "attnae", "fit", "--trainer.m")
    monkeypatch.setattr("sys.argv", ["attnae", "--print-completion", "cobol"])
    assert cli.main() == 2
