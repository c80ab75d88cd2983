"""Number of active latents."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

THRESHOLD = 0.01
"""Variance of the posterior mean, in units of the prior's, above which a latent is active."""


class ActiveUnits(Metric):
    """Counts the latents whose posterior mean varies between images.

    Paper: Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders" (2016), activity of a latent. The posterior of an
    unused latent is the prior for every image, so its mean is constant.

    Args:
        latents: Latents per image.
    """

    full_state_update = False
    count: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, latents: int):
        super().__init__()
        self.add_state("count", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("total", "squares"):
            self.add_state(name, default=torch.zeros(latents, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, mean: Tensor) -> None:
        """Adds a batch.

        Args:
            mean: Posterior means (B, latents), divided by the prior's standard deviation.
        """
        values = mean.detach().double()
        self.count += len(values)
        self.total += values.sum(0)
        self.squares += values.square().sum(0)

    def compute(self) -> float:
        """Number of active latents in [0, latents]; NaN without images."""
        if not self.count:
            return float("nan")
        variance = self.squares / self.count - (self.total / self.count).square()
        return float((variance > THRESHOLD).sum())
