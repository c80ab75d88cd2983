"""What the ranks of distributed training share. Pure torch."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def add_over_ranks(values: Tensor) -> None:
    """Sum over the ranks of distributed training, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)


def offers_over_ranks(latents: Tensor, count: int) -> Tensor:
    """Random latents of all ranks, none of them twice, the same on every rank.

    Args:
        latents: (N, dim), this rank's.
        count: How many are wanted. Rank r offers some for the places r, r + ranks, r + 2 ranks...

    Returns:
        (count, dim + 1): the last column is 1 where a latent is offered, and the row is zero elsewhere.
    """
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    offers = latents.new_zeros(count, latents.shape[1] + 1)
    picks = torch.randperm(len(latents), device=latents.device)[: len(offers[rank::ranks])]
    offers[rank::ranks][: len(picks)] = F.pad(latents[picks], (0, 1), value=1)
    add_over_ranks(offers)
    return offers
