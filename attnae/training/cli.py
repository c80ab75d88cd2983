"""LightningCLI with the defaults of the suite."""

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
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from attnae.data.base import ImageDataModule
from attnae.errors import UserError
from attnae.files import shown, typed, write_text
from attnae.training import loggers, weights
from attnae.training.memory import keep_freed_memory
from attnae.training.parser import OneLineParser
from attnae.training.progress import Progress
from attnae.training.record import Record
from attnae.training.schedule import ScheduleCheck
from attnae.training.selection import LAST, Selection, last_epochs
from attnae.training.task import ImageTask

QUIET = (
    "does not have many workers",  # images are indexed in memory; a worker would only copy them
    "GPU available but not used",
    "Checkpoint directory .* exists and is not empty",  # that is what resuming means
    "The number of training batches",  # no step-wise logging
    "predict returned None",  # reconstructions go to files
    "The `srun` command is available",  # a machine may have SLURM and train without it
    "corrupt EXIF data",  # the image is read, or refused, all the same
    "LeafSpec",  # https://github.com/Lightning-AI/pytorch-lightning/issues/21326
)


PATHS = ("trainer.default_root_dir", "checkpoint.dirpath", "data.init_args.root")
"""Keys that hold paths and are stored with the configuration."""


class SaveConfigOnce(SaveConfigCallback):
    """Saves the resolved configuration beside the run's files when it trains; an evaluation never overwrites it."""

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Saves ``config.yaml`` in the run's folder, and tells loggers what it says.

        It lacks what belongs to one command only: an evaluation elsewhere must not need the account of a logger.
        """
        path = Path(trainer.default_root_dir) / self.config_filename
        if stage == "fit" or not path.exists():
            config = self.config.clone()
            for key in ("weights", "ckpt_path"):
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

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the suite's own keys, and the checkpoint from which an interrupted training resumes."""
        parser.add_argument(
            "--weights", type=Path | None, default=None, help="weights.safetensors to start from or evaluate"
        )
        parser.add_argument(
            "--perceptual", type=bool, default=False, help="LPIPS and rFID in tests; downloads weights of 340 MB"
        )
        parser.add_argument(
            "--selection",
            type=str,
            default=LAST,
            help="epoch whose weights are evaluated: last, or a logged number such as val/mse whose lowest value selects",
        )
        parser.add_argument(
            "--last_epochs",
            type=NonNegativeInt,
            default=0,
            help="keep the weights of so many last epochs; a test measures each of them, too",
        )
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        # One file, overwritten: the last finished epoch, with the optimizer's state.
        # Saved after the epoch's row is written, whether or not the epoch was validated.
        defaults = {"filename": "last", "enable_version_counter": False, "save_on_train_epoch_end": True}
        parser.set_defaults({f"checkpoint.{key}": value for key, value in defaults.items()})

    def _parse_ckpt_path(self) -> None:
        """Nothing: Lightning would read the whole checkpoint a second time for hyper-parameters that ours do not hold."""

    def before_instantiate_classes(self) -> None:
        """Puts checkpoints into the run's folder."""
        config = self.config[self.subcommand]
        _expand_paths(config)
        # They are built apart: their own errors must not end a training.
        self.chosen_loggers, config.trainer.logger = config.trainer.logger, False
        folder = Path(config.trainer.default_root_dir)
        config.checkpoint.dirpath = config.checkpoint.dirpath or _checkpoints(folder)
        if isinstance(config.trainer.devices, str) and not re.fullmatch(r"auto|-1|\d+(,\d+)*", config.trainer.devices):
            raise UserError(f"trainer.devices is {config.trainer.devices!r}, not a number of devices.")
        if config.trainer.fast_dev_run:
            raise UserError(
                "trainer.fast_dev_run keeps no weights or records. For a short trial give trainer.max_epochs=1 and "
                "trainer.limit_train_batches=2."
            )
        if self.subcommand == "fit" and config.trainer.strategy == "auto" and _several(config.trainer):
            # Controls switch parts of a network off and two networks may take turns; plain DDP stops at the first
            # weight without a gradient. Looking for such weights costs a few per cent of a step at most.
            config.trainer.strategy = "ddp_find_unused_parameters_true"
        if self.subcommand == "test" and _several(config.trainer):
            raise UserError(
                "A test takes one device: its numbers are about whole sets of images. Give --trainer.devices 1."
            )
        for key in {"fit": ("max_epochs", "limit_train_batches"), "test": ("limit_test_batches",)}.get(
            str(self.subcommand), ()
        ):
            if config.trainer[key] == 0:
                raise UserError(
                    f"trainer.{key} is 0: there is nothing to {'train' if self.subcommand == 'fit' else 'test'}."
                )
        if self.subcommand == "fit" and config.selection.startswith("val/") and config.trainer.limit_val_batches == 0:
            raise UserError(
                f"selection is {config.selection}, and trainer.limit_val_batches is 0. Give --selection {LAST}."
            )
        if self.subcommand == "fit" and (folder / "weights.safetensors").exists() and not config.ckpt_path:
            raise UserError(
                f"{shown(folder)} holds a finished training. Give --trainer.default_root_dir another folder."
            )

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Builds the trainer; whatever callbacks a user gives, those of the suite follow them."""
        config = self.config[self.subcommand]
        self.progress = Progress()
        selection = Selection(config.selection, config.last_epochs)
        self.record = Record(selection)
        # Progress stops on broken weights before they are selected; Lightning moves the checkpoint to the end.
        self.trainer_defaults["callbacks"] = [self.progress, ScheduleCheck(), selection, self.record]
        chosen = self.chosen_loggers
        kwargs["logger"] = chosen if chosen is None or isinstance(chosen, bool) else loggers.build(chosen)
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except RuntimeError as error:  # such as of two callbacks that exclude each other
            raise UserError(str(error)) from error
        trainer.loggers = loggers.guarded(trainer.loggers)
        return trainer

    def after_predict(self) -> None:
        """Tells where the images are."""
        print(f"Images: {shown(Path(self.trainer.default_root_dir) / 'predictions')}", flush=True)

    def before_test(self) -> None:
        """Tests the weights of the last epochs, metrics only."""
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
        """Builds task, data and trainer, and loads the weights to start from or to evaluate."""
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
                "There is nothing to evaluate: give --weights RUN/weights.safetensors or --ckpt_path RUN/checkpoints/last.ckpt."
            )

    def _share_batch(self, devices: int) -> None:
        """Divides the batch that a paper states among the devices: together they make the steps that one would make."""
        batch = self.datamodule.batch_size
        if batch % devices:
            raise UserError(
                f"A batch of {batch} images cannot be shared by {devices} devices. Choose a number of devices that "
                "divides it, or another data.init_args.batch_size, which is the batch of all devices together."
            )
        self.datamodule.batch_size = batch // devices


def _expand_paths(config: Namespace) -> None:
    """Expands ``~`` in every path, wherever it was stated, and makes each relative to the working folder."""
    for key in (*PATHS, "weights", "ckpt_path"):
        if (value := config.get(key)) is not None:
            config[key] = type(value)(typed(str(value)))


def _checkpoints(folder: str | Path) -> str:
    return str(Path(folder) / "checkpoints")


def _several(trainer: Namespace) -> bool:
    """Whether a configuration asks for more than one device; what ``auto`` comes to is not known yet."""
    devices = trainer.devices
    count = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdigit() else 1
    return count * trainer.num_nodes > 1


def run_cli() -> None:
    """Parses ``sys.argv``, trains or evaluates.

    Raises:
        UserError: Whatever a user can mend, in one line.
    """
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # about names that Lightning still uses
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
                "use_distributed_sampler": False,  # EpochBatches shards by itself, repeatably
                "enable_model_summary": False,
                "enable_progress_bar": sys.stderr.isatty(),
            },
        )
    except (MisconfigurationException, ValueError, OSError, ImportError) as error:
        raise _out_of_memory(error) or UserError(str(error)) from error
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"Out of GPU memory. Lower data.init_args.batch_size. ({str(error).splitlines()[0]})"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if not (told := _out_of_memory(error)):
            raise
        raise told from error


def _out_of_memory(error: BaseException) -> UserError | None:
    """What to say where the processor's memory was out, also as the cause of another error; ``None`` where it was not."""
    if not isinstance(error, MemoryError) and not re.search("can't allocate memory|bad_alloc", str(error)):
        return None
    asked = re.search(r"tried to allocate (\d+) bytes", str(error))
    size = f" ({int(asked[1]) / 1e9:.1f} GB at once)" if asked else ""
    return UserError(f"Out of memory{size}. Lower data.init_args.batch_size, or the size of the network.")
