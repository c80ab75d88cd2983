"""A batch of images, and the protocol of corruptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of a task.

    Attributes:
        target: Clean images (B, 3, H, W) in [0, 1].
        input: Corrupted images (B, 3, H, W) in [0, 1].
        mask: True where a pixel is hidden, bool (B, 1, H, W); ``None`` without a mask.
        index: Index of each image in its split, int64 (B,).
        sigma: Standard deviation of each image's noise (B,); ``None`` without noise.
    """

    target: Tensor
    input: Tensor
    mask: Tensor | None
    index: Tensor
    sigma: Tensor | None = None

    def __getitem__(self, part: slice) -> Batch:
        """A slice of the batch."""
        return Batch(*(None if values is None else values[part] for values in vars(self).values()))  # type: ignore[arg-type]


class Corruption(Protocol):
    """Computes a batch's inputs from its targets."""

    def __call__(self, images: Tensor, index: Tensor, training: bool) -> Batch:
        """Corrupts images (B, 3, H, W) in [0, 1]: randomly in training, otherwise determined by the image index only."""
        ...
