"""K-means, by which a codebook may begin. Pure torch."""

from __future__ import annotations

import torch
from torch import Tensor

SAMPLES_PER_CODE = 32
"""Latents that k-means looks at, per code and over all ranks."""


@torch.no_grad()
def kmeans(points: Tensor, clusters: int, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from the seeds of k-means++ (Arthur and Vassilvitskii 2007).

    The same points give the same clusters: randomness comes from a generator of its own with a fixed seed.

    Args:
        points: (N, dim), N at least 1.
        clusters: Number of means K. With fewer distinct points than K, some means coincide and are empty.
        iterations: Updates of the means.

    Returns:
        Means (K, dim) and the number of points that are nearest to each, in the points' type (K,).
    """
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(clusters, dtype=torch.float64, generator=generator).to(points.device)
    means = points[:1].repeat(clusters, 1)
    distance = torch.full((len(points),), torch.inf, device=points.device)  # squared, to the nearest seed
    for cluster in range(clusters):
        # The first seed is any point, each further one is drawn with probability proportional to its distance.
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
