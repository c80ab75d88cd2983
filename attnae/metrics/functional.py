"""Per-image measures on the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

PSNR_LIMIT = 100.0
"""Identical images have an infinite PSNR; a mean over images needs a number."""


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, higher is better.

    Args:
        output: Images (B, C, H, W) in [0, 1].
        target: Images (B, C, H, W) in [0, 1].

    Returns:
        ``10 log10(1 / mse)`` in dB, (B,), at most :data:`PSNR_LIMIT`.
    """
    mse = (output - target).square().flatten(1).mean(1)
    return -10 * mse.clamp_min(10 ** (-PSNR_LIMIT / 10)).log10()


def ssim_uniform(output: Tensor, target: Tensor, window: int = 7) -> Tensor:
    """Structural similarity of each image as scikit-image computes it by default, higher is better.

    torchmetrics' uniform window divides variances by N, scikit-image by N - 1: a different number.

    Args:
        output: Images (B, C, H, W) in [0, 1], H and W at least ``window``.
        target: Images (B, C, H, W) in [0, 1].
        window: Odd side of the window in pixels.

    Returns:
        Mean over windows and channels in [-1, 1], (B,). Two equal flat images have 1.
    """
    sample = window * window / (window * window - 1)
    both = torch.cat([output, target, output * output, target * target, output * target])
    means = F.avg_pool2d(both, window, stride=1)  # (5 B, C, H - window + 1, W - window + 1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means.chunk(5)
    var_x, var_y = sample * (mean_xx - mean_x * mean_x), sample * (mean_yy - mean_y * mean_y)
    cov = sample * (mean_xy - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    score = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / (
        (mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2)
    )
    return score.flatten(1).mean(1)


def ssim_gaussian(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image with torchmetrics' defaults (Gaussian window), higher is better.

    Args:
        output: Images (B, C, H, W) in [0, 1].
        target: Images (B, C, H, W) in [0, 1].

    Returns:
        (B,) in [-1, 1].
    """
    score = structural_similarity_index_measure(output, target, data_range=1.0, reduction="none")
    assert isinstance(score, Tensor)
    return score.reshape(len(output))
