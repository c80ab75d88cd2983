"""Per-image metrics of symmetry and eye color in faces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class EyePlaces(NamedTuple):
    """Eye positions in all images of an aligned dataset, as fractions of the square image's side.

    Attributes:
        centers: Centers of the two irises ((x, y), (x, y)), the first on the left of the image.
        radius: Radius of an iris.
    """

    centers: tuple[tuple[float, float], tuple[float, float]]
    radius: float

    def of(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Centers (B, 2, 2) and radii (B,) for images (B, C, S, S)."""
        return images.new_tensor(self.centers).expand(len(images), 2, 2), images.new_full((len(images),), self.radius)


ALIGNED = {"celeba": EyePlaces(((69.5 / 178, 91.5 / 178), (108.5 / 178, 91.5 / 178)), 3.5 / 178)}
"""Datasets aligned to fixed eye positions.

``celeba``: the "aligned and cropped" 178x218 images, center-cropped to 178x178 (rows 20 to 197). Measured on the mean of 600
images: eyes at x 69.5 and 108.5, y 111.5 of 178x218. The radius assumes an iris of 11.7 mm and eyes 63 mm apart. CelebA-HQ is
aligned differently.
"""


def symmetry_error(output: Tensor, target: Tensor) -> Tensor:
    """Difference between the asymmetry of an image and that of its target, lower is better.

    Reports divide it by the standard deviation of the data, like the paper's error. Paper: Attentive VQ-VAE shows images of
    symmetric faces but reports no number.

    Args:
        output: Images (B, C, H, W) in [0, 1].
        target: Images (B, C, H, W) in [0, 1].

    Returns:
        Mean of ``|(output - flip(output)) - (target - flip(target))|`` in [0, 2], (B,), flipped left to right. 0 for a
        perfect reconstruction; the asymmetry of the target for a symmetric output.
    """
    error = output - target
    return (error - error.flip(-1)).abs().flatten(1).mean(1)


def eye_color_error(
    output: Tensor, target: Tensor, centers: Tensor | np.ndarray, radius: Tensor | np.ndarray
) -> Tensor:
    """Error of the color difference between the two eyes, lower is better.

    Args:
        output: Images (B, 3, H, W) in [0, 1].
        target: Images (B, 3, H, W) in [0, 1].
        centers: Centers of the irises (B, 2, 2), x and y in fractions of the image's sides.
        radius: Radius of the irises (B,) in fractions of the image's width.

    Returns:
        Mean over R, G, B of the absolute difference between output and target in (mean color of the first eye - mean
        color of the second), each averaged over the pixels whose center lies on the iris; in [0, 2], (B,). 0 for a
        perfect reconstruction and for errors common to both eyes.
    """
    height, width = output.shape[-2:]
    rows, columns = (torch.arange(side, device=output.device) + 0.5 for side in (height, width))
    centers, radius = (torch.as_tensor(known).to(output) for known in (centers, radius))
    x, y = (centers * output.new_tensor([width, height]))[..., None, None].unbind(2)  # (B, 2, 1, 1)
    distance = (columns - x).square() + (rows[:, None] - y).square()  # (B, 2, H, W)
    reach = (radius * width).clamp_min(0.75)  # any circle of radius 0.71 pixels contains a pixel center
    iris = (distance <= reach.square()[:, None, None, None]).to(output)
    iris = iris / iris.sum((2, 3), keepdim=True)
    first, second = torch.einsum("bchw,behw->ebc", output - target, iris)
    return (first - second).abs().mean(1)
