"""Corruptions that run on the device: fresh in training, the same for every model and seed at evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What a task gets to see.

    Attributes:
        target: Clean images (B, 3, H, W) in [0, 1].
        input: Corrupted images (B, 3, H, W) in [0, 1].
        mask: True where a pixel is hidden, bool (B, 1, H, W); ``None`` for corruptions that hide nothing.
        index: Position of each image in its split, int64 (B,).
    """

    target: Tensor
    input: Tensor
    mask: Tensor | None
    index: Tensor


class Corruption(Protocol):
    """Makes a batch's input from its target."""

    def __call__(self, images: Tensor, index: Tensor, training: bool) -> Batch:
        """Corrupts ``images`` (B, 3, H, W) in [0, 1]; in training from torch's CPU generator, else by image index only."""
        ...


class PatchMask:
    """Hides square patches behind mid-grey.

    Paper: VAE vs SAAAE, "16 patches of 8x8". Released: drawn once per batch, top and left uniform in [0, side - 8), so
    that the last row and column of positions is never drawn; patches may overlap. In training the draw comes from
    torch's CPU generator; at evaluation from the image's index alone, so that every model, seed, batch size and
    device sees the same masks.

    Args:
        patches: Patches per image.
        size: Side of a patch in pixels.
        per: One mask for a whole training batch (published) or one for each of its images.
        fill: Value of hidden pixels in [0, 1]; 0.5 is the 0 of the paper's [-1, 1].

    Raises:
        ValueError: A patch or their number is not positive, or ``fill`` is no pixel value.
    """

    def __init__(self, patches: int = 16, size: int = 8, per: Literal["batch", "image"] = "batch", fill: float = 0.5):
        if patches < 1 or size < 1 or not 0 <= fill <= 1:
            raise ValueError(
                f"PatchMask needs patches >= 1, size >= 1 and fill in [0, 1]; got {patches}, {size}, {fill}"
            )
        self.patches, self.size, self.per, self.fill = patches, size, per, fill

    def __call__(self, images: Tensor, index: Tensor, training: bool) -> Batch:
        """See :class:`Corruption`."""
        side = images.shape[-1]
        if side <= self.size:
            raise ValueError(f"patches of {self.size} pixels do not fit into images of {side}")
        if training:
            masks = 1 if self.per == "batch" else len(images)
            corners = torch.randint(0, side - self.size, (masks, self.patches, 2))
        else:
            draws = [
                np.random.default_rng([42, int(i)]).integers(0, side - self.size, (self.patches, 2)) for i in index
            ]
            corners = torch.from_numpy(np.stack(draws))
        mask = self._paint(corners.to(images.device), side).expand(len(images), -1, -1, -1)
        return Batch(images, torch.where(mask, self.fill, images), mask, index)

    def _paint(self, corners: Tensor, side: int) -> Tensor:
        """Corners (B, P, 2) of patches to masks (B, 1, side, side)."""
        line = torch.arange(side, device=corners.device)
        inside = (line >= corners[..., None]) & (line < corners[..., None] + self.size)  # (B, P, 2, side)
        rows, columns = inside.float().unbind(2)
        return (torch.einsum("bpi,bpj->bij", rows, columns) > 0)[:, None]
