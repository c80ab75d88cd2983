"""The released algorithm of the MoE denoiser: the reference for its numbers and its speed.

A plain implementation: each query selects its k largest scores and gathers its k value rows from a tensor expanded to
N x N x d, and the experts run one by one. Its parameters have the names of the released weights, so
``MoEDenoiser.from_released_weights`` can read its ``state_dict()``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ReleasedExpert(nn.Module):
    """Attention with one budget: tokens (B, N, width) -> (B, N, width)."""

    def __init__(self, width: int, heads: int, k: int):
        super().__init__()
        self.heads, self.k = heads, k
        self.W_q, self.W_k, self.W_v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.W_out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Applies the module."""
        batch, count, width = tokens.shape
        size = width // self.heads
        query, key, value = (
            layer(tokens).view(batch, count, self.heads, size).transpose(1, 2)
            for layer in (self.W_q, self.W_k, self.W_v)
        )
        scores = query @ key.transpose(-2, -1) / size**0.5  # (B, heads, N, N)
        top, index = scores.topk(min(self.k, count), dim=-1)  # (B, heads, N, k)
        expanded = value.unsqueeze(2).expand(-1, -1, count, -1, -1)  # (B, heads, N, N, d)
        gathered = expanded.gather(3, index.unsqueeze(-1).expand(-1, -1, -1, -1, size))  # (B, heads, N, k, d)
        attended = (top.softmax(-1).unsqueeze(-1) * gathered).sum(3)  # (B, heads, N, d)
        output: Tensor = self.W_out(attended.transpose(1, 2).reshape(batch, count, width))
        return output


class ReleasedRouter(nn.Module):
    """Probabilities of the experts per token: (B, N, width) -> (B, N, E)."""

    def __init__(self, width: int, hidden: int, experts: int):
        super().__init__()
        self.routing_net = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, experts))

    def forward(self, tokens: Tensor) -> Tensor:
        """Applies the module."""
        probabilities: Tensor = self.routing_net(tokens).softmax(-1)
        return probabilities


class ReleasedMoE(nn.Module):
    """All experts on every token, weighted by the router and merged."""

    def __init__(self, width: int, heads: int, budgets: Sequence[int], router_hidden: int):
        super().__init__()
        self.router = ReleasedRouter(width, router_hidden, len(budgets))
        self.experts = nn.ModuleList(ReleasedExpert(width, heads, k) for k in budgets)
        self.merge_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Applies the module."""
        probabilities = self.router(tokens)
        outputs = torch.stack([expert(tokens) for expert in self.experts], dim=-2)  # (B, N, E, width)
        merged: Tensor = self.merge_proj((outputs * probabilities.unsqueeze(-1)).sum(-2))
        return merged


class ReleasedBlock(nn.Module):
    """Pre-norm block: tokens (B, N, width) -> tokens."""

    def __init__(self, width: int, heads: int, budgets: Sequence[int], router_hidden: int, feedforward: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = ReleasedMoE(width, heads, budgets, router_hidden)
        self.ffn = nn.Sequential(nn.Linear(width, feedforward), nn.GELU(), nn.Linear(feedforward, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Applies the module."""
        tokens = tokens + self.attn(self.norm1(tokens))
        output: Tensor = tokens + self.ffn(self.norm2(tokens))
        return output


class ReleasedMoEDenoiser(nn.Module):
    """The reference: images (B, 3, H, W) in [0, 1] -> images in [0, 1]. Arguments as in ``MoEDenoiser``."""

    def __init__(
        self,
        image_size: int = 32,
        patch_size: int = 4,
        width: int = 128,
        heads: int = 4,
        depth: int = 2,
        budgets: Sequence[int] = (32, 64, 128),
        router_hidden: int = 64,
        feedforward: int = 256,
    ):
        super().__init__()
        self.grid = image_size // patch_size
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, self.grid**2, width))
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.blocks = nn.ModuleList(
            ReleasedBlock(width, heads, budgets, router_hidden, feedforward) for _ in range(depth)
        )
        self.patch_unembed = nn.ConvTranspose2d(width, 3, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Applies the module."""
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2) + self.pos_embed  # (B, N, width)
        for block in self.blocks:
            tokens = block(tokens)
        grid = tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid))  # (B, width, H / p, W / p)
        output: Tensor = self.patch_unembed(grid).clamp(0, 1)
        return output
