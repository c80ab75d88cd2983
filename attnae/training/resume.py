"""Checks that a checkpoint continues the configured training."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from attnae.errors import UserError

LENGTHS = ("T_max", "total_steps", "total_iters")
"""Attributes of torch's schedulers that depend on the length of the training."""


class ResumeCheck(Callback):
    """Rejects a checkpoint of a training with other settings.

    Lightning would restore them and ignore the configured ones. Checks run before anything is written, so that a refusal changes
    nothing.
    """

    lengths: list[int] | None = None

    def on_load_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps what is compared."""
        self.lengths = _lengths(checkpoint["lr_schedulers"])

    def on_fit_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Compares the checkpoint with the configuration.

        Raises:
            UserError: The learning-rate schedules have different lengths; it would continue at learning rate 0.
        """
        if self.lengths is None:  # nothing is resumed
            return
        configured = _lengths([config.scheduler.state_dict() for config in trainer.lr_scheduler_configs])
        if self.lengths != configured:
            theirs, ours = (", ".join(map(str, lengths)) or "any length" for lengths in (self.lengths, configured))
            raise UserError(
                f"The checkpoint's learning-rate schedule has length {theirs}, but trainer.max_epochs={trainer.max_epochs} "
                f"requires {ours}. Resume with the original trainer.max_epochs, or restart the training."
            )


def _lengths(value: Any) -> list[int]:
    """Lengths in the states of schedulers, which may contain others."""
    if isinstance(value, list | tuple):
        return [length for each in value for length in _lengths(each)]
    if not isinstance(value, dict):
        return []
    own = [value[name] for name in LENGTHS if name in value]
    return own + [length for each in value.values() for length in _lengths(each)]
