"""LightningCLI with the suite's defaults."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

from attnae.data.base import ImageDataModule
from attnae.errors import UserError, out_of_memory
from attnae.files import write_text
from attnae.paths import shown, typed
from attnae.training import loggers, weights
from attnae.training.bfloat16 import PortableBFloat16
from attnae.training.memory import keep_freed_memory
from attnae.training.parser import OneLineParser, reasons
from attnae.training.progress import Progress
from attnae.training.record import Record
from attnae.training.resume import ResumeCheck
from attnae.training.selection import LAST, Selection, last_epochs
from attnae.training.task import ImageTask

QUIET = (
    "does not have many workers",  # images are indexed in memory; workers would only copy them
    "GPU available but not used",
    "Checkpoint directory .* exists and is not empty",  # expected when resuming
    "The number of training batches",  # nothing is logged per step
    "predict returned None",  # reconstructions are written to files
    "The `srun` command is available",  # SLURM may be installed but not used
    "corrupt EXIF data",  # the image is read or rejected regardless
    "LeafSpec",  # https://github.com/Lightning-AI/pytorch-lightning/issues/21326
)


PATHS = ("trainer.default_root_dir", "checkpoint.dirpath", "data.init_args.root")
"""Keys that hold paths and are stored with the configuration."""

AT_LEAST_ONE = {"fit": ("max_epochs", "limit_train_batches"), "test": ("limit_test_batches",)}
"""Keys of the trainer whose value must not be 0, by command."""


class SaveConfigOnce(SaveConfigCallback):
    """Saves the resolved configuration in the run folder when training. An evaluation never overwrites it.

    A training that resumes saves it once the checkpoint has been accepted: a refusal must not change the run.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Saves it unless a training resumes."""
        if stage != "fit" or not self.config.ckpt_path:
            super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves it after all checks of the checkpoint."""
        super().setup(trainer, pl_module, "fit")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves it if the checkpoint was of the last epoch, so that no training started."""
        super().setup(trainer, pl_module, "fit")

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Saves ``config.yaml`` in the run folder and logs the hyperparameters.

        Leaves out keys that belong to a single command: an evaluation must not require a logger's account.
        """
        path = Path(trainer.default_root_dir) / self.config_filename
        if stage == "fit" or not path.exists():
            config = self.config.clone()
            for key in ("weights", "ckpt_path", "trust"):
                config[key] = None
            if config.checkpoint.dirpath == _checkpoints(config.trainer.default_root_dir):
                config.checkpoint.dirpath = None  # it follows the run's folder
            for key in PATHS:
                if config.get(key) is not None:
                    config[key] = shown(Path(config[key]))
            for logger in trainer.loggers:
                logger.log_hyperparams(config.as_dict())
            write_text(path, self.parser.dump(config, skip_none=False))


class AttnaeCLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict`` for every :class:`ImageTask`."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The command that was typed; all of them without one, for help and completion.

        Preparing the parser of one command takes a tenth of a second or more.
        """
        known, typed_first = LightningCLI.subcommands(), sys.argv[1:2]
        return {name: known[name] for name in typed_first if name in known} or known

    def add_arguments_to_parser(self, parser: OneLineParser) -> None:  # type: ignore[override]
        """Adds the suite's keys, and the checkpoint callback for resuming."""
        parser.add_argument(
            "--weights", type=Path | None, default=None, help="weights.safetensors to start from or evaluate"
        )
        parser.add_argument(
            "--trust", type=str | None, default=None, help="folder whose code may be imported; only on the command line"
        )
        parser.add_argument(
            "--perceptual", type=bool, default=False, help="add LPIPS and rFID to tests; downloads 340 MB of weights"
        )
        parser.add_argument(
            "--selection",
            type=str,
            default=LAST,
            help="weights to evaluate: last epoch, or the epoch with the lowest value of a logged metric such as val/mse",
        )
        parser.add_argument(
            "--last_epochs",
            type=NonNegativeInt,
            default=0,
            help="number of last epochs whose weights are kept and also tested",
        )
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        # One file, overwritten every epoch, including the optimizer state.
        # Saved after the epoch's row is written, even if the epoch was not validated.
        defaults = {"filename": "last", "enable_version_counter": False, "save_on_train_epoch_end": True}
        parser.set_defaults({f"checkpoint.{key}": value for key, value in defaults.items()})
        parser.try_int_before_float()

    def _parse_ckpt_path(self) -> None:
        """Does nothing: Lightning would read the checkpoint twice, for hyperparameters that ours do not contain."""

    def before_instantiate_classes(self) -> None:
        """Sets the checkpoint folder and the strategy, and checks the trainer's keys."""
        config = self.config[self.subcommand]
        _expand_paths(config)
        # They are built apart: their own errors must not end a training.
        self.chosen_loggers, config.trainer.logger = config.trainer.logger, False
        folder = Path(config.trainer.default_root_dir)
        config.checkpoint.dirpath = config.checkpoint.dirpath or _checkpoints(folder)
        if isinstance(config.trainer.devices, str) and not re.fullmatch(r"auto|-1|\d+(,\d+)*", config.trainer.devices):
            raise UserError(f"trainer.devices must be a number of devices, got {config.trainer.devices!r}.")
        if config.trainer.fast_dev_run:
            raise UserError(
                "trainer.fast_dev_run saves no weights or records. For a short trial, set trainer.max_epochs=1 and "
                "trainer.limit_train_batches=2."
            )
        if self.subcommand == "fit" and config.trainer.strategy == "auto" and _several(config.trainer):
            # Some variants disable parts of a network, and GANs alternate two networks. Plain DDP fails if a parameter
            # has no gradient. Finding unused parameters costs at most a few percent of a step.
            config.trainer.strategy = "ddp_find_unused_parameters_true"
        if self.subcommand == "test" and _several(config.trainer):
            raise UserError(
                "Testing requires a single device, because metrics are computed over the whole set. Set --trainer.devices 1."
            )
        _check_trainer(config.trainer, str(self.subcommand))
        if self.subcommand == "fit" and config.selection.startswith("val/") and config.trainer.limit_val_batches == 0:
            raise UserError(
                f"selection is {config.selection}, but trainer.limit_val_batches is 0. Set --selection {LAST}."
            )
        for key in ("every_n_train_steps", "train_time_interval"):
            if self.subcommand == "fit" and config.checkpoint[key]:
                raise UserError(
                    f"checkpoint.{key} is {config.checkpoint[key]}, but checkpoints are written after epochs, because only those "
                    "can be resumed exactly. Use checkpoint.every_n_epochs."
                )
        if self.subcommand == "fit" and not config.ckpt_path:
            _check_unused(folder, Path(config.checkpoint.dirpath) / "last.ckpt")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Builds the trainer. The suite's callbacks run after the user's."""
        config = self.config[self.subcommand]
        self.progress = Progress()
        selection = Selection(config.selection, config.last_epochs)
        self.record = Record(selection)
        # Progress runs first, so weights that are not finite are never selected. Lightning moves the checkpoint to the end.
        self.trainer_defaults["callbacks"] = [
            *(PortableBFloat16(), self.progress, ResumeCheck(), selection, self.record),
        ]
        chosen = self.chosen_loggers
        kwargs["logger"] = chosen if chosen is None or isinstance(chosen, bool) else loggers.build(chosen)
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except RuntimeError as error:  # such as of two callbacks that exclude each other
            raise UserError(str(error)) from error
        trainer.loggers = loggers.guarded(trainer.loggers)
        return trainer

    def before_test(self) -> None:
        """Tests the weights of the last epochs, for metrics only."""
        config = self.config[self.subcommand]
        found = last_epochs(Path(self.trainer.default_root_dir), config.last_epochs)
        chosen = config.weights and weights.digest(config.weights)
        self.record.earlier = dict.fromkeys(found)
        others = {epoch: path for epoch, path in found.items() if chosen is None or weights.digest(path) != chosen}
        self.progress.tests = 1 + len(others)
        for self.record.testing_epoch, path in others.items():
            self.model.load_weights(path)
            self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
        self.record.testing_epoch = None
        if others and config.weights:
            self.model.load_weights(config.weights)

    def instantiate_classes(self) -> None:
        """Builds task, data and trainer, and loads the initial weights or the weights to evaluate."""
        config = self.config[self.subcommand]
        try:
            super().instantiate_classes()
        except TypeError as error:
            if "`devices`" not in str(error):
                raise
            raise UserError(f"trainer.devices is {config.trainer.devices!r}: {error}") from error
        if self.subcommand == "fit":
            self._share_batch(self.trainer.num_devices * self.trainer.num_nodes)
        self.model.with_perceptual = config.perceptual
        if config.weights is not None:
            self.model.load_weights(config.weights)
        elif (
            self.subcommand != "fit" and not config.get("ckpt_path") and any(True for _ in self.model.net.parameters())
        ):
            raise UserError(
                "No weights to evaluate. Pass --weights RUN/weights.safetensors or --ckpt_path RUN/checkpoints/last.ckpt."
            )

    def _share_batch(self, devices: int) -> None:
        """Divides the global batch size among the devices, so the steps are the same as on one device."""
        batch = self.datamodule.batch_size
        if batch % devices:
            raise UserError(
                f"The batch size {batch} is not divisible by {devices} devices. Choose another number of devices or "
                "another data.init_args.batch_size (the global batch size)."
            )
        self.datamodule.batch_size = batch // devices


def _expand_paths(config: Namespace) -> None:
    """Expands ``~`` in every path, wherever it was stated, and makes each relative to the working folder."""
    for key in (*PATHS, "weights", "ckpt_path"):
        if (value := config.get(key)) is not None:
            config[key] = type(value)(typed(str(value)))


def _check_trainer(trainer: Namespace, command: str) -> None:
    """Rejects values of the trainer's keys that would fail without naming the key, or leave nothing to train or test."""
    precision = str(trainer.precision)
    if precision == "64" or (precision.endswith("-true") and precision != "32-true"):
        raise UserError(
            f"trainer.precision must be 32-true, bf16-mixed or 16-mixed, got {precision}: images are float32."
        )
    for key in AT_LEAST_ONE.get(command, ()):
        if trainer[key] == 0:
            raise UserError(f"trainer.{key} must be at least 1, got 0.")
    if command != "fit":
        return
    for key in ("accumulate_grad_batches", "val_check_interval", "check_val_every_n_epoch"):
        if isinstance(value := trainer[key], int | float) and value <= 0:
            raise UserError(f"trainer.{key} must be above 0, got {value}.")
    if trainer.overfit_batches:
        raise UserError(
            f"trainer.overfit_batches must be 0, got {trainer.overfit_batches}. To train on few images, set "
            "data.init_args.train_images."
        )


def _check_unused(folder: Path, checkpoint: Path) -> None:
    """Rejects a folder with the results of another training, which a new one would overwrite."""
    if (folder / "weights.safetensors").exists():
        raise UserError(
            f"{shown(folder)} contains a finished training. Set --trainer.default_root_dir to another folder."
        )
    if checkpoint.exists() and (folder / "metrics.csv").exists():
        raise UserError(
            f"{shown(folder)} contains an unfinished training. Resume it with --ckpt_path {shown(checkpoint)}, or set "
            "--trainer.default_root_dir to another folder."
        )


def _checkpoints(folder: str | Path) -> str:
    return str(Path(folder) / "checkpoints")


def _several(trainer: Namespace) -> bool:
    """Whether a configuration requests more than one device; ``auto`` and -1 are all GPUs."""
    devices = str(trainer.devices)
    if isinstance(trainer.devices, list):
        count = len(trainer.devices)
    elif devices in ("auto", "-1"):
        count = torch.cuda.device_count() if str(trainer.accelerator) in ("auto", "gpu", "cuda") else 1
    else:
        count = int(devices) if devices.isdigit() else len(devices.split(","))  # 4, or the devices 0,1
    return count * trainer.num_nodes > 1


def run_cli() -> None:
    """Parses ``sys.argv``, trains or evaluates.

    Raises:
        UserError: An error that the user can fix, in one line.
    """
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning uses deprecated names
    for message in QUIET:
        warnings.filterwarnings("ignore", f".*{message}.*")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.set_float32_matmul_precision("high")
    keep_freed_memory()
    try:
        AttnaeCLI(
            ImageTask,
            ImageDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SaveConfigOnce,
            save_config_kwargs={"save_to_log_dir": False},
            parser_class=OneLineParser,
            seed_everything_default=1,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            trainer_defaults={
                "default_root_dir": "runs/manual",
                "max_epochs": 1,
                "devices": 1,
                "logger": False,
                "plugins": [{"class_path": "attnae.training.record.AtomicCheckpoints"}],
                "use_distributed_sampler": False,  # EpochBatches shards deterministically itself
                "enable_model_summary": False,
                "enable_progress_bar": sys.stderr.isatty(),
            },
        )
    except (MisconfigurationException, ValueError, OSError, ImportError) as error:
        raise _out_of_memory(error) or UserError(reasons(str(error)) or str(error)) from error
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"Out of GPU memory. Lower data.init_args.batch_size. ({str(error).splitlines()[0]})"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if "conditioned on metric" in str(error):  # of EarlyStopping; names the available ones
            raise UserError(str(error)) from error
        if not (told := _out_of_memory(error)):
            raise
        raise told from error


def _out_of_memory(error: BaseException) -> UserError | None:
    """The message if the CPU ran out of memory, also as the cause of another error; otherwise ``None``."""
    if not out_of_memory(error):
        return None
    asked = re.search(r"tried to allocate (\d+) bytes", str(error))
    size = f" ({int(asked[1]) / 1e9:.1f} GB at once)" if asked else ""
    return UserError(f"Out of memory{size}. Lower data.init_args.batch_size or the size of the network.")
