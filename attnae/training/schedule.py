"""Resuming a training whose learning-rate schedule was made for another length."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from attnae.errors import UserError

LENGTHS = ("T_max", "total_steps", "total_iters")
"""Attributes of torch's schedulers that depend on the length of a training."""


class ScheduleCheck(Callback):
    """Refuses a checkpoint whose schedule ends elsewhere: Lightning restores its length, and would train on at rate 0."""

    def on_fit_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Remembers the schedules as they are configured, before a checkpoint's are restored."""
        self.configured = _lengths(trainer)

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Compares them with the restored ones.

        Raises:
            UserError: They differ.
        """
        if (restored := _lengths(trainer)) != self.configured:
            theirs, ours = (", ".join(map(str, lengths)) or "any length" for lengths in (restored, self.configured))
            raise UserError(
                f"The learning-rate schedule of the checkpoint has the length {theirs}, that of "
                f"trainer.max_epochs={trainer.max_epochs} {ours}. Resume with the length that the training began with, or "
                "start anew."
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
