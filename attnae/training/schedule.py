"""Checks the length of the learning-rate schedule when a training resumes."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from attnae.errors import UserError

LENGTHS = ("T_max", "total_steps", "total_iters")
"""Attributes of torch's schedulers that depend on the length of the training."""


class ScheduleCheck(Callback):
    """Rejects a checkpoint with a schedule of another length. Lightning would restore it and continue at learning rate 0."""

    def on_fit_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Stores the configured schedules before the checkpoint's are restored."""
        self.configured = _lengths(trainer)

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Compares the configured schedules with the restored ones.

        Raises:
            UserError: Their lengths differ.
        """
        if (restored := _lengths(trainer)) != self.configured:
            theirs, ours = (", ".join(map(str, lengths)) or "any length" for lengths in (restored, self.configured))
            raise UserError(
                f"The checkpoint's learning-rate schedule has length {theirs}, but trainer.max_epochs={trainer.max_epochs} "
                f"requires {ours}. Resume with the original trainer.max_epochs, or restart the training."
            )


def _lengths(trainer: L.Trainer) -> list[int]:
    def inside(value: Any) -> list[int]:
        if isinstance(value, list | tuple):
            return [length for each in value for length in inside(each)]
        if not isinstance(value, dict):
            return []
        own = [value[name] for name in LENGTHS if name in value]
        return own + [length for each in value.values() for length in inside(each)]

    return inside([config.scheduler.state_dict() for config in trainer.lr_scheduler_configs])
