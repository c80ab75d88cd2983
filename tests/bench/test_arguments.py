"""Path arguments of the command line."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from attnae.bench.app import main, parser
from attnae.paths import shown


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["run", "saaae_vs_vae", "--out=~/x"], "out"),
        (["run", "saaae_vs_vae", "--reports=~/x"], "reports"),
        (["run", "saaae_vs_vae", "--data-root=~/x"], "data_root"),
        (["status", "~/x"], "folder"),
        (["report", "~/x"], "folder"),
        (["report", "--reports=~/x"], "reports"),
        (["clean", "~/x"], "folder"),
        (["compare", "~/x", "y"], "a"),
        (["merge", "y", "-o", "~/x"], "out"),
    ],
    ids=" ".join,
)
def test_paths_are_expanded(arguments: list[str], name: str, home: Path) -> None:
    assert getattr(parser().parse_args(arguments), name) == home / "x"


def test_paths_are_absolute(home: Path, tmp_path: Path) -> None:
    assert parser().parse_args(["status", "../x/./y"]).folder == tmp_path / "x/y"
    assert parser().parse_args(["status"]).folder == Path("runs").absolute()


def test_dry_run_with_folder_in_home(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "saaae_vs_vae", "--variants", "vae", "--out=~/my runs", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "~/my runs/saaae_vs_vae/quick/vae/seed1-" in out
    assert str(home) not in out
    assert not list(Path().iterdir())


def test_url_is_rejected_as_path(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "hf://name"]) == 2
    assert "'hf://name' is not a path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (
            ["run", "moe_denoising", "--variant", "moe", "--devices", "1", "--grdi=x"],
            "--grdi=x; did you mean --grid? See",
        ),
        (["list", "moe_denoising", "-q"], "moe_denoising -q. See"),
        (["--nothing", "list"], "--nothing"),
    ],
)
def test_an_unknown_option_refers_to_the_help_of_its_command(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    command = "attnae-bench" if arguments[0].startswith("-") else f"attnae-bench {arguments[0]}"
    err = capsys.readouterr().err
    assert hint in err
    assert f"See `{command} --help`." in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["clean", "", "--yes"], ["run", "moe_denoising", "--out", " "], ["report", ""]])
def test_an_empty_path_is_not_this_folder(arguments: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "the path is empty" in capsys.readouterr().err


def test_a_path_that_no_record_can_hold_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "moe_denoising", "--out", os.fsdecode(b"r\xffx")]) == 2
    assert "is not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value", [".nan", "-.inf", "[1, .inf]", "!!bool maybe", "!!timestamp abc", "!!int", "!!map [a]"]
)
def test_a_value_that_is_none_is_refused_in_one_line(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["run", "moe_denoising", "--set", f"model.init_args.lr={value}", "--dry-run"]
    assert main(given) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_closed_terminal_is_no_error() -> None:
    script = f"{shlex.quote(sys.executable)} -m attnae.bench.app list >&-"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("module", "program", "words"),
    [
        ("attnae.bench.app", "attnae-bench", "list"),
        ("attnae.bench.app", "attnae-bench", "--help"),
        ("attnae.cli", "attnae", "models"),
        ("attnae.cli", "attnae", "apply --help"),
    ],
)
def test_an_output_on_a_full_disk_is_an_error(module: str, program: str, words: str) -> None:
    script = f"{shlex.quote(sys.executable)} -m {module} {words} > /dev/full"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"{program}: error: standard output: No space left on device\n")


def test_a_reader_that_has_ended_is_no_error() -> None:
    script = f"{shlex.quote(sys.executable)} -m attnae.cli apply --help | true"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_paths_are_shown_relative_to_working_folder_or_home(home: Path, tmp_path: Path) -> None:
    assert shown(Path("runs").absolute()) == "runs"
    assert shown(home / "runs") == "~/runs"
    assert shown(tmp_path / "other") == "../other"


def test_missing_data_root_is_rejected_in_dry_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "saaae_vs_vae", "--data-root", "nowhere", "--dry-run"]) == 2
    assert "There is no folder nowhere" in capsys.readouterr().err
    assert main(["run", "saaae_vs_vae", "--profile", "paper", "--dry-run"]) == 0
