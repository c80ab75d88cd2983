"""Checks that a checkpoint continues the configured training."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from attnae.errors import UserError

LENGTHS = ("T_max", "total_steps", "total_iters")
"""Attributes of torch's schedulers that depend on the length of the training."""

IRRELEVANT = {"params", "foreach", "fused", "capturable", "differentiable"}
"""Entries of an optimizer's parameter groups that are no settings, or only select an implementation."""


class ResumeCheck(Callback):
    """Rejects a checkpoint of a training with other settings.

    Lightning would restore them and ignore the configured ones. Checks run before anything is written, so that a refusal changes
    nothing.
    """

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.restored: dict[str, Any] = {}
        self.lengths: list[int] | None = None
        self.epochs, self.within_epoch = 0, False

    def state_dict(self) -> dict[str, Any]:
        """The configured settings of the optimizers. Schedules may have changed those in the optimizers' own states."""
        return {"settings": self.settings}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the settings in the checkpoint; checkpoints of earlier versions have none."""
        self.restored = state_dict["settings"]

    def on_load_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the lengths of the training and of its schedules."""
        self.lengths = _lengths(checkpoint["lr_schedulers"])
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        self.epochs, self.within_epoch = epochs["processed"], epochs["ready"] != epochs["processed"]

    def on_fit_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Compares the checkpoint with the configuration.

        Raises:
            UserError: The checkpoint was written within an epoch, has more epochs than configured, a learning-rate schedule of
                another length, which would continue at learning rate 0, or other settings of an optimizer.
        """
        self.settings = _settings(trainer.optimizers)
        if self.lengths is None:  # nothing is resumed
            return
        if self.within_epoch:
            raise UserError(
                f"The checkpoint {trainer.ckpt_path} was written within epoch {self.epochs + 1}; only checkpoints written "
                "after an epoch can be resumed exactly. Restart the training in another folder."
            )
        if trainer.max_epochs not in (None, -1) and self.epochs > trainer.max_epochs:
            raise UserError(
                f"The checkpoint has {self.epochs} epochs, but trainer.max_epochs is {trainer.max_epochs}. Resume with at "
                "least as many epochs, or restart the training in another folder."
            )
        configured = _lengths([config.scheduler.state_dict() for config in trainer.lr_scheduler_configs])
        if self.lengths != configured:
            theirs, ours = (", ".join(map(str, lengths)) or "any length" for lengths in (self.lengths, configured))
            raise UserError(
                f"The checkpoint's learning-rate schedule has length {theirs}, but trainer.max_epochs={trainer.max_epochs} "
                f"requires {ours}. Resume with the original trainer.max_epochs, or restart the training."
            )
        for name, value in self.settings.items():
            if self.restored.get(name, value) != value:  # other versions of torch have other settings
                raise UserError(
                    f"The checkpoint was trained with {name} = {self.restored[name]}, but {value} is configured. Resume with "
                    "the original value, or restart the training in another folder."
                )


def _settings(optimizers: list[Optimizer]) -> dict[str, Any]:
    """Settings of all parameter groups, by names for messages."""
    found = {}
    for number, optimizer in enumerate(optimizers, 1):
        for place, group in enumerate(optimizer.param_groups):
            where = f"optimizer {number}" + (f", group {place}" if place else "")
            for key in sorted(group.keys() - IRRELEVANT):
                value = group[key]
                found[f"{key} of {where}"] = tuple(value) if isinstance(value, list) else value
    return found


def _lengths(value: Any) -> list[int]:
    """Lengths in the states of schedulers, which may contain others."""
    if isinstance(value, list | tuple):
        return [length for each in value for length in _lengths(each)]
    if not isinstance(value, dict):
        return []
    own = [value[name] for name in LENGTHS if name in value]
    return own + [length for each in value.values() for length in _lengths(each)]
