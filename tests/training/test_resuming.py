"""Resuming a training: what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from tiny_fits import FEW, NARROW, SHALLOW, Outcome, attnae, config_of, curves, refused

from attnae.paths import shown

DNCNN = config_of("moe_denoising", "dncnn")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of a DnCNN. Do not modify."""
    run = tmp_path_factory.mktemp("finished")
    done = train(run, "--trainer.max_epochs=2")
    assert done.code == 0, done.err
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """The same training, killed after its last checkpoint."""
    folder = shutil.copytree(finished, tmp_path / "run")
    for name in ("weights.safetensors", "fit.json"):
        (folder / name).unlink()
    return folder


def train(run: Path, *arguments: str | Path) -> Outcome:
    return attnae("fit", "-c", DNCNN, *FEW, *SHALLOW, "--trainer.default_root_dir", run, *arguments)


def resume(run: Path, *arguments: str | Path, of: Path | None = None) -> Outcome:
    """Resumes with the run's own configuration and checkpoint, or those of another run."""
    of = of or run
    given = ["-c", of / "config.yaml", "--ckpt_path", of / "checkpoints/last.ckpt", "--trainer.default_root_dir", run]
    return attnae("fit", *given, *arguments)


def content(run: Path) -> dict[str, bytes]:
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_refusal_changes_nothing(run: Path, finished: Path) -> None:
    before = content(run)
    refused(resume(run, "--trainer.max_epochs=3"), "schedule", "max_epochs=3")
    assert content(run) == before
    done = resume(run)
    assert done.code == 0, done.err
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["trainer"]["max_epochs"] == 2
    assert curves(run) == curves(finished)


def test_the_configuration_of_a_resumed_training_is_saved(finished: Path, run: Path, tmp_path: Path) -> None:
    assert resume(run, "--last_epochs=1").code == 0
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["last_epochs"] == 1
    elsewhere = tmp_path / "elsewhere"
    assert resume(elsewhere, of=finished).code == 0
    assert (elsewhere / "config.yaml").exists()


def test_an_unfinished_training_is_not_overwritten(run: Path) -> None:
    before = content(run)
    one = "--trainer.max_epochs=1"
    refused(train(run, one), shown(run), "unfinished", f"--ckpt_path {shown(run / 'checkpoints/last.ckpt')}")
    assert content(run) == before
    (run / "checkpoints/last.ckpt").unlink()  # nothing to resume
    assert train(run, one).code == 0


@pytest.mark.parametrize(
    ("change", "culprits"),
    [
        ("--model.init_args.lr=0.01", ["lr of optimizer 1 = 0.002", "0.01 is configured"]),
        ("--model.init_args.weight_decay=0.5", ["weight_decay of optimizer 1 = 0.0001", "0.5 is configured"]),
        ("--trainer.max_epochs=1", ["2 epochs", "trainer.max_epochs is 1"]),
    ],
    ids=["lr", "weight decay", "fewer epochs"],
)
def test_other_settings_are_refused(change: str, culprits: list[str], run: Path) -> None:
    """The state of the optimizer would have priority over the configured settings."""
    before = content(run)
    refused(resume(run, change), *culprits)
    assert content(run) == before


def test_settings_of_a_second_optimizer_are_compared(tmp_path: Path) -> None:
    gan = config_of("attentive_vqvae", "ah_revived")
    done = attnae("fit", "-c", gan, *NARROW, "--trainer.max_epochs=1", "--trainer.default_root_dir", tmp_path)
    assert done.code == 0, done.err
    for key, culprit in (("discriminator_lr=0.5", "lr of optimizer 2"), ("betas=[0.1,0.2]", "betas of optimizer 1")):
        refused(resume(tmp_path, "--trainer.max_epochs=2", f"--model.init_args.{key}"), culprit, "is configured")
    done = resume(tmp_path, "--trainer.max_epochs=2")  # betas are lists in the saved configuration
    assert done.code == 0, done.err


def test_checkpoints_of_earlier_versions_resume(run: Path) -> None:
    """They have no settings to compare."""
    path = run / "checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["callbacks"]["ResumeCheck"]
    torch.save(checkpoint, path)
    assert resume(run).code == 0


def test_checkpoints_within_epochs_are_refused(tmp_path: Path) -> None:
    one, interval = "--trainer.max_epochs=1", "--checkpoint.train_time_interval=0:00:01"
    refused(train(tmp_path, one, "--checkpoint.every_n_train_steps=1"), "every_n_train_steps", "every_n_epochs")
    refused(train(tmp_path, one, interval), "train_time_interval", "every_n_epochs")
    every = {"every_n_train_steps": 1, "filename": "step", "dirpath": str(tmp_path), "save_on_train_epoch_end": False}
    own = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": every}
    done = train(tmp_path / "run", one, f"--trainer.callbacks={json.dumps([own])}")
    assert done.code == 0, done.err
    again = ["--trainer.max_epochs=1", "--ckpt_path", tmp_path / "step.ckpt"]
    refused(train(tmp_path / "again", *again), "step.ckpt", "within epoch 1")
