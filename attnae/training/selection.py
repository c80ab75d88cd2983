"""Which epoch's weights are evaluated, and the weights of the last epochs, whose test metrics stand beside."""

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
"""The selection rule that takes the last epoch."""


def weights_path(folder: Path, epoch: int) -> Path:
    """Where a run keeps the weights after an epoch, counted from 1."""
    return folder / "checkpoints" / f"epoch-{epoch:05}.safetensors"


def last_epochs(folder: Path, count: int) -> dict[int, Path]:
    """Weights of the last ``count`` epochs of a finished training, by epoch; missing files are left out."""
    rows = read_metrics(folder / "metrics.csv") if count else []
    last = int(rows[-1]["epoch"] or 0) if rows else 0
    epochs = range(max(last - count, 0) + 1, last + 1)
    return {epoch: path for epoch in epochs if (path := weights_path(folder, epoch)).is_file()}


class Selection(Callback):
    """Keeps the weights of the selected epoch and of the last epochs while a network trains.

    The suite adds it to every training, so that no callback of a user changes which weights are evaluated. Its state is
    part of the checkpoint: an interrupted training selects what an uninterrupted one would have selected.

    Args:
        rule: ``last``, or the name of a logged number, such as ``val/mse``, whose lowest value selects the epoch. The
            earliest of equal values counts.
        keep: How many of the last epochs' weights to keep.
    """

    def __init__(self, rule: str = LAST, keep: int = 0):
        self.rule, self.keep = rule, keep
        self.best_value, self.best_epoch = math.inf, 0
        self.validated = False

    def state_dict(self) -> dict[str, Any]:
        """The best epoch so far."""
        return {"rule": self.rule, "best_value": self.best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the best epoch up again.

        Raises:
            UserError: The checkpoint belongs to a training with another rule.
        """
        if state_dict["rule"] != self.rule:
            raise UserError(
                f"The checkpoint was trained with selection {state_dict['rule']}, not {self.rule}: earlier epochs "
                f"cannot be compared. Give --selection {state_dict['rule']}, or start anew."
            )
        self.best_value, self.best_epoch = state_dict["best_value"], state_dict["best_epoch"]

    def on_fit_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Fetches weights that a training which goes on in another folder has kept beside its checkpoint.

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
            raise UserError(f"Cannot resume: {best}, the weights of the best epoch so far, is missing. Start anew.")

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Removes weights that are no longer needed: by now a checkpoint knows the later ones."""
        self.validated = False
        self._prune(trainer)

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Notes that this epoch's validation numbers are its own; Lightning keeps the last ones."""
        self.validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Keeps the epoch's weights where they are the best so far, or among the last ones.

        Raises:
            UserError: The number that selects is not logged.
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
        needed = {self.best_epoch, *range(done - self.keep + 1, done + 1)}
        if trainer.is_global_zero:
            for path in (self.folder / "checkpoints").glob("epoch-*.safetensors"):
                if int(path.stem.removeprefix("epoch-")) not in needed:
                    path.unlink(missing_ok=True)

    def selected(self, trainer: L.Trainer, task: L.LightningModule) -> tuple[dict[str, Tensor], str]:
        """Weights that the rule selects, and the rule in words.

        Raises:
            UserError: The number that selects was never logged, or never finite.
        """
        if self.rule == LAST:
            return task.state_dict(), f"last epoch ({trainer.current_epoch})"
        if not self.best_epoch:
            raise UserError(
                f"selection: {self.rule} was never a number in {trainer.current_epoch} epochs. Give --selection {LAST}, "
                "or validate more often."
            )
        state = weights.read(weights_path(self.folder, self.best_epoch))
        return state, f"best {self.rule} (epoch {self.best_epoch})"
