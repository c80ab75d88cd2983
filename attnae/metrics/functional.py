"""Per-image metrics, computed on the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

PSNR_LIMIT = 100.0
"""Upper limit, because the PSNR of identical images is infinite and would make the mean infinite."""


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, higher is better.

    Args:
        output: Images (B, C, H, W) in [0, 1].
        target: Images (B, C, H, W) in [0, 1].

    Returns:
        ``10 log10(1 / mse)`` in dB, (B,), at most :data:`PSNR_LIMIT`.

    Example:
        >>> psnr(torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.1)).round()
        tensor([20., 20.])
    """
    mse = (output - target).square().flatten(1).mean(1)
    return -10 * mse.clamp_min(10 ** (-PSNR_LIMIT / 10)).log10()


def ssim_uniform(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image with scikit-image's defaults, higher is better.

    Uniform 7x7 window and sample covariances (divided by N - 1); torchmetrics divides by N, which gives other values.

    Args:
        output: Images (B, C, H, W) in [0, 1], H and W at least 7.
        target: Images (B, C, H, W) in [0, 1].

    Returns:
        Mean over windows and channels in [-1, 1], (B,). Two equal flat images have 1.
    """
    return _ssim(output, target, torch.full((7,), 1 / 7), covariance=49 / 48)


def ssim_gaussian(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each image with torchmetrics' defaults, higher is better.

    Gaussian 11x11 window of sigma 1.5; images are padded by reflection, which includes windows at the border.

    Args:
        output: Images (B, C, H, W) in [0, 1], H and W at least 6.
        target: Images (B, C, H, W) in [0, 1].

    Returns:
        Mean over windows and channels in [-1, 1], (B,). Two equal flat images have 1.
    """
    window = torch.exp(-0.5 * (torch.arange(-5, 6) / 1.5) ** 2)
    output, target = (F.pad(images, (5, 5, 5, 5), mode="reflect") for images in (output, target))
    return _ssim(output, target, window / window.sum(), covariance=1.0)


def _ssim(output: Tensor, target: Tensor, window: Tensor, covariance: float) -> Tensor:
    """SSIM for a separable window: two products with band matrices, at a fifth of the cost of a 2D convolution."""
    # Center each image: variances as differences of float32 means lose precision in bright, flat images.
    center_x, center_y = output.mean((2, 3), keepdim=True), target.mean((2, 3), keepdim=True)
    x, y = output - center_x, target - center_y
    both = torch.cat([x, y, x * x, y * y, x * y]).contiguous()
    rows, columns = (_band(window, length).to(both) for length in both.shape[-2:])
    with full_precision(both.device):
        means = rows @ both @ columns.T  # (5 B, C, H, W) -> (5 B, C, H - k + 1, W - k + 1)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means.chunk(5)
    var_x, var_y = covariance * (mean_xx - mean_x * mean_x), covariance * (mean_yy - mean_y * mean_y)
    cov = covariance * (mean_xy - mean_x * mean_y)
    mean_x, mean_y = mean_x + center_x, mean_y + center_y
    c1, c2 = 0.01**2, 0.03**2
    score = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / (
        (mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2)
    )
    return score.flatten(1).mean(1)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Computes float32 products in float32, also under autocast and where faster formats are allowed for them.

    Products in bfloat16 change the SSIM of CIFAR-10 by 0.005, which is more than the difference between variants.
    """
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(allowed)


def _band(window: Tensor, length: int) -> Tensor:
    """Band matrix (length - k + 1, length) that applies a window of k weights along a line."""
    places = torch.arange(length - len(window) + 1)[:, None] + torch.arange(len(window))
    return torch.zeros(len(places), length).scatter_(1, places, window.expand(len(places), -1))
