"""K-means initialization of a codebook. Pure torch."""

from __future__ import annotations

import torch
from torch import Tensor

SAMPLES_PER_CODE = 32
"""Number of latents used for k-means per code, over all ranks."""


@torch.no_grad()
def kmeans(points: Tensor, clusters: int, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm with k-means++ seeding (Arthur and Vassilvitskii 2007).

    Deterministic: uses its own generator with a fixed seed.

    Args:
        points: (N, dim), N at least 1.
        clusters: Number of means K. With fewer than K distinct points, some means coincide and their clusters are empty.
        iterations: Number of updates of the means.

    Returns:
        Means (K, dim) and the number of points nearest to each (K,), both in the dtype of the points.
    """
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(clusters, dtype=torch.float64, generator=generator).to(points.device)
    means = points[:1].repeat(clusters, 1)
    distance = torch.full((len(points),), torch.inf, device=points.device)  # squared, to the nearest seed
    for cluster in range(clusters):
        # The first seed is a random point. Each next one is drawn with probability proportional to its squared distance.
        weight = distance.double() if cluster else torch.ones_like(distance, dtype=torch.float64)
        total = weight.cumsum(0)
        pick = torch.searchsorted(total, draws[cluster] * total[-1], right=True).clamp_max(len(points) - 1)
        means[cluster] = points[pick]
        distance = torch.minimum(distance, (points - means[cluster]).square().sum(1))
    for _ in range(iterations):
        nearest = torch.cdist(points, means, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        counts = nearest.bincount(minlength=clusters).to(points)
        sums = torch.zeros_like(means).index_add_(0, nearest, points)
        means = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], means)
    return means, torch.cdist(points, means).argmin(1).bincount(minlength=clusters).to(points)
