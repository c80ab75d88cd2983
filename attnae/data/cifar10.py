"""CIFAR-10 at 32x32, or a substitute."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnae.data.base import ImageDataModule
from attnae.data.batch import Corruption
from attnae.data.noise import GaussianNoise
from attnae.data.sampler import IndexedImages

SPLIT_SEED = 42


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10 with a validation split. For other arguments, see :class:`ImageDataModule`.

    Paper: Adaptive Sparse Attention MoE. The 50,000 training images are split at random into 40,000 for training and 10,000
    for validation; the 10,000 test images are held out. We: the same split for every seed.

    Args:
        corruption: Computes inputs from targets.
        image_size: Height and width in pixels.
        batch_size: Images per training step, all devices together.
        split: Training images before the split's rest validates; at most four fifths of what there is, unless more than
            ``split`` remain.
        val_images: Use only so many validation images; ``None`` for all.
        test_sigmas: Test at these noise levels, too, as protocols ``heldout_sigma_<sigma>``.
        kwargs: See :class:`ImageDataModule`.
    """

    dataset = "CIFAR-10"

    def __init__(
        self,
        corruption: Corruption,
        image_size: int = 32,
        batch_size: int = 64,
        split: int = 40_000,
        val_images: int | None = None,
        test_sigmas: tuple[float, ...] = (),
        **kwargs: Any,
    ):
        super().__init__(corruption, image_size=image_size, batch_size=batch_size, val_images=val_images, **kwargs)
        if split < 1:
            raise ValueError(f"split must be at least 1, got {split}")
        self.split = split
        self.sweep: dict[str, Corruption] = {f"heldout_sigma_{sigma:g}": GaussianNoise(sigma) for sigma in test_sigmas}
        self.test_splits = ("heldout", *self.sweep)

    def corruption_of(self, split: str) -> Corruption:
        """The training corruption, or noise of the level in the split's name."""
        return self.sweep.get(split, self.corruption)

    def sets(self) -> dict[str, IndexedImages]:
        """Training and validation images are disjoint parts of the training split, whatever the run's seed."""
        pixels = self._splits["train"].pixels
        test = IndexedImages(self._splits["test"].pixels, self.limited("test", self.test_images))
        order = np.random.default_rng(SPLIT_SEED).permutation(len(pixels))
        count = self.split if len(pixels) > self.split else len(pixels) * 4 // 5
        return {
            "train": IndexedImages(pixels, order[:count][: self.train_images]),
            "val": IndexedImages(pixels, order[count:][: self.val_images]),
            **dict.fromkeys(self.test_splits, test),
        }
