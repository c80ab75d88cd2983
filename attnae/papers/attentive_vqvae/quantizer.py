"""Vector quantization with a codebook learned by moving averages or by gradient. Pure torch.

Not vector-quantize-pytorch 1.32, which the tests compare with: it never synchronizes codebooks built before the process group
(as Lightning does), computes distances under CPU autocast, and gives both losses the same weight with ``gradient``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from attnae.papers.attentive_vqvae.kmeans import SAMPLES_PER_CODE, kmeans
from attnae.papers.attentive_vqvae.ranks import add_over_ranks, offers_over_ranks

Rule = Literal["ema", "gradient", "ema_kmeans"]
"""How the codebook is initialized and learned, see :class:`Quantizer`."""

EXPIRY = 0.1
"""Default usage per step below which ``ema_kmeans`` replaces a code."""


class Quantized(NamedTuple):
    """Output of a quantizer.

    Attributes:
        latents: Quantized latents (B, dim, H, W), with a straight-through gradient to the quantizer's input.
        loss: Scalar, at least 0; lower is better.
        codes: Code indices, int64 (B, H, W) in [0, K).
    """

    latents: Tensor
    loss: Tensor
    codes: Tensor


class Quantizer(nn.Module):
    """Replaces each latent vector with the nearest of K codes.

    Paper: VQ-VAE (arXiv 1711.00937), eq. 1-3, and its appendix A.1 for the moving averages. Computes in the precision of
    the codebook even under autocast. In distributed training, every rank learns from the global batch.

    Args:
        codes: Number of codes K.
        dim: Channels of a latent.
        codebook: How the codebook is learned: ``ema`` moves each code to the mean of its assigned latents; ``gradient``
            minimizes ||sg(latent) - code||^2, like Keras' VQ-VAE example; ``ema_kmeans`` is ``ema`` initialized by k-means
            on the first batch, and replaces unused codes.
        decay: Decay of the moving averages of counts and sums, per training step.
        commitment: Weight of ||latent - sg(code)||^2 in the loss.
        revive: Replace a code with a random latent of the batch when its moving-average count (latents per step) falls
            below this; 0 disables it. ``None`` means 0.1 with ``ema_kmeans`` and 0 otherwise, as in the paper.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> quantizer = Quantizer(codes=16, dim=4).eval()
        >>> quantized = quantizer(torch.rand(2, 4, 8, 8))
        >>> quantized.latents.shape, quantized.codes.shape
        (torch.Size([2, 4, 8, 8]), torch.Size([2, 8, 8]))
    """

    def __init__(
        self,
        codes: int,
        dim: int,
        codebook: Rule = "ema",
        decay: float = 0.99,
        commitment: float = 0.25,
        revive: float | None = None,
    ):
        super().__init__()
        if codes < 2 or dim < 1:
            raise ValueError(f"need at least 2 codes of at least 1 dimension, got {codes} of {dim}")
        if codebook not in ("ema", "gradient", "ema_kmeans"):
            raise ValueError(f"codebook must be 'ema', 'gradient' or 'ema_kmeans', got {codebook!r}")
        if revive is None:
            revive = EXPIRY if codebook == "ema_kmeans" else 0.0
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        if commitment < 0 or revive < 0:
            raise ValueError(f"commitment and revive must not be negative, got {commitment} and {revive}")
        self.size, self.decay, self.commitment, self.revive = codes, decay, commitment, revive
        # Paper: not stated. We: the usual VQ-VAE initialization.
        initial = torch.empty(codes, dim).uniform_(-1 / codes, 1 / codes)
        self.counts: Tensor
        self.sums: Tensor
        self.register_buffer("counts", torch.ones(codes))  # moving average: latents per step assigned to a code
        self.codebook: Tensor
        if codebook == "gradient":
            self.codebook = nn.Parameter(initial)
        else:
            self.register_buffer("codebook", initial)
            self.register_buffer("sums", initial.clone())  # moving average: sum of these latents
        self.started: Tensor | None  # whether k-means has run; only in the state dict of ``ema_kmeans``
        self.register_buffer("started", torch.zeros((), dtype=torch.bool) if codebook == "ema_kmeans" else None)

    def forward(self, latents: Tensor, learn: bool = True) -> Quantized:
        """Quantizes latents. In training mode, updates the codebook.

        Args:
            latents: (B, dim, H, W).
            learn: Whether to update the codebook; ignored in evaluation mode, which never updates it.
        """
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.to(self.codebook.dtype)
            if self.training and learn and self.started is not None and not self.started:
                self.start(rearrange(latents.detach(), "b c h w -> (b h w) c"))
            codes = self.assign(latents)
            chosen = self.look_up(codes)
            size = max(latents.numel(), 1)  # an empty batch has loss 0, not NaN
            loss = self.commitment * (latents - chosen.detach()).square().sum() / size
            if isinstance(self.codebook, nn.Parameter):
                loss = loss + (chosen - latents.detach()).square().sum() / size
            if self.training and learn:
                self.update(rearrange(latents.detach(), "b c h w -> (b h w) c"), codes.flatten())
            # Adding zero yields exactly the codes, in the latents' memory format and with the latents' gradient.
            return Quantized((latents - latents.detach()) + chosen.detach(), loss, codes)

    @torch.no_grad()
    def assign(self, latents: Tensor) -> Tensor:
        """Index of the nearest code of each latent: (B, dim, H, W) -> int64 (B, H, W). Ties go to the lowest index."""
        # Distances of all pairs as |e|^2 - 2 z e in one matrix product. Centered on the codebook's mean, because attention as
        # in the paper gives latents a large common offset, which would cost the difference its precision.
        center = self.codebook.mean(0)
        codebook = self.codebook - center
        rows = rearrange(latents, "b c h w -> (b h w) c") - center
        distances = torch.addmm(codebook.square().sum(1), rows, codebook.mT, alpha=-2)  # (B H W, K), without |z|^2
        return distances.argmin(1).view(latents.shape[0], *latents.shape[2:])

    def look_up(self, codes: Tensor) -> Tensor:
        """Vectors of codes: int64 (B, H, W) -> (B, dim, H, W)."""
        return F.embedding(codes, self.codebook).permute(0, 3, 1, 2)

    @torch.no_grad()
    def start(self, latents: Tensor) -> None:
        """Initializes codes and counts by k-means on the latents (N, dim) of all ranks."""
        assert self.started is not None
        offers = offers_over_ranks(latents, SAMPLES_PER_CODE * self.size)
        points = offers[offers[:, -1] > 0, :-1]
        if not len(points):
            return
        number = latents.new_tensor(float(len(latents)))
        add_over_ranks(number)
        means, sizes = kmeans(points, self.size)
        self.codebook.copy_(means)
        self.counts.copy_(sizes * (number / len(points)))
        self.sums.copy_(means * self.counts[:, None])
        self.started.fill_(True)

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Updates the moving averages and the codes, and replaces unused codes.

        Args:
            latents: (N, dim), of this rank.
            codes: Index of each latent's code (N,).
        """
        # Sums and counts in one all-reduce. index_add_, because a matrix product could round to TF32.
        totals = latents.new_zeros(len(self.codebook), latents.shape[1] + 1)  # (K, dim + 1)
        totals.index_add_(0, codes, F.pad(latents, (0, 1), value=1))
        add_over_ranks(totals)
        weight = (1 - self.decay) * (totals[:, -1].sum() > 0)  # an empty batch changes nothing
        self.counts.lerp_(totals[:, -1], weight)
        if not isinstance(self.codebook, nn.Parameter):
            self.sums.lerp_(totals[:, :-1], weight)
            total = self.counts.sum()
            smoothed = (self.counts + 1e-5) / (total + 1e-5 * len(self.counts)) * total  # Laplace smoothing
            self.codebook.copy_(self.sums / smoothed[:, None])
        if self.revive:
            self.replace(self.counts < self.revive, latents)

    def replace(self, dead: Tensor, latents: Tensor) -> None:
        """Replaces dead codes (mask (K,)) with latents (N, dim) of all ranks, using each latent at most once."""
        offers = offers_over_ranks(latents, len(dead))  # (K, dim + 1), last column 1 where a latent is offered
        dead = dead & (offers[:, -1] > 0)
        for values, new in ((self.codebook, offers[:, :-1]), (self.counts, torch.full_like(self.counts, self.revive))):
            values[dead] = new[dead]
        if not isinstance(self.codebook, nn.Parameter):
            self.sums[dead] = offers[dead, :-1] * self.revive
