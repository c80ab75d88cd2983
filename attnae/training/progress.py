"""Progress files of a run: ``metrics.csv`` with one row per epoch, and ``progress.json``, updated once per second."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils._pytree import tree_leaves

from attnae.errors import UserError
from attnae.files import write_text
from attnae.streams import say
from attnae.training.task import ImageTask

Row = dict[str, float | None]

ADVICE = "Lower model.init_args.lr. The checkpoint of the last completed epoch was kept."


def read_metrics(path: Path) -> list[Row]:
    """Reads ``metrics.csv`` in order of epochs. A missing file or damaged end yields the rows before it."""
    rows: list[Row] = []
    try:
        for raw in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
            rows.append({key: float(value) if value else None for key, value in raw.items()})
    except (OSError, ValueError, TypeError):
        pass
    return rows


def broken(task: L.LightningModule, batch: Any = None) -> str:
    """Names the first tensor that is not finite, as the end of a message: a weight, else an input, else a layer's output.

    Args:
        task: Task whose weights and layers are checked.
        batch: Batch to check and to pass through the network; ``None`` checks only the weights. Must be ``None`` on multiple
            devices, where a forward pass on one of them would block.
    """
    for name, weight in task.state_dict().items():
        if not weight.isfinite().all():
            return f"; the weight {name} is not finite"
    if batch is None or not isinstance(task, ImageTask):
        return ""
    for name, tensor in vars(batch).items():
        if isinstance(tensor, torch.Tensor) and not tensor.isfinite().all():
            return f"; the batch's {name} is not finite"
    found: list[str] = []

    def look(name: str, output: Any) -> None:
        tensors = [t for t in tree_leaves(output) if isinstance(t, torch.Tensor) and t.is_floating_point()]
        if not all(tensor.isfinite().all() for tensor in tensors):
            found.append(name)

    hooks = [
        layer.register_forward_hook(lambda _, __, output, name=name: look(name, output))
        for name, layer in task.named_modules()
        if name
    ]
    with torch.no_grad():
        task.reconstruct(batch)
    for hook in hooks:
        hook.remove()
    return f"; the output of {found[0]} is not finite" if found else ""


class Progress(Callback):
    """Writes a row of metrics per epoch and a heartbeat, and stops a training when loss or weights are not finite.

    ``seconds`` is the time of the training steps, without validation, checkpoints and incomplete epochs of earlier attempts.
    ``images`` is the number of training images of the epoch. ``train/grad_norm`` is the norm of all gradients before
    clipping, averaged over the steps of the epoch; tasks with manual optimization log their own.

    Attributes:
        tests: Number of tests in this process; the heartbeat's steps cover all of them.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.started = self.epoch_seconds = self.last_beat = self.began = self.speed = 0.0
        self.cpu_started = self.epoch_cpu_seconds = 0.0
        self.first_epoch = self.images = self.tested = 0
        self.tests = 1
        self.written: list[str] = []  # columns of the file
        self.validated = False
        self.batch: Any = None

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Loads the rows of an interrupted run up to the epoch where it resumes."""
        self.folder = Path(trainer.default_root_dir)
        self.rows = [
            row for row in read_metrics(self.folder / "metrics.csv") if (row["epoch"] or 0) <= trainer.current_epoch
        ]
        self.began, self.first_epoch = time.monotonic(), trainer.current_epoch
        self._beat(trainer, force=True)

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Starts the timer of the epoch."""
        self.started, self.validated, self.images = time.perf_counter(), False, 0
        self.cpu_started = time.process_time()
        self.epoch_seconds = self.epoch_cpu_seconds = 0.0

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Marks the epoch as validated; otherwise Lightning reports the metrics of the previous validation."""
        self.validated = True

    def on_train_batch_start(self, trainer: L.Trainer, task: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Keeps the batch to diagnose a loss that is not finite."""
        self.batch = batch

    def on_before_backward(self, trainer: L.Trainer, task: L.LightningModule, loss: torch.Tensor) -> None:
        """Stops if the loss is not finite, before it affects the weights.

        Raises:
            UserError: The loss is not finite. Names the step and the first tensor that is not finite.
        """
        if not loss.isfinite():
            raise UserError(
                f"The loss is {loss.item()} at step {trainer.global_step + 1} (epoch {trainer.current_epoch + 1})"
                f"{broken(task, self.batch if trainer.world_size == 1 else None)}. {ADVICE}"
            )

    def on_before_optimizer_step(
        self, trainer: L.Trainer, task: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Logs the gradient norm before clipping."""
        if task.automatic_optimization:
            gradients = [weight.grad for weight in task.parameters() if weight.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            task.log("train/grad_norm", norm, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts images and writes the heartbeat."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self.images += len(batch.index) * trainer.world_size
        if trainer.is_last_batch and torch.cuda.is_available():
            torch.cuda.synchronize()
        # After every batch: trainer.max_steps may end an epoch early.
        self.epoch_seconds = time.perf_counter() - self.started
        self.epoch_cpu_seconds = time.process_time() - self.cpu_started
        self.speed = self.images / max(self.epoch_seconds, 1e-6)
        self._beat(trainer, loss)

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Adds the epoch's row. Runs before the checkpoint is written, so every checkpoint has its row.

        Raises:
            UserError: The weights are not finite after the last step; they must not be saved in a checkpoint.
        """
        if culprit := broken(task):
            raise UserError(
                f"The weights diverged at step {trainer.global_step} (epoch {trainer.current_epoch + 1}){culprit}. {ADVICE}"
            )
        if not trainer.is_global_zero:
            return
        row: Row = {"epoch": float(trainer.current_epoch + 1), "epoch_seconds": round(self.epoch_seconds, 4)}
        row["epoch_cpu_seconds"] = round(self.epoch_cpu_seconds, 4)
        row["images"] = float(self.images)
        row["seconds"] = round(sum(r["epoch_seconds"] or 0 for r in self.rows) + self.epoch_seconds, 4)
        logged = sorted(trainer.callback_metrics.items())
        row |= {name: float(value) for name, value in logged if self.validated or not name.startswith("val/")}
        self.rows.append(row)
        self._save()
        shown = "  ".join(f"{name} {value:.5g}" for name, value in row.items() if "/" in name and value is not None)
        say(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {self.epoch_seconds:.1f} s  {shown}")
        self._beat(trainer, force=True)

    def _save(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        path = self.folder / "metrics.csv"
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        if names == self.written:
            writer.writerow(self.rows[-1])
            with path.open("a", encoding="utf-8") as stream:
                stream.write(text.getvalue())
        else:  # the first row of this process, or a new column
            writer.writeheader()
            writer.writerows(self.rows)
            write_text(path, text.getvalue())
            self.written = names

    def on_test_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Starts the heartbeat at the first test."""
        self.folder = Path(trainer.default_root_dir)
        self.began = self.began or time.monotonic()

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        task: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Counts steps and writes the heartbeat. All tests of this process count as one epoch."""
        now = time.monotonic()
        self.tested += 1
        if now - self.last_beat > 1:
            self.last_beat = now
            batches = trainer.num_test_batches
            beat = {
                "stage": "test",
                "epoch": 0,
                "epochs": 1,
                "step": self.tested,
                "steps": self.tests * int(sum(batches) if isinstance(batches, list) else batches),
                "first_epoch": 0,
                "seconds": now - self.began,
            }
            self._write_beat(beat)

    def _beat(self, trainer: L.Trainer, loss: torch.Tensor | None = None, force: bool = False) -> None:
        now = time.monotonic()
        if trainer.is_global_zero and (force or now - self.last_beat > 1):
            self.last_beat = now
            beat = {
                "stage": "fit",
                "epoch": trainer.current_epoch,
                "epochs": trainer.max_epochs,
                "step": trainer.fit_loop.batch_idx + 1,
                "steps": int(trainer.num_training_batches) if trainer.num_training_batches != float("inf") else 0,
                "loss": None if loss is None else float(loss),
                "images_per_second": self.speed,
                # Time of this attempt, including time between steps, to estimate the remaining time.
                "first_epoch": self.first_epoch,
                "seconds": now - self.began,
            }
            self._write_beat(beat)

    def _write_beat(self, beat: dict[str, Any]) -> None:
        with contextlib.suppress(UserError):  # a full disk must not end a training between its checkpoints
            write_text(self.folder / "progress.json", json.dumps(beat))
