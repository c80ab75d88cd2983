"""Selects the epoch whose weights are evaluated, and keeps the weights of the last epochs for additional tests."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from attnae.errors import UserError
from attnae.files import atomic
from attnae.training import weights
from attnae.training.progress import read_metrics

LAST = "last"
"""Selection rule for the last epoch."""


def weights_path(folder: Path, epoch: int) -> Path:
    """Path of the weights after an epoch, counted from 1."""
    return folder / "checkpoints" / f"epoch-{epoch:05}.safetensors"


def last_epochs(folder: Path, count: int) -> dict[int, Path]:
    """Weight files of the last ``count`` epochs of a finished training, by epoch. Skips missing files."""
    rows = read_metrics(folder / "metrics.csv") if count else []
    last = int(rows[-1]["epoch"] or 0) if rows else 0
    epochs = range(max(last - count, 0) + 1, last + 1)
    return {epoch: path for epoch in epochs if (path := weights_path(folder, epoch)).is_file()}


class Selection(Callback):
    """Keeps the weights of the selected epoch and of the last epochs during training.

    Every training uses it, so user callbacks cannot change which weights are evaluated. Its state is saved in the checkpoint,
    so a resumed training selects the same epoch as an uninterrupted one.

    Args:
        rule: ``last``, or the name of a logged metric such as ``val/mse``; selects the epoch with the lowest value, the
            earliest if tied.
        keep: Number of last epochs whose weights are kept.
    """

    def __init__(self, rule: str = LAST, keep: int = 0):
        self.rule, self.keep = rule, keep
        self.best_value, self.best_epoch = math.inf, 0
        self.saved_epoch = 0  # the best one that the last checkpoint names, which may be older
        self.validated = False

    def state_dict(self) -> dict[str, Any]:
        """The best epoch so far; called when a checkpoint is written."""
        self.saved_epoch = self.best_epoch
        return {"rule": self.rule, "best_value": self.best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the best epoch.

        Raises:
            UserError: The checkpoint was trained with another rule.
        """
        if state_dict["rule"] != self.rule:
            raise UserError(
                f"The checkpoint was trained with selection {state_dict['rule']}, not {self.rule}, so earlier epochs "
                f"cannot be compared. Set --selection {state_dict['rule']}, or restart the training."
            )
        self.best_value, self.best_epoch = state_dict["best_value"], state_dict["best_epoch"]
        self.saved_epoch = self.best_epoch

    def on_fit_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Copies kept weights from the checkpoint's folder if the training resumes in another folder.

        Raises:
            UserError: The weights of the best epoch so far are missing.
        """
        self.folder = Path(trainer.default_root_dir)
        if not trainer.ckpt_path or not trainer.is_global_zero:
            return
        for path in Path(trainer.ckpt_path).parent.glob("epoch-*.safetensors"):
            here = self.folder / "checkpoints" / path.name
            if not here.exists():
                with atomic(here) as temporary:
                    shutil.copyfile(path, temporary)
        if self.best_epoch and not (best := weights_path(self.folder, self.best_epoch)).is_file():
            raise UserError(f"Cannot resume: {best} (weights of the best epoch) is missing. Restart the training.")

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Removes weights that neither this training nor one that resumes from the last checkpoint needs."""
        self.validated = False
        self._prune(trainer)

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Marks the epoch as validated; otherwise Lightning reports the metrics of the previous validation."""
        self.validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Saves the epoch's weights if they are the best so far or among the last epochs.

        Raises:
            UserError: The selection metric is not logged.
        """
        epoch = trainer.current_epoch + 1
        best = False
        if self.rule != LAST and (self.validated or not self.rule.startswith("val/")):
            logged = trainer.callback_metrics
            if self.rule not in logged:
                raise UserError(f"selection: {self.rule} is not logged. Available: {', '.join(sorted(logged))}.")
            value = float(logged[self.rule])
            if best := value < self.best_value:
                self.best_value, self.best_epoch = value, epoch
        if (best or self.keep) and trainer.is_global_zero:
            weights.save(task.state_dict(), weights_path(self.folder, epoch))

    def on_fit_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Removes weights that are no longer needed."""
        self._prune(trainer)

    def _prune(self, trainer: L.Trainer) -> None:
        done = trainer.current_epoch
        needed = {self.best_epoch, self.saved_epoch, *range(done - self.keep + 1, done + 1)}
        if trainer.is_global_zero:
            for path in (self.folder / "checkpoints").glob("epoch-*.safetensors"):
                if int(path.stem.removeprefix("epoch-")) not in needed:
                    path.unlink(missing_ok=True)

    def selected(self, trainer: L.Trainer, task: L.LightningModule) -> tuple[dict[str, Tensor], str]:
        """Returns the selected weights and a description of the selection.

        Raises:
            UserError: The selection metric was never logged or never finite.
        """
        if self.rule == LAST:
            return task.state_dict(), f"last epoch ({trainer.current_epoch})"
        if not self.best_epoch:
            raise UserError(
                f"selection: {self.rule} was never finite in {trainer.current_epoch} epochs. Set --selection {LAST}, "
                "or validate more often."
            )
        state = weights.read(weights_path(self.folder, self.best_epoch))
        return state, f"best {self.rule} (epoch {self.best_epoch})"
