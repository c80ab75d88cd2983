"""The DataModule that all datasets share."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from attnae.data.batch import Batch, Corruption
from attnae.data.cache import Images, cached
from attnae.data.decode import UInt8, read_image, resize_array
from attnae.data.location import Location, Source, locate, split_files
from attnae.data.photos import photo_crops
from attnae.data.sampler import EpochBatches, IndexedImages, run_seed
from attnae.errors import UserError


class ImageDataModule(L.LightningDataModule):
    """Images in memory or a memory-mapped cache, batched by index, corrupted on the device.

    Args:
        root: Folder of the images; ``None`` for the embedded ones.
        source: What to expect there; ``auto`` looks.
        download: Fetch official files that are missing into ``root``.
        corruption: Makes inputs from targets.
        image_size: Height and width in pixels.
        batch_size: Images per training step, all devices together.
        eval_batch_size: Images per evaluation step.
        train_images: Use only the first so many training images; ``None`` for all.
        test_images: Use only the first so many held-out images; ``None`` for all.
        val_images: Images whose error is followed over the epochs.
        train_set_images: Training images that the protocol `train_set` evaluates; 0 for none.

    Raises:
        UserError: The data is missing, unreadable or too small for a batch.
    """

    dataset: ClassVar[str]
    """Name of the published dataset."""

    embedded: ClassVar[str] = "photos"
    """Name of the images that stand in for it without a root."""

    embedded_counts: ClassVar[tuple[int, int]] = (1024, 512)
    """How many embedded training and held-out images there are."""

    test_splits: tuple[str, ...] = ("heldout", "train_set")
    """What each test dataloader holds: held-out images, and the first training images, on which the paper evaluates."""

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
        for name, value in (
            ("image_size", image_size),
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.corruption, self.root, self.source, self.download = corruption, root, source, download
        self.image_size, self.batch_size, self.eval_batch_size = image_size, batch_size, eval_batch_size
        self.train_images, self.test_images, self.val_images = train_images, test_images, val_images
        self.train_set_images = train_set_images
        self._splits: dict[str, Images] = {}

    # -- loading ------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Decodes and caches, once per machine: every other process finds the cache."""
        self._load()

    def setup(self, stage: str) -> None:
        """Opens the splits and checks that they are large enough."""
        self._load()
        sets = self.sets()
        if not len(sets["heldout"]):
            raise UserError(
                f"{self.location.name} has no held-out images left. Give a larger data.init_args.test_images."
            )
        train = len(sets["train"])
        if stage == "fit" and train < self.batch_size:
            raise UserError(
                f"{self.location.name} has {train} training images, too few for one batch of {self.batch_size}. "
                f"Add images or give --set data.init_args.batch_size={max(1, train // 4)}."
            )

    def _load(self) -> None:
        if not self._splits:
            self.location = locate(self.dataset, self.embedded, self.root, self.source, self.download)
            self._splits = {split: self.load_split(self.location, split) for split in ("train", "test")}

    def load_split(self, location: Location, split: str) -> Images:
        """Decoded images of ``train`` or ``test`` from wherever they are."""
        size = self.image_size
        key = f"{location.kind}|{location.fingerprint}|{location.root and location.root.resolve()}|{split}"
        if location.kind == "embedded":
            count = self.embedded_counts[split == "test"]
            key += f"|{count}"
            embedded = self.embedded_images(split == "train", count)

            def decode(index: int, conversions: Counter[str]) -> UInt8:
                return embedded(index)

        elif location.kind == "folder" and location.root:
            files = split_files(self.dataset, location.root)[split]
            key += "|" + "|".join(f"{f.stat().st_mtime_ns}" for f in files)
            count = len(files)

            def decode(index: int, conversions: Counter[str]) -> UInt8:
                return read_image(files[index], size, conversions)

        else:
            name = split
            if location.kind == "array" and location.root:
                name = f"{split}.npy"
                array = _open_array(location.root / name)
                key += f"|{(location.root / name).stat().st_mtime_ns}"
                if array.shape[1:3] == (size, size):  # nothing to decode: the file itself is the memory map
                    return Images(array, location.fingerprint, {})
            else:
                array = self.load_official(location, split)
            count = len(array)

            def decode(index: int, conversions: Counter[str]) -> UInt8:
                return resize_array(array[index], size, conversions, f"{name}[{index}]")

        images = cached(key, count, size, decode, f"decoding {location.name} {split}")
        for line in images.skipped:
            rank_zero_only(print)(f"Skipped: {line}", file=sys.stderr, flush=True)
        return images

    def embedded_images(self, train: bool, count: int) -> Callable[[int], UInt8]:
        """Embedded image by index, uint8 (size, size, 3); the first call may take a while."""
        crops = cache(lambda: photo_crops(train, count, self.image_size))
        return lambda index: crops()[index]

    def load_official(self, location: Location, split: str) -> UInt8:
        """Official images of a split, uint8 (N, H, W, 3), at their own size."""
        raise NotImplementedError

    def pixels(self, split: str) -> UInt8:
        """uint8 (N, H, W, 3) of ``train`` or ``test`` after the limits of the configuration."""
        return self._splits[split].pixels[: self.train_images if split == "train" else self.test_images]

    def about(self) -> dict[str, Any]:
        """What a report says about the data."""
        sets = self.sets()
        conversions = sum((Counter(images.conversions) for images in self._splits.values()), Counter[str]())
        return {
            "dataset": self.dataset,
            "name": self.location.name,
            "title": self.location.title,
            "kind": self.location.kind,
            "digest": "-".join(self._splits[split].digest[:8] for split in ("train", "test")),
            "train": len(sets["train"]),
            "test": len(sets["heldout"]),
            "size": self.image_size,
            "converted": dict(conversions),
        }

    def sets(self) -> dict[str, IndexedImages]:
        """What ``train``, ``val`` and each of :attr:`test_splits` consist of.

        ``val`` are the first held-out images: followed over the epochs, never used to choose anything.
        """
        train, test = self.pixels("train"), self.pixels("test")
        return {
            "train": IndexedImages(train),
            "val": IndexedImages(test[: self.val_images]),
            "heldout": IndexedImages(test),
            "train_set": IndexedImages(train[: self.train_set_images]),
        }

    # -- batches ------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled training images; the last, smaller batch is kept, as published."""
        return self._loader(self.sets()["train"], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The followed images."""
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
        # A generator of its own: a new iterator draws a seed for workers that there are none of, and would shift the
        # noise of a resumed run against that of an uninterrupted one if it drew from torch's global generator.
        own = torch.Generator()
        return DataLoader(images, sampler=sampler, batch_size=None, generator=own, pin_memory=torch.cuda.is_available())

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> Batch:
        """Bytes to floats and targets to inputs, on the device."""
        pixels, index = batch
        images = pixels.permute(0, 3, 1, 2).float().div_(255)  # (B, H, W, 3) -> (B, 3, H, W), channels last in memory
        training = bool(self.trainer and self.trainer.training)
        testing = bool(self.trainer and self.trainer.testing)
        return self.corruption_of(self.test_splits[dataloader_idx] if testing else "")(images, index, training)

    def corruption_of(self, split: str) -> Corruption:
        """The corruption of a test split; of training and validation for an empty name."""
        return self.corruption


def _open_array(path: Path) -> UInt8:
    try:
        array: UInt8 = np.lib.format.open_memmap(path, mode="r")  # refuses archives and pickles
    except (OSError, EOFError, ValueError) as error:
        raise UserError(
            f"Cannot read {path}: {error}. Expected uint8 of shape (N, H, W, 3) as np.save writes it."
        ) from error
    if (
        array.dtype != np.uint8
        or array.ndim != 4
        or array.shape[-1] != 3
        or array.shape[1] != array.shape[2]
        or not array.size
    ):
        raise UserError(f"{path} holds {array.dtype} of shape {array.shape}. Expected uint8 of shape (N, H, H, 3).")
    return array
