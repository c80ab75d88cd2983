"""``run --extend EPOCHS``: continues finished runs from their checkpoints, as new runs. The old runs are kept."""

from __future__ import annotations

import copy
import pickletools
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnae.bench import plan, store
from attnae.bench.identity import CHECKPOINT, Run, RunId, quoted
from attnae.bench.request import Request, overrides
from attnae.errors import UserError
from attnae.paths import shown
from attnae.result import Record

KEY = "trainer.max_epochs"

LENGTHS = ("T_max", "total_steps", "total_iters")
"""Attributes of torch's schedulers that depend on the length of the training."""


def longer(request: Request, epochs: int) -> Request:
    """Returns the request with another number of epochs.

    Raises:
        UserError: The request already sets the number of epochs.
    """
    if KEY in overrides(request.overrides):
        raise UserError(f"--extend {epochs} is the total number of epochs. Remove --set {KEY}.")
    return replace(request, overrides=[*request.overrides, f"{KEY}={epochs}"])


def extended(made: plan.Plan) -> plan.Plan:
    """Returns a plan whose runs continue shorter runs.

    Raises:
        UserError: A run cannot be continued: there is no shorter finished run with a checkpoint, or the learning rate
            depends on the length of the training.
    """
    root = made.request.out / made.benchmark.name
    found = store.scan(root)[0] if root.is_dir() else []
    return replace(made, runs=[_extended(run, found) for run in made.runs])


def _extended(run: Run, found: list[Record]) -> Run:
    last = store.read(run)
    begun = checkpoint(run.folder).exists() or (run.folder / "fit.json").exists()
    if not run.trains or begun or (last and last.status == "complete"):
        return run
    said = f"--extend {run.epochs}: cannot continue {run.name}"
    if not run.id.data_digest:
        raise UserError(
            f"{said}: its images have not been decoded on this machine. Run it here once, without --dry-run and without "
            "--launcher slurm."
        )
    finished = [(_epochs(one), folder) for folder, one in found
                if one.status == "complete" and _alike(RunId.of(one), run.id)]  # fmt: skip
    shorter = [(epochs, folder) for epochs, folder in finished if epochs < run.epochs]
    if not shorter:
        raise UserError(
            f"{said}: no finished run with fewer epochs and the same settings, images and precision below "
            f"{shown(run.folder.parents[2])}. Use --set {KEY}={run.epochs} instead of --extend."
        )
    kept = [(epochs, folder) for epochs, folder in shorter if checkpoint(folder).is_file()]
    if not kept:
        raise UserError(
            f"{said}: {shown(shorter[0][1])} has no checkpoint, because it ran without --keep-checkpoints. Use "
            f"--set {KEY}={run.epochs} instead of --extend to train from scratch."
        )
    _, folder = max(kept)
    if length := _length(checkpoint(folder)):
        raise UserError(
            f"{said}: its learning-rate schedule depends on the length of the training ({length}). Use "
            f"--set {KEY}={run.epochs} instead of --extend to train from scratch."
        )
    return replace(run, continues=folder)


def commands(run: Run) -> list[str]:
    """The commands of a run; those of one that continues itself or another name the checkpoint."""
    if run.checkpoint is None:
        return run.commands
    words = quoted(["--ckpt_path", shown(run.checkpoint)])
    return [f"{line} {words}" if line.startswith("attnae fit ") else line for line in run.commands]


def checkpoint(folder: Path) -> Path:
    """The last checkpoint of a run."""
    return folder / CHECKPOINT


def _epochs(one: Any) -> int:
    trainer = one.configuration.get("trainer")
    epochs = trainer.get("max_epochs", 1) if isinstance(trainer, dict) else 1
    return epochs if isinstance(epochs, int) else 0


def _alike(one: RunId, other: RunId) -> bool:
    """Whether two runs differ only in their number of epochs."""
    return _timeless(one) == _timeless(other)


def _timeless(one: RunId) -> RunId:
    configuration = copy.deepcopy(one.configuration)
    if isinstance(trainer := configuration.get("trainer"), dict):
        trainer.pop("max_epochs", None)
    overrides = {key: value for key, value in one.overrides.items() if key != KEY}
    return replace(one, overrides=overrides, configuration=configuration)


def _length(path: Path) -> str:
    """Finds a scheduler attribute in a checkpoint that depends on the length of the training; empty if there is none.

    The checkpoint's pickle is scanned, not executed.

    Raises:
        UserError: The checkpoint cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            texts = {argument for _, argument, _ in pickletools.genops(archive.read(name)) if isinstance(argument, str)}
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile) as error:
        raise UserError(f"Cannot read the checkpoint {shown(path)}: {error or 'it contains no state'}.") from error
    return next((length for length in LENGTHS if length in texts), "")
