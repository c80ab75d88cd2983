"""Per-image measures of what attention is said to do for faces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class EyePlaces(NamedTuple):
    """Where the eyes are in all images of an aligned dataset, as fractions of the square image's side.

    Attributes:
        centers: Centers of the two irises ((x, y), (x, y)), the first on the left of the picture.
        radius: Radius of an iris.
    """

    centers: tuple[tuple[float, float], tuple[float, float]]
    radius: float

    def of(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Centers (B, 2, 2) and radii (B,) for images (B, C, S, S)."""
        return images.new_tensor(self.centers).expand(len(images), 2, 2), images.new_full((len(images),), self.radius)


ALIGNED = {"celeba": EyePlaces(((69.5 / 178, 91.5 / 178), (108.5 / 178, 91.5 / 178)), 3.5 / 178)}
"""Datasets whose alignment puts the eyes of all faces in one place.

``celeba``: the 178x218 images "aligned and cropped", from which the suite takes the central 178x178, rows 20 to 197. Measured
on the mean of 600 of them: eyes at x 69.5 and 108.5, y 111.5 of 178x218. The radius is that of an iris of 11.7 mm between eyes
63 mm apart. CelebA-HQ is aligned in another way.
"""


def symmetry_error(output: Tensor, target: Tensor) -> Tensor:
    """How much an image differs from its mirror image otherwise than it should, lower is better.

    Reports divide it by the standard deviation of the data, as the paper's error is. Paper: Attentive VQ-VAE shows
    pictures of symmetric faces but has no number.

    Args:
        output: Images (B, C, H, W) in [0, 1].
        target: Images (B, C, H, W) in [0, 1].

    Returns:
        Mean of ``|(output - flip(output)) - (target - flip(target))|`` in [0, 2], (B,), flipped left to right. 0 for a
        perfect reconstruction; for a symmetric picture it is the asymmetry of the truth.
    """
    error = output - target
    return (error - error.flip(-1)).abs().flatten(1).mean(1)


def eye_color_error(
    output: Tensor, target: Tensor, centers: Tensor | np.ndarray, radius: Tensor | np.ndarray
) -> Tensor:
    """How much the difference between the two eyes' colors deviates from the truth, lower is better.

    Args:
        output: Images (B, 3, H, W) in [0, 1].
        target: Images (B, 3, H, W) in [0, 1].
        centers: Centers of the irises (B, 2, 2), x and y in fractions of the image's sides.
        radius: Radius of the irises (B,) in fractions of the image's width.

    Returns:
        Mean over R, G, B of the absolute difference between output and target in (mean color of the first eye - mean
        color of the second), each mean over the pixels whose center lies on the iris; in [0, 2], (B,). 0 for a perfect
        reconstruction and for errors that both eyes share.
    """
    height, width = output.shape[-2:]
    rows, columns = (torch.arange(side, device=output.device) + 0.5 for side in (height, width))
    centers, radius = (torch.as_tensor(known).to(output) for known in (centers, radius))
    x, y = (centers * output.new_tensor([width, height]))[..., None, None].unbind(2)  # (B, 2, 1, 1)
    distance = (columns - x).square() + (rows[:, None] - y).square()  # (B, 2, H, W)
    reach = (radius * width).clamp_min(0.75)  # any circle of 0.71 pixels holds a pixel's center
    iris = (distance <= reach.square()[:, None, None, None]).to(output)
    iris = iris / iris.sum((2, 3), keepdim=True)
    first, second = torch.einsum("bchw,behw->ebc", output - target, iris)
    return (first - second).abs().mean(1)
