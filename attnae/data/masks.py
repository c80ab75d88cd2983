"""Corruptions that hide pixels: the paper's patches, and other masks.

In training, torch's CPU generator draws the masks. In evaluation, a mask depends only on the image's index, so it is the same
for every model, seed, batch size and device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnae.data.batch import Batch

Per = Literal["batch", "image"]
Color = Literal["red", "blue", "green", "purple"]


class Mask(ABC):
    """Replaces pixels with a constant value.

    Args:
        fill: Value of hidden pixels in [0, 1]; 0.5 corresponds to 0 in the paper's range [-1, 1].

    Raises:
        ValueError: ``fill`` is not in [0, 1].
    """

    def __init__(self, fill: float):
        if not 0 <= fill <= 1:
            raise ValueError(f"{type(self).__name__}: fill must be in [0, 1], got {fill}")
        self.fill = fill

    @abstractmethod
    def hidden(self, index: Tensor, side: int, training: bool) -> Tensor:
        """Masks of images with ``index`` (B,) in their split: bool (B or 1, 1, side, side), true where a pixel is hidden.

        Raises:
            ValueError: The mask is larger than the images.
        """

    def __call__(self, images: Tensor, index: Tensor, training: bool) -> Batch:
        """See :class:`Corruption`."""
        mask = self.hidden(index, images.shape[-1], training).to(images.device).expand(len(images), -1, -1, -1)
        return Batch(images, torch.where(mask, self.fill, images), mask, index)


class PatchMask(Mask):
    """Hides square patches.

    Paper: VAE vs SAAAE, "16 patches of 8x8". Released code: drawn once per batch, top and left uniform in [0, side - 8), so
    the last row and column of positions are never drawn; patches may overlap.

    Args:
        patches: Number of patches per image.
        size: Side of a patch in pixels.
        per: Draw one mask per training ``batch`` (as in the released code) or per ``image``.
        fill: See :class:`Mask`.

    Raises:
        ValueError: ``patches`` or ``size`` is not positive, or ``fill`` is not in [0, 1].
    """

    def __init__(self, patches: int = 16, size: int = 8, per: Per = "batch", fill: float = 0.5):
        super().__init__(fill)
        if patches < 1 or size < 1:
            raise ValueError(f"PatchMask: patches and size must be at least 1, got {patches} and {size}")
        self.patches, self.size, self.per = patches, size, per

    def hidden(self, index: Tensor, side: int, training: bool) -> Tensor:
        """See :class:`Mask`."""
        if side <= self.size:
            raise ValueError(f"patches of {self.size} pixels are larger than the images ({side} pixels)")
        if training:
            masks = 1 if self.per == "batch" else len(index)
            corners = torch.randint(0, side - self.size, (masks, self.patches, 2))
        else:
            draws = [
                np.random.default_rng([42, int(i)]).integers(0, side - self.size, (self.patches, 2)) for i in index
            ]
            corners = torch.from_numpy(np.stack(draws))
        line = torch.arange(side)
        inside = (line >= corners[..., None]) & (line < corners[..., None] + self.size)  # (B, P, 2, side)
        rows, columns = inside.float().unbind(2)
        return (torch.einsum("bpi,bpj->bij", rows, columns) > 0)[:, None]


class CenterMask(Mask):
    """Hides a square in the center of the image; not random.

    Args:
        size: Side of the square in pixels. If it cannot be centered exactly, it is shifted up and left by half a pixel.
        fill: See :class:`Mask`.

    Raises:
        ValueError: ``size`` is not positive, or ``fill`` is not in [0, 1].
    """

    def __init__(self, size: int = 32, fill: float = 0.5):
        super().__init__(fill)
        if size < 1:
            raise ValueError(f"CenterMask: size must be at least 1, got {size}")
        self.size = size

    def hidden(self, index: Tensor, side: int, training: bool) -> Tensor:
        """See :class:`Mask`."""
        if side < self.size:
            raise ValueError(f"a square of {self.size} pixels is larger than the images ({side} pixels)")
        first = (side - self.size) // 2
        mask = torch.zeros(1, 1, side, side, dtype=torch.bool)
        mask[..., first : first + self.size, first : first + self.size] = True
        return mask


class PixelMask(Mask):
    """Hides single pixels, drawn uniformly.

    Args:
        ratio: Share of hidden pixels, rounded to a whole number of pixels.
        per: Draw one mask per training ``batch`` or per ``image``.
        fill: See :class:`Mask`.

    Raises:
        ValueError: ``ratio`` is not between 0 and 1, or ``fill`` is not in [0, 1].
    """

    def __init__(self, ratio: float = 0.25, per: Per = "batch", fill: float = 0.5):
        super().__init__(fill)
        if not 0 < ratio < 1:
            raise ValueError(f"{type(self).__name__}: ratio must be between 0 and 1, got {ratio}")
        self.ratio, self.per = ratio, per

    def hidden(self, index: Tensor, side: int, training: bool) -> Tensor:
        """See :class:`Mask`."""
        if training:
            noise = torch.randn(1 if self.per == "batch" else len(index), side, side)
        else:
            draws: list[NDArray[np.float32]] = [
                np.random.default_rng([45, int(i)]).standard_normal((side, side), np.float32) for i in index
            ]
            noise = torch.from_numpy(np.stack(draws))
        # By rank, so every mask hides the same number of pixels. On the CPU, because another device's rounding could swap
        # two pixels at the threshold.
        lowest = self.filtered(noise).flatten(1).topk(round(self.ratio * side**2), largest=False).indices
        mask = torch.zeros(len(noise), side**2, dtype=torch.bool).scatter_(1, lowest, True)
        return mask.view(-1, 1, side, side)

    def filtered(self, noise: Tensor) -> Tensor:
        """Filters white noise (B, side, side); the pixels with the lowest values are hidden."""
        return noise


class ColorNoiseMask(PixelMask):
    """Hides pixels where filtered noise is low, in spots whose size and spacing depend on the filter.

    Paper: ColorMAE (arXiv 2407.13036), random noise passed through one of four filters and thresholded to the mask ratio.
    There, a value masks a patch and filtered noise is precomputed. We: a value masks a pixel, and noise is drawn on demand and
    filtered by differences of Gaussians: white = red + green + blue.

    Args:
        color: ``red`` is low-pass (large spots), ``blue`` high-pass (scattered pixels), ``green`` band-pass (spots of one
            size), ``purple`` band-stop (red + blue).
        ratio: See :class:`PixelMask`.
        sigma: Standard deviations of the two Gaussians in pixels, in increasing order.
        per: See :class:`PixelMask`.
        fill: See :class:`Mask`.

    Raises:
        ValueError: ``color`` is unknown, ``sigma`` is not positive and increasing, or see :class:`PixelMask`.
    """

    colors: ClassVar[tuple[Color, ...]] = ("red", "green", "blue", "purple")

    def __init__(
        self,
        color: Color = "green",
        ratio: float = 0.25,
        sigma: tuple[float, float] = (1.0, 4.0),
        per: Per = "batch",
        fill: float = 0.5,
    ):
        super().__init__(ratio, per, fill)
        if color not in self.colors:
            raise ValueError(f"ColorNoiseMask: color must be one of {', '.join(self.colors)}, got {color!r}")
        if not 0 < sigma[0] < sigma[1]:
            raise ValueError(f"ColorNoiseMask: sigma must be two positive numbers in increasing order, got {sigma}")
        self.color, self.sigma = color, sigma

    def filtered(self, noise: Tensor) -> Tensor:
        """See :class:`PixelMask`. The noise is periodic at the borders."""
        side = noise.shape[-1]
        frequency = torch.fft.fftfreq(side)[:, None] ** 2 + torch.fft.rfftfreq(side) ** 2  # squared, cycles per pixel
        # The transfer function of a Gaussian blur with sigma s is exp(-2 (pi s f)^2) at frequency f.
        narrow, wide = (torch.exp(-2 * (torch.pi * s) ** 2 * frequency) for s in self.sigma)
        passed = {"red": wide, "green": narrow - wide, "blue": 1 - narrow, "purple": 1 - narrow + wide}[self.color]
        return torch.fft.irfft2(torch.fft.rfft2(noise) * passed, s=(side, side))
