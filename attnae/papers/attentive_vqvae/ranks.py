"""Communication between ranks in distributed training. Pure torch."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def add_over_ranks(values: Tensor) -> None:
    """Sums over all ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)


def offers_over_ranks(latents: Tensor, count: int) -> Tensor:
    """Draws random latents from all ranks without replacement; the result is the same on every rank.

    Args:
        latents: (N, dim), of this rank.
        count: Number of rows. Rank r fills rows r, r + ranks, r + 2 ranks, ...

    Returns:
        (count, dim + 1): the last column is 1 where a latent is offered; all other rows are zero.
    """
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    offers = latents.new_zeros(count, latents.shape[1] + 1)
    picks = torch.randperm(len(latents), device=latents.device)[: len(offers[rank::ranks])]
    offers[rank::ranks][: len(picks)] = F.pad(latents[picks], (0, 1), value=1)
    add_over_ranks(offers)
    return offers
