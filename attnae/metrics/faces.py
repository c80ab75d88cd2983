"""Per-image measures of what attention is said to do for faces."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


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


def eye_colour_error(
    output: Tensor, target: Tensor, centres: Tensor | np.ndarray, radius: Tensor | np.ndarray
) -> Tensor:
    """How much the difference between the two eyes' colours deviates from the truth, lower is better.

    Args:
        output: Images (B, 3, H, W) in [0, 1].
        target: Images (B, 3, H, W) in [0, 1].
        centres: Centres of the irises (B, 2, 2), x and y in fractions of the image's sides.
        radius: Radius of the irises (B,) in fractions of the image's width.

    Returns:
        Mean over R, G, B of the absolute difference between output and target in (mean colour of the first eye - mean
        colour of the second), each mean over the pixels whose centre lies on the iris; in [0, 2], (B,). 0 for a perfect
        reconstruction and for errors that both eyes share.
    """
    height, width = output.shape[-2:]
    rows, columns = (torch.arange(side, device=output.device) + 0.5 for side in (height, width))
    centres, radius = (torch.as_tensor(known).to(output) for known in (centres, radius))
    x, y = (centres * output.new_tensor([width, height]))[..., None, None].unbind(2)  # (B, 2, 1, 1)
    distance = (columns - x).square() + (rows[:, None] - y).square()  # (B, 2, H, W)
    reach = (radius * width).clamp_min(0.75)  # any circle of 0.71 pixels holds a pixel's centre
    iris = (distance <= reach.square()[:, None, None, None]).to(output)
    iris = iris / iris.sum((2, 3), keepdim=True)
    first, second = torch.einsum("bchw,behw->ebc", output - target, iris)
    return (first - second).abs().mean(1)
