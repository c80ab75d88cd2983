"""Base DataModule of all datasets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from attnae.data.batch import Batch, Corruption
from attnae.data.cache import Images
from attnae.data.content import check_expected, leaked, load
from attnae.data.decode import UInt8
from attnae.data.location import Source, locate
from attnae.data.sampler import EpochBatches, IndexedImages, run_seed, sample
from attnae.errors import UserError


class ImageDataModule(L.LightningDataModule):
    """Images in memory or in a memory-mapped cache, batched by index, corrupted on the device.

    Args:
        root: Folder of images; ``None`` for the embedded images.
        source: Kind of data in ``root``; ``auto`` detects it.
        download: Download missing official files into ``root``.
        corruption: Computes inputs from targets.
        image_size: Height and width in pixels.
        batch_size: Images per training step, all devices together.
        eval_batch_size: Images per evaluation step.
        train_images: Use only so many training images; ``None`` for all. See :meth:`limited` for which ones.
        test_images: Use only so many held-out images; ``None`` for all.
        val_images: Held-out images whose error is followed over the epochs; ``None`` for all.
        train_set_images: Training images that the protocol `train_set` evaluates; 0 for none.

    Raises:
        UserError: The data is missing, unreadable, or smaller than one batch.
    """

    dataset: ClassVar[str]
    """Name of the published dataset."""

    embedded: ClassVar[str] = "photos"
    """Name of the embedded images used without a root."""

    embedded_counts: ClassVar[tuple[int, int] | None] = None
    """Number of embedded training and held-out images to generate; ``None`` for all."""

    test_splits: tuple[str, ...] = ("heldout", "train_set")
    """Names of the test dataloaders: held-out images, and the training images that the paper evaluates."""

    def __init__(
        self,
        corruption: Corruption,
        root: Path | None = None,
        source: Source = "auto",
        download: bool = False,
        image_size: int = 64,
        batch_size: int = 256,
        eval_batch_size: int = 256,
        train_images: int | None = None,
        test_images: int | None = None,
        val_images: int | None = 256,
        train_set_images: int = 256,
    ):
        super().__init__()
        for name, value, least in (
            ("image_size", image_size, 7),  # the window of SSIM
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("train_images", train_images, 0),
            ("test_images", test_images, 0),
            ("val_images", val_images, 0),
            ("train_set_images", train_set_images, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.corruption, self.root, self.source, self.download = corruption, root, source, download
        self.image_size, self.batch_size, self.eval_batch_size = image_size, batch_size, eval_batch_size
        self.train_images, self.test_images, self.val_images = train_images, test_images, val_images
        self.train_set_images = train_set_images
        self._splits: dict[str, Images] = {}

    # -- loading ------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Decodes and caches the images once per machine; other processes read the cache."""
        self._load()

    def setup(self, stage: str) -> None:
        """Opens the splits and checks their sizes."""
        self._load()
        sets = self.sets()
        if not len(sets["heldout"]):
            raise UserError(f"{self.location.name} has no held-out images left. Increase data.init_args.test_images.")
        if (found := self._leaked()) and found == len(sets["heldout"]):
            raise UserError(
                f"All {found:,} held-out images used of {self.location.name} are also training images. "
                "Change data.init_args.test_images, or provide other held-out images."
            )
        train = len(sets["train"])
        if stage == "fit" and train < min(2, self.batch_size):
            limited = train == self.train_images and train < len(self._splits["train"].pixels)
            what = "Increase data.init_args.train_images" if limited else "Add images"
            raise UserError(f"{self.location.name} has {train} training images, too few for a batch. {what}.")
        if stage == "fit" and train < self.batch_size:
            note = f"{self.location.name} has {train} training images: batches of {train} instead of {self.batch_size}"
            rank_zero_only(print)(note, file=sys.stderr, flush=True)
            self.batch_size = train

    def _load(self) -> None:
        if not self._splits:
            self.location = locate(self.dataset, self.embedded, self.root, self.source, self.download)
            self._splits, self.content = load(self.location, self.image_size, self.embedded_counts)
            check_expected(self.content)
            for line in self.content.notices():
                rank_zero_only(print)(line, file=sys.stderr, flush=True)

    def pixels(self, split: str) -> UInt8:
        """uint8 (N, H, W, 3) of ``train`` or ``test`` after the limits of the configuration."""
        limit = self.train_images if split == "train" else self.test_images
        whole = self._splits[split].pixels
        return (
            whole[:limit]
            if limit is None or not self.location.has_classes(split)
            else whole[self.limited(split, limit)]
        )

    def limited(self, split: str, *limits: int | None) -> np.ndarray:
        """Positions (N,) of the images that a split is limited to.

        The first ones; where classes lie in folders of their own, which makes the first ones all alike, the first ones of
        a shuffle that is always the same. A smaller limit is a prefix of a larger one. Without a limit: all, in order.

        Args:
            split: ``train`` or ``test``.
            limits: The smallest one counts; ``None`` is no limit.
        """
        given = [limit for limit in limits if limit is not None]
        shuffled = bool(given) and self.location.has_classes(split)
        return sample(len(self._splits[split].pixels), shuffled)[: min(given, default=None)]

    def about(self) -> dict[str, Any]:
        """Description of the data for reports."""
        sets = self.sets()
        return {
            "dataset": self.dataset,
            "name": self.location.name,
            "title": self.location.title,
            "kind": self.location.kind,
            "digest": self.content.digest,
            "train": len(sets["train"]),
            "test": len(sets["heldout"]),
            "size": self.image_size,
            "converted": self.content.converted,
            "left_out": self.content.left_out,
            "leaked": self._leaked(),
        }

    def _leaked(self) -> int:
        """Number of the held-out images used that are also among the training images used."""
        if not self.content.leaked:
            return 0
        train, test = (self.sets()[name] for name in ("train", "heldout"))
        return leaked(train.pixels[train.indices], test.pixels[test.indices])

    def sets(self) -> dict[str, IndexedImages]:
        """Images of ``train``, ``val`` and each of :attr:`test_splits`.

        ``val`` are held-out images: followed over the epochs, never used to choose anything. ``train_set`` are the training
        images that the published protocol evaluates. :meth:`limited` says which ones.
        """
        train, test = self._splits["train"].pixels, self._splits["test"].pixels
        return {
            "train": IndexedImages(train, self.limited("train", self.train_images)),
            "val": IndexedImages(test, self.limited("test", self.test_images, self.val_images)),
            "heldout": IndexedImages(test, self.limited("test", self.test_images)),
            "train_set": IndexedImages(train, self.limited("train", self.train_images, self.train_set_images)),
        }

    # -- batches ------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training images. Keeps the last, smaller batch, as in the papers."""
        return self._loader(self.sets()["train"], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The validation images."""
        images = self.sets()["val"]
        return self._loader(images) if len(images) else []

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """One dataloader for each of :attr:`test_splits` that has images."""
        sets = self.sets()
        return [self._loader(sets[name]) for name in self.test_splits if len(sets[name])]

    def predict_dataloader(self) -> DataLoader[Any]:
        """The held-out images."""
        return self._loader(self.sets()["heldout"])

    def _loader(self, images: IndexedImages, batch_size: int = 0, shuffle: bool = False) -> DataLoader[Any]:
        trainer = self.trainer
        world = trainer.world_size if trainer else 1
        rank = trainer.global_rank if trainer else 0
        sampler = EpochBatches(len(images), batch_size or self.eval_batch_size, shuffle, run_seed(), rank, world)
        # A separate generator: every new iterator draws a seed for workers, even without workers. Drawn from torch's global
        # generator, it would change the noise of a resumed run.
        own = torch.Generator()
        return DataLoader(images, sampler=sampler, batch_size=None, generator=own, pin_memory=torch.cuda.is_available())

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> Batch:
        """Converts bytes to floats and applies the corruption, on the device."""
        pixels, index = batch
        images = pixels.permute(0, 3, 1, 2).float().div_(255)  # (B, H, W, 3) -> (B, 3, H, W), channels last in memory
        training = bool(self.trainer and self.trainer.training)
        testing = bool(self.trainer and self.trainer.testing)
        return self.corruption_of(self.test_splits[dataloader_idx] if testing else "")(images, index, training)

    def corruption_of(self, split: str) -> Corruption:
        """Corruption of a test split; for an empty name, of training and validation."""
        return self.corruption
