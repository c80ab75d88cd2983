"""Heartbeats and prints that fail end neither a training nor, with a traceback, a command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_fits import FEW, SHALLOW, attnae, config_of, evaluate, rows

from attnae import cli
from attnae.errors import UserError
from attnae.training import progress

DNCNN = config_of("moe_denoising", "dncnn")


class Closed(io.StringIO):
    """A pipe whose reader has ended."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def train(run: Path) -> int:
    return attnae("fit", "-c", DNCNN, *FEW, *SHALLOW, "--trainer.max_epochs=2", "--trainer.default_root_dir", run).code


def test_a_heartbeat_that_does_not_fit_on_the_disk_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = progress.write_text

    def full(path: Path, text: str) -> None:
        if path.name == "progress.json":
            raise UserError(f"Cannot write {path}: No space left on device.")
        write(path, text)

    monkeypatch.setattr(progress, "write_text", full)
    assert train(tmp_path) == 0
    assert len(rows(evaluate(tmp_path))) == 2
    assert not (tmp_path / "progress.json").exists()


def test_a_closed_output_does_not_end_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["fit", "-c", DNCNN, *FEW, *SHALLOW, "--trainer.max_epochs=2", f"--trainer.default_root_dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["attnae", *command])
    monkeypatch.setattr(sys, "stdout", Closed())
    assert cli.main() == 0
    assert len(rows(tmp_path)) == 2


def test_a_closed_output_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["attnae", "--help"])
    monkeypatch.setattr(sys, "stdout", Closed())
    assert cli.main() == 1


@pytest.mark.parametrize("command", ["--help", "models"])
def test_output_that_nobody_reads_leaves_no_message(command: str) -> None:
    """Otherwise, the interpreter would report what it cannot print when it exits."""
    reading, writing = os.pipe()
    os.close(reading)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-m", "attnae.cli", command],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 1)
