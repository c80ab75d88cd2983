"""Output files of a run: ``fit.json``, ``test.json``, ``weights.safetensors`` and images."""

from __future__ import annotations

import errno
import os
import pickle
import platform
import resource
import shutil
import statistics
import sys
import zipfile
import zlib
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from attnae import result
from attnae._version import __version__
from attnae.data.base import ImageDataModule
from attnae.errors import UserError
from attnae.files import atomic
from attnae.result import processor
from attnae.streams import say
from attnae.training import tracking, weights
from attnae.training.bfloat16 import PortableBFloat16
from attnae.training.pictures import save_rows
from attnae.training.progress import Row, read_metrics
from attnae.training.selection import Selection
from attnae.training.task import ImageTask

CURVE_POINTS = 200
"""Maximum number of points of a curve, about as many as a figure can show; longer curves are thinned."""

ROOM = 2**20
"""If writing a checkpoint fails with fewer free bytes than this, the disk counts as full."""

GRID = 8
"""Images per grid."""


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints directly to disk and replaces the previous one atomically.

    Lightning's writer builds the file in memory twice (1.8 GB for SAAAE) and moves it from the system's temporary folder,
    which is not atomic across file systems.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes ``checkpoint`` to ``path``.

        Raises:
            UserError: The disk is full or the folder is not writable.
        """
        with atomic(Path(path)) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # torch's writer hides the system's error
                full = shutil.disk_usage(temporary.parent).free < ROOM
                number = errno.ENOSPC if full else errno.EIO
                raise OSError(number, os.strerror(number)) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a checkpoint without executing code from it.

        Raises:
            UserError: The file is damaged or contains code.
        """
        try:
            with zipfile.ZipFile(path) as archive:  # torch verifies no checksums, so a flipped bit would go unnoticed
                if damaged := archive.testzip():
                    raise ValueError(damaged)
            return super().load_checkpoint(path, map_location=map_location, weights_only=True)
        except (
            zipfile.BadZipFile,
            zlib.error,
            pickle.UnpicklingError,
            EOFError,
            RuntimeError,
            ValueError,
            KeyError,
        ) as error:
            raise UserError(
                f"Cannot read the checkpoint {path}: it is damaged or contains code. Delete it to restart the training."
            ) from error


class Record(Callback):
    """Writes the parts of ``result.json`` and the selected weights.

    Args:
        selection: Selects the weights.

    Attributes:
        earlier: Test metrics of the last epochs, by epoch; ``None`` for the epoch of the selected weights. While
            ``testing_epoch`` is set, a test adds to them and writes no files.
    """

    def __init__(self, selection: Selection):
        self.selection = selection
        self.earlier: dict[int, dict[str, float] | None] = {}
        self.testing_epoch: int | None = None

    def on_fit_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Resets the peak memory, so it covers only this training."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_fit_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Saves the selected weights, then the training's measurements."""
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        rows = read_metrics(folder / "metrics.csv")
        state, selection = self.selection.selected(trainer, task)
        weights.save(state, folder / "weights.safetensors")
        last = rows[-1] if rows else {}
        seen = max((row.get("images") or 0 for row in rows), default=0)  # trainer.max_steps may shorten the last epoch
        seconds = [row["epoch_seconds"] or 0.0 for row in rows[1:]]
        efficiency = {"peak_memory_mb": _peak_memory(trainer) / 1e6}
        if seconds:
            efficiency["seconds_per_epoch"] = statistics.median(seconds)
            cpu_seconds = [value for row in rows[1:] if (value := row.get("epoch_cpu_seconds")) is not None]
            if len(cpu_seconds) == len(seconds):  # rows of an earlier version have none
                efficiency["cpu_seconds_per_epoch"] = statistics.median(cpu_seconds)
        per_image = [(row["epoch_seconds"] or 0) / images for row in rows[1:] if (images := row.get("images"))]
        if typical := statistics.median(per_image or [0.0]):
            efficiency["images_per_second"] = 1 / typical
        part = result.Part(
            # Metrics logged in training under a protocol's name are results; train/ and val/ are only curves.
            metrics={
                k: v for k, v in last.items() if v is not None and "/" in k and k.split("/")[0] not in ("train", "val")
            },
            efficiency=efficiency,
            curves=_curves(rows),
            data=_data(trainer, train=int(seen)),
            selection=selection,
            versions=_versions(),
            hardware=_hardware(trainer),
        )
        result.write(part, folder / "fit.json")
        tracking.show(trainer, efficiency)

    def on_test_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Saves metrics, per-image metrics and images."""
        if not trainer.is_global_zero or not isinstance(task, ImageTask):
            return
        metrics = task.test_metrics()
        if self.testing_epoch is not None:
            self.earlier[self.testing_epoch] = metrics
            return
        folder = Path(trainer.default_root_dir)
        pictures = _pictures(task, folder / "images")
        with atomic(folder / "per_image.npz") as temporary:
            arrays = {f"{p}/{n}": v.numpy() for p, q in task.quality.items() for n, v in q.per_image().items()}
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        part = result.Part(
            metrics=metrics,
            last_epochs=_by_epoch({epoch: found or metrics for epoch, found in self.earlier.items()}),
            efficiency={**task.parameter_counts(), "gflops_forward": task.gflops_forward()},
            data=_data(trainer, test=int(metrics.get("heldout/images", 0))),
            selection=task.selection,
            versions=_versions(),
            hardware=_hardware(trainer),
            images=[path.relative_to(folder).as_posix() for path in pictures],
        )
        result.write(part, folder / "test.json")
        tracking.show(trainer, {**part.metrics, **part.efficiency}, pictures)
        for protocol in task.quality:
            shown = {k.split("/")[1]: v for k, v in sorted(part.metrics.items()) if k.startswith(f"{protocol}/")}
            say(f"{protocol}: " + "  ".join(f"{name} {value:.5g}" for name, value in shown.items()))


def _by_epoch(metrics: dict[int, dict[str, float]]) -> dict[str, list[float | None]]:
    """Metrics by name as lists of equal length, in order of epochs; empty without epochs."""
    names = list(dict.fromkeys(name for numbers in metrics.values() for name in numbers))
    columns: dict[str, list[float | None]] = {name: [metrics[e].get(name) for e in sorted(metrics)] for name in names}
    return {"epoch": [*map(float, sorted(metrics))], **columns} if metrics else {}


def _curves(rows: list[Row]) -> dict[str, list[float | None]]:
    """Columns of the rows, thinned evenly on a log scale. Keeps the last epoch and all round ones (1, 2, 5, 10, ...)."""
    wanted = {int(epoch) for epoch in np.geomspace(1, max(len(rows), 1), CURVE_POINTS).round()}
    wanted |= {first * 10**power for first in (1, 2, 3, 5) for power in range(6)}
    kept = [row for row in rows if int(row["epoch"] or 0) in wanted]
    return {name: [row.get(name) for row in kept] for name in (kept[-1] if kept else ())}


def _pictures(task: ImageTask, folder: Path) -> list[Path]:
    paths = []
    for split, (batch, outputs) in task.first_batches.items():
        rows = {"truth": batch.target} if batch.input is batch.target else {"input": batch.input, "truth": batch.target}
        rows |= {"output" if name == split else f"output-{name}": images for name, images in outputs.items()}
        paths += [save_rows([images[:GRID]], folder / f"{split}-{name}.png") for name, images in rows.items()]
    return paths + task.figures(folder)


def _data(trainer: L.Trainer, **used: int) -> dict[str, Any]:
    """Description of the data for reports.

    Args:
        trainer: Trainer with the DataModule.
        used: Number of ``train`` or ``test`` images used by the command. If the set is larger, the record contains both:
            ``train`` images out of ``train_of``, and ``test`` out of ``test_of``.
    """
    module = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(module, ImageDataModule):
        raise UserError(f"{type(module).__name__} must be a subclass of ImageDataModule to be recorded.")
    about = module.about()
    fewer = {split: count for split, count in used.items() if 0 < count < about[split]}
    about |= {**fewer, **{f"{split}_of": about[split] for split in fewer}}
    if "train" in used:  # the test records its own number of images
        del about["test"]
    return about


def _peak_memory(trainer: L.Trainer) -> float:
    """Bytes."""
    if trainer.strategy.root_device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)


def _versions() -> dict[str, str]:
    names = ("torch", "torchvision", "lightning", "torchmetrics", "scikit-image", "numpy")
    packages = {name: metadata.version(name) for name in names}
    # Not the metadata of the installed package: a checkout on PYTHONPATH is another version.
    return {"python": platform.python_version(), "attnae": __version__, **packages}


def _hardware(trainer: L.Trainer) -> dict[str, Any]:
    rounds = any(isinstance(each, PortableBFloat16) and each.rounds for each in getattr(trainer, "callbacks", ()))
    return {
        "device": torch.cuda.get_device_name()
        if trainer.accelerator.__class__.__name__ == "CUDAAccelerator"
        else "CPU",
        "devices": trainer.world_size,
        "precision": str(trainer.precision),
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        **({"bfloat16": "rounded float32"} if rounds else {}),
    }
