"""Top-k attention experts with different budgets, mixed per token by a router. Pure torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class ExpertAttention(nn.Module):
    """Multi-head attention experts with different key budgets, weighted per token and merged.

    Every expert has its own query, key, value and output projection. The projections are stacked, so one matrix product
    computes all experts. Each row is initialized as in a separate layer, because all have ``width`` inputs.
    Arguments as in :class:`MoEDenoiser`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        budgets: Sequence[int | None],
        router_hidden: int,
        router: Literal["learned", "uniform"] | int,
    ):
        super().__init__()
        experts = len(budgets)
        if not experts or any(k is not None and k < 1 for k in budgets):
            raise ValueError(f"budgets must contain at least one expert, each with k >= 1 (or None), got {budgets}")
        if router not in ("learned", "uniform") and not (isinstance(router, int) and 0 <= router < experts):
            raise ValueError(
                f"router must be 'learned', 'uniform' or the index of one of {experts} experts, got {router!r}"
            )
        self.heads = heads
        only = router if isinstance(router, int) else None
        self.budgets = tuple(budgets) if only is None else (budgets[only],)
        self.rows = slice(None) if only is None else slice(only * width, (only + 1) * width)  # of the experts in use
        self.query = nn.Linear(width, experts * width)
        self.key = nn.Linear(width, experts * width)
        self.value = nn.Linear(width, experts * width)
        self.out = nn.Linear(width, experts * width)
        self.merge_proj = nn.Linear(width, width) if experts > 1 else nn.Identity()
        self.router: nn.Sequential | None = None
        if router == "learned" and experts > 1:
            # Paper: GELU. Released code: ReLU. We: ReLU (matches the released weights).
            self.router = nn.Sequential(nn.Linear(width, router_hidden), nn.ReLU(), nn.Linear(router_hidden, experts))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, N, width) -> tokens (B, N, width), and the routing probabilities (B, N, E) if the router is learned."""
        query, key, value = (
            rearrange(
                F.linear(tokens, layer.weight[self.rows], layer.bias[self.rows]),
                "b n (e h d) -> b (e h) n d",  # all heads of all experts
                e=len(self.budgets),
                h=self.heads,
            )
            for layer in (self.query, self.key, self.value)
        )
        attended = rearrange(
            top_k_attention(query, key, value, self.budgets), "b (e h) n d -> b n e (h d)", h=self.heads
        )
        # sum_e p_e (W_e x_e + b_e) = [W_1 W_2 ...] [p_1 x_1, p_2 x_2, ...] + sum_e p_e b_e: one matrix product.
        weight = rearrange(self.out.weight[self.rows], "(e o) i -> o (e i)", e=len(self.budgets))
        bias = rearrange(self.out.bias[self.rows], "(e o) -> e o", e=len(self.budgets))
        probabilities = None
        if self.router is not None:
            logits = self.router(tokens)
            # The balance loss takes logarithms of the probabilities, so keep them in float32 under autocast.
            probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)  # (B, N, E)
        if probabilities is None:
            share = 1 / len(self.budgets)
            mixed = F.linear(attended.flatten(2), share * weight, share * bias.sum(0))
        else:
            shares = probabilities.to(attended.dtype)
            mixed = F.linear((attended * shares[..., None]).flatten(2), weight) + shares @ bias
        return self.merge_proj(mixed), probabilities


def top_k_attention(query: Tensor, key: Tensor, value: Tensor, budgets: Sequence[int | None]) -> Tensor:
    """Attention restricted to the k keys with the largest scores of each query, with one k per group of heads.

    Paper: "top-k sparse attention". The softmax runs over the k largest scores. Scores exactly equal to the k-th largest
    are all kept, so a tie can keep more than k keys. All N x N scores are computed, so no operations are saved.

    Args:
        query: (B, E * heads, N, d).
        key: (B, E * heads, N, d).
        value: (B, E * heads, N, d).
        budgets: k of each of the E groups of heads; ``None`` or k >= N for all keys.

    Returns:
        Attended values (B, E * heads, N, d).
    """
    tokens = key.shape[-2]
    if all(k is None or k >= tokens for k in budgets):
        return F.scaled_dot_product_attention(query, key, value)
    precision = torch.promote_types(query.dtype, torch.float32)  # bfloat16 scores would often tie
    with torch.autocast(query.device.type, enabled=False):
        scores = (query.to(precision) * query.shape[-1] ** -0.5) @ key.to(precision).mT  # (B, E * heads, N, N)
    # Modifying the scores in place outside autograd is exact: a softmax is invariant to a shift of its scores (here by the
    # k-th largest) and passes no gradient to a weight of zero. F.threshold, because masked_fill with a random mask is tens
    # of times slower on a CPU.
    with torch.no_grad():
        for group, k in zip(scores.chunk(len(budgets), 1), budgets, strict=True):
            if k is not None and k < tokens:
                group.sub_(kth_largest(group, k))
                F.threshold(group, -torch.finfo(group.dtype).tiny, float("-inf"), inplace=True)
    return scores.softmax(-1).to(value.dtype) @ value  # (B, E * heads, N, d)


def kth_largest(scores: Tensor, k: int) -> Tensor:
    """The k-th largest value along the last dimension: (..., N) -> (..., 1)."""
    if scores.is_cpu and not (torch.compiler.is_compiling() or torch.jit.is_tracing()):  # type: ignore[attr-defined]
        array = scores.numpy().copy()
        array.partition(scores.shape[-1] - k, axis=-1)  # vectorized in NumPy, several times faster than torch
        return torch.from_numpy(array[..., -k, None])
    return scores.topk(k, sorted=False).values.amin(-1, keepdim=True)
