"""Gaussian noise, generated on the device: random in training, the same for every model and seed in evaluation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from attnae.data.batch import Batch


class Uncorrupted:
    """No corruption: the input is the target, as in an autoencoder."""

    def __call__(self, images: Tensor, index: Tensor, training: bool) -> Batch:
        """See :class:`Corruption`."""
        return Batch(images, images, None, index)


class GaussianNoise:
    """Adds Gaussian noise and clamps to [0, 1].

    Paper: Adaptive Sparse Attention MoE, clamp(clean + 0.2 N(0, 1), 0, 1), random in evaluation as well. We: random in
    training, from torch's generator of the device; in evaluation determined by the image's index, so all models see the same
    noisy images.

    Args:
        sigma: Standard deviation in units of the images; for a pair of numbers, drawn uniformly between them per image.

    Raises:
        ValueError: ``sigma`` is negative, not finite, or an empty range.

    Example:
        >>> batch = GaussianNoise(0.2)(torch.rand(2, 3, 8, 8), torch.arange(2), training=False)
        >>> batch.input.shape, batch.sigma
        (torch.Size([2, 3, 8, 8]), tensor([0.2000, 0.2000]))
    """

    def __init__(self, sigma: float | tuple[float, float] = 0.2):
        low, high = sigma if isinstance(sigma, tuple | list) else (sigma, sigma)
        if not 0 <= low <= high < float("inf"):
            raise ValueError(
                f"sigma must be finite and at least 0, or a range (low, high) of such numbers, got {sigma}"
            )
        self.low, self.high = float(low), float(high)

    def __call__(self, images: Tensor, index: Tensor, training: bool) -> Batch:
        """See :class:`Corruption`."""
        if training:
            sigma = torch.empty(len(images), device=images.device).uniform_(self.low, self.high)
            noise = torch.randn_like(images)
        else:
            generators = [np.random.default_rng([44, int(i)]) for i in index]
            draws = [g.standard_normal(images.shape[1:], np.float32) for g in generators]
            noise = torch.from_numpy(np.stack(draws)).to(images)
            levels = [g.uniform(self.low, self.high) for g in generators]
            sigma = torch.tensor(levels, dtype=torch.float32).to(images.device)
        noisy = (images + sigma.view(-1, 1, 1, 1) * noise).clamp(0, 1)
        return Batch(images, noisy, None, index, sigma)
