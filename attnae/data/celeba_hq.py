"""CelebA-HQ at 256x256, or what stands in for it."""

from __future__ import annotations

from typing import Any

from attnae.data.base import ImageDataModule
from attnae.data.batch import Corruption
from attnae.data.noise import Uncorrupted


class CelebAHQDataModule(ImageDataModule):
    """CelebA-HQ, four fifths for training; arguments that are not listed are those of :class:`ImageDataModule`.

    Paper: Attentive VQ-VAE, 80% of 30,000 images at 256x256 for training and 20% for testing; which ones is not said,
    nor the batch size. We: a stable hash of each file's name decides (``location.is_held_out``). The dataset has no
    files to fetch: give a folder of images. Procedural portraits stand in for it without one.

    Args:
        corruption: Makes inputs from targets; ``None`` for an autoencoder's, which are the same.
        image_size: Height and width in pixels.
        batch_size: Images per training step, all devices together.
        eval_batch_size: Images per evaluation step.
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
