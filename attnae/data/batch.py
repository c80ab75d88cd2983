"""What a task sees of a batch of images, and the protocol of what makes inputs from targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What a task gets to see.

    Attributes:
        target: Clean images (B, 3, H, W) in [0, 1].
        input: Corrupted images (B, 3, H, W) in [0, 1].
        mask: True where a pixel is hidden, bool (B, 1, H, W); ``None`` for corruptions that hide nothing.
        index: Position of each image in its split, int64 (B,).
        sigma: Standard deviation of each image's noise (B,); ``None`` for corruptions that are not noise.
    """

    target: Tensor
    input: Tensor
    mask: Tensor | None
    index: Tensor
    sigma: Tensor | None = None

    def __getitem__(self, part: slice) -> Batch:
        """Some of the images."""
        return Batch(*(None if values is None else values[part] for values in vars(self).values()))  # type: ignore[arg-type]


class Corruption(Protocol):
    """Makes a batch's input from its target."""

    def __call__(self, images: Tensor, index: Tensor, training: bool) -> Batch:
        """Corrupts ``images`` (B, 3, H, W) in [0, 1]; in training from torch's CPU generator, else by image index only."""
        ...
