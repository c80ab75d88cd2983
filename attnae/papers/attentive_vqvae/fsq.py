"""Finite scalar quantization: the codebook is a fixed grid. Pure torch."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from attnae.papers.attentive_vqvae.quantizer import Quantized
from attnae.papers.attentive_vqvae.ranks import add_over_ranks


def grid(codes: int) -> tuple[int, ...]:
    """Levels per dimension: at most one 8, otherwise 4. 128 -> (8, 4, 4), 64 -> (4, 4, 4).

    Raises:
        ValueError: ``codes`` is not a power of two, or is less than 4.
    """
    bits = codes.bit_length() - 1
    if codes < 4 or codes != 2**bits:
        raise ValueError(f"codebook 'fsq' needs a power of two of at least 4 codes, got {codes}")
    return (8,) * (bits % 2) + (4,) * ((bits - 3 * (bits % 2)) // 2)


class FiniteScalarQuantizer(nn.Module):
    """Projects a latent to a few dimensions, rounds each one to a fixed set of levels, and projects back.

    Paper: Mentzer et al. 2023 (arXiv 2309.15505), section 3 and appendix A.1. No codebook can collapse, and there is no loss.
    Computes in the precision of the weights even under autocast. Tested against vector-quantize-pytorch.

    Args:
        codes: Number of codes K, a power of two; :func:`grid` factors it into levels per dimension.
        dim: Channels of a latent.
        decay: Decay of the moving average of code usage, as in :class:`Quantizer`.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> quantized = FiniteScalarQuantizer(codes=16, dim=6)(torch.rand(2, 6, 8, 8))
        >>> quantized.latents.shape, quantized.codes.shape
        (torch.Size([2, 6, 8, 8]), torch.Size([2, 8, 8]))
    """

    levels: Tensor
    strides: Tensor
    counts: Tensor

    def __init__(self, codes: int, dim: int, decay: float = 0.99):
        super().__init__()
        levels = grid(codes)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.size, self.decay = codes, decay
        self.project_in, self.project_out = nn.Linear(dim, len(levels)), nn.Linear(len(levels), dim)
        strides = [codes // math.prod(levels[i:]) for i in range(len(levels))]  # 1, 8, 32 for (8, 4, 4)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("strides", torch.tensor(strides), persistent=False)
        self.register_buffer("counts", torch.ones(codes))

    def forward(self, latents: Tensor, learn: bool = True) -> Quantized:
        """Quantizes (B, dim, H, W). In training mode, updates the code usage if ``learn`` is set."""
        with torch.autocast(latents.device.type, enabled=False):
            bounded = self.bounded(latents)  # (B, H, W, dimensions)
            digits = self.digits(bounded)
            codes = (digits * self.strides).sum(-1)
            rounded = (bounded - bounded.detach()) + (digits - self.levels // 2)  # straight-through estimator
            if self.training and learn:
                self.count(codes)
            back = self.project_out(rounded / (self.levels // 2))
            return Quantized(rearrange(back, "b h w c -> b c h w"), latents.new_zeros((), dtype=torch.float32), codes)

    def bounded(self, latents: Tensor) -> Tensor:
        """Projected and bounded latents: (B, dim, H, W) -> (B, H, W, dimensions).

        In [-L / 2 - e, L / 2 - 1 + e], where e is (L - 1) / 2000.
        """
        numbers = self.project_in(rearrange(latents.to(self.project_in.weight.dtype), "b c h w -> b h w c"))
        half = (self.levels - 1) * 1.001 / 2  # slightly larger, so the outermost levels are reachable
        offset = 0.5 * (self.levels % 2 == 0)  # an even number of levels has no middle level
        return (numbers + (offset / half).atanh()).tanh() * half - offset

    def digits(self, bounded: Tensor) -> Tensor:
        """Index of the nearest level of each value, int64 in [0, L)."""
        return (bounded.detach().round() + self.levels // 2).long().clamp_min(0).minimum(self.levels - 1)

    @torch.no_grad()
    def assign(self, latents: Tensor) -> Tensor:
        """Index of each latent's code: (B, dim, H, W) -> int64 (B, H, W)."""
        return (self.digits(self.bounded(latents)) * self.strides).sum(-1)

    def look_up(self, codes: Tensor) -> Tensor:
        """Latent vectors of codes: int64 (B, H, W) in [0, K) -> (B, dim, H, W)."""
        numbers = codes[..., None] // self.strides % self.levels - self.levels // 2
        with torch.autocast(codes.device.type, enabled=False):
            vectors = self.project_out((numbers / (self.levels // 2)).to(self.project_out.weight.dtype))
        return rearrange(vectors, "b h w c -> b c h w")

    @torch.no_grad()
    def count(self, codes: Tensor) -> None:
        """Updates the moving average of the number of latents per step assigned to each code, over all ranks."""
        used = codes.flatten().bincount(minlength=self.size).to(self.counts)
        add_over_ranks(used)
        self.counts.lerp_(used, 1 - self.decay)
