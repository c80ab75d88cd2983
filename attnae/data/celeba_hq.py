"""CelebA-HQ at 256x256, or a substitute."""

from __future__ import annotations

from typing import Any

from attnae.data.base import ImageDataModule
from attnae.data.batch import Corruption
from attnae.data.noise import Uncorrupted


class CelebAHQDataModule(ImageDataModule):
    """CelebA-HQ with 80% of the images for training. For other arguments, see :class:`ImageDataModule`.

    Paper: Attentive VQ-VAE, 80% of 30,000 images at 256x256 for training and 20% for testing; neither the split nor the
    batch size is stated. We: a stable hash of each file name decides (``location.is_held_out``). The dataset cannot be
    downloaded; provide a folder of images. Without one, procedural faces are used.

    Args:
        corruption: Computes inputs from targets; ``None`` for an autoencoder, whose inputs are the targets.
        image_size: Height and width in pixels.
        batch_size: Global batch size in training, over all devices.
        eval_batch_size: Batch size in evaluation.
        kwargs: See :class:`ImageDataModule`.
    """

    dataset = "CelebA-HQ"
    embedded = "faces"
    test_splits = ("heldout",)

    def __init__(
        self,
        corruption: Corruption | None = None,
        image_size: int = 256,
        batch_size: int = 16,
        eval_batch_size: int = 16,
        **kwargs: Any,
    ):
        super().__init__(
            corruption or Uncorrupted(),
            image_size=image_size,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            **kwargs,
        )
