"""Loggers that fail, on trainings of the command line: the numbers stay, the training goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger
from tiny_fits import Outcome, attnae, curves, fit

from attnae import online


class FailsLater(CSVLogger):
    """Breaks when the second numbers come."""

    calls = 0

    def __init__(self, save_dir: str):
        super().__init__(save_dir)

    def log_metrics(self, metrics: Mapping[str, object], step: int | None = None) -> None:  # type: ignore[override]
        self.calls += 1
        if self.calls > 1:
            raise ConnectionError("gone\nfor good")


class FailsAtStart(CSVLogger):
    """Cannot even be made."""

    def __init__(self, save_dir: str):
        raise ValueError("no account")


class FailsLast(CSVLogger):
    """Cannot end."""

    def __init__(self, save_dir: str):
        super().__init__(save_dir)

    def finalize(self, status: str) -> None:
        raise OSError("no room")


class HasNoExperiment(CSVLogger):
    """Cannot begin."""

    def __init__(self, save_dir: str):
        super().__init__(save_dir)

    @property
    def experiment(self) -> object:  # type: ignore[override]
        raise RuntimeError("no server")


def trained(folder: Path, *arguments: str) -> Outcome:
    from tiny_fits import TINY, VAE

    words = ["--trainer.max_epochs=2", "--trainer.log_every_n_steps=1", f"--trainer.default_root_dir={folder}"]
    return attnae("fit", "-c", VAE, *TINY, *words, *arguments)


def warnings(done: Outcome) -> list[str]:
    return [line for line in done.err.splitlines() if line.startswith("attnae: warning: ")]


@pytest.mark.parametrize(
    ("logger", "reason"),
    [
        ("FailsLater", "ConnectionError: gone for good"),
        ("FailsAtStart", "ValueError: no account"),
        ("FailsLast", "OSError: no room"),
        ("HasNoExperiment", "RuntimeError: no server"),
    ],
)
def test_a_logger_that_fails_is_dropped_with_one_warning(logger: str, reason: str, tmp_path: Path) -> None:
    plain = fit(tmp_path / "plain", epochs=2)
    words = (f"--trainer.logger=test_loggers.{logger}", f"--trainer.logger.save_dir={tmp_path / 'csv'}")
    done = trained(tmp_path / "logged", *words)
    assert done.code == 0, done.err
    (warning,) = warnings(done)
    assert f"{logger} failed and was dropped" in warning
    assert reason in warning
    assert curves(tmp_path / "logged") == curves(plain)
    assert (tmp_path / "logged/weights.safetensors").read_bytes() == (plain / "weights.safetensors").read_bytes()


def test_one_of_two_loggers_fails(tmp_path: Path) -> None:
    specs = [
        f"{{class_path: test_loggers.FailsLater, init_args: {{save_dir: {tmp_path / 'a'}}}}}",
        f"{{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: {tmp_path / 'b'}}}}}",
    ]
    done = trained(tmp_path / "logged", f"--trainer.logger=[{', '.join(specs)}]")
    assert done.code == 0, done.err
    assert len(warnings(done)) == 1
    (logged,) = (tmp_path / "b").rglob("metrics.csv")
    assert "val/mse" in logged.read_text()


def test_unknown_arguments_of_a_logger_are_still_refused(tmp_path: Path) -> None:
    done = trained(tmp_path / "logged", "--trainer.logger=CSVLogger", "--trainer.logger.nonsense=1")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "nonsense" in done.err
    assert not (tmp_path / "logged").exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://name.invalid"])
def test_wandb_goes_offline_where_its_server_does_not_answer(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()
    began = time.monotonic()
    assert not online.answers()
    assert time.monotonic() - began < 10
    done = trained(Path("run"), "--trainer.logger=WandbLogger", "--trainer.logger.save_dir=run")
    wandb.finish()
    wandb.teardown()
    assert done.code == 0, done.err
    (warning,) = warnings(done)
    assert f"{address} does not answer" in warning
    assert "wandb sync --append run/wandb/offline-run-*" in warning
    assert list(tmp_path.glob("run/wandb/offline-run-*/*.wandb"))
