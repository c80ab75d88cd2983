"""Vector quantization with a codebook learned by moving averages or by gradient. Pure torch.

Ours, not vector-quantize-pytorch 1.32, which is only what the tests compare with: there, codebooks built before the process
group (as Lightning does) are never synchronized, CPU autocast reaches the distances, and ``gradient`` weighs both losses alike.
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
"""How codes begin and learn, see :class:`Quantizer`."""

EXPIRY = 0.1
"""Uses per step below which ``ema_kmeans`` replaces a code, where nothing else is said."""


class Quantized(NamedTuple):
    """What a quantizer makes of latents.

    Attributes:
        latents: The nearest codes (B, dim, H, W); their gradient passes straight through to the quantizer's input.
        loss: Scalar, at least 0; lower is better.
        codes: Which codes they are, int64 (B, H, W) in [0, K).
    """

    latents: Tensor
    loss: Tensor
    codes: Tensor


class Quantizer(nn.Module):
    """Replaces each latent vector by the nearest of K codes.

    Paper: VQ-VAE (arXiv 1711.00937), eq. 1-3, and its appendix A.1 for the moving averages. Computes in the precision of
    its codebook whatever autocast says. Under distributed training every rank learns from the joined batch.

    Args:
        codes: Number of codes K.
        dim: Channels of a latent.
        codebook: How codes learn: ``ema`` moves each to the mean of the latents that chose it, ``gradient`` by the loss
            ||sg(latent) - code||^2, as Keras' example of a VQ-VAE does, ``ema_kmeans`` is ``ema`` from the k-means of the
            first batch, with unused codes replaced.
        decay: Weight of the past in the moving averages of counts and sums, per training step.
        commitment: Weight of ||latent - sg(code)||^2 in the loss.
        revive: A code whose moving-average count (latents per step) falls below this is replaced by a latent of the
            batch chosen at random; 0 for never. ``None`` for 0.1 with ``ema_kmeans`` and else for never, as published.

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
        # Paper: nothing said. We: as VQ-VAE implementations do.
        initial = torch.empty(codes, dim).uniform_(-1 / codes, 1 / codes)
        self.counts: Tensor
        self.sums: Tensor
        self.register_buffer("counts", torch.ones(codes))  # moving averages per step: latents that chose a code
        self.codebook: Tensor
        if codebook == "gradient":
            self.codebook = nn.Parameter(initial)
        else:
            self.register_buffer("codebook", initial)
            self.register_buffer("sums", initial.clone())  # and the sum of these latents
        self.started: Tensor | None  # whether k-means has been run; not in the state dict of other rules
        self.register_buffer("started", torch.zeros((), dtype=torch.bool) if codebook == "ema_kmeans" else None)

    def forward(self, latents: Tensor, learn: bool = True) -> Quantized:
        """Quantize, and in training mode learn from the latents.

        Args:
            latents: (B, dim, H, W).
            learn: Whether the codebook may change; in evaluation mode it never does.
        """
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.to(self.codebook.dtype)
            if self.training and learn and self.started is not None and not self.started:
                self.start(rearrange(latents.detach(), "b c h w -> (b h w) c"))
            codes = self.assign(latents)
            chosen = self.look_up(codes)
            size = max(latents.numel(), 1)  # an empty batch has no loss, not the mean of nothing
            loss = self.commitment * (latents - chosen.detach()).square().sum() / size
            if isinstance(self.codebook, nn.Parameter):
                loss = loss + (chosen - latents.detach()).square().sum() / size
            if self.training and learn:
                self.update(rearrange(latents.detach(), "b c h w -> (b h w) c"), codes.flatten())
            # Adding zero gives exactly the codes, in the latents' memory format, with the latents' gradient.
            return Quantized((latents - latents.detach()) + chosen.detach(), loss, codes)

    @torch.no_grad()
    def assign(self, latents: Tensor) -> Tensor:
        """The nearest code of each latent: (B, dim, H, W) -> int64 (B, H, W); the first of equally near ones."""
        # Distances as |e|^2 - 2 z e, of all pairs in one product. Measured from the codebook's mean, because published
        # attention gives latents with a large common offset, in which the difference of such terms would drown.
        center = self.codebook.mean(0)
        codebook = self.codebook - center
        rows = rearrange(latents, "b c h w -> (b h w) c") - center
        distances = torch.addmm(codebook.square().sum(1), rows, codebook.mT, alpha=-2)  # (B H W, K), less |z|^2
        return distances.argmin(1).view(latents.shape[0], *latents.shape[2:])

    def look_up(self, codes: Tensor) -> Tensor:
        """The vectors of codes: int64 (B, H, W) -> (B, dim, H, W)."""
        return F.embedding(codes, self.codebook).permute(0, 3, 1, 2)

    @torch.no_grad()
    def start(self, latents: Tensor) -> None:
        """Codes, and how often each is used, by the k-means of latents (N, dim) of all ranks."""
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
        """Moving averages of counts and sums, the codes they make, and revival.

        Args:
            latents: (N, dim), this rank's.
            codes: The code each of them chose (N,).
        """
        # Sums and counts side by side, in one message. index_add_, because a product could round to TF32.
        totals = latents.new_zeros(len(self.codebook), latents.shape[1] + 1)  # (K, dim + 1)
        totals.index_add_(0, codes, F.pad(latents, (0, 1), value=1))
        add_over_ranks(totals)
        weight = (1 - self.decay) * (totals[:, -1].sum() > 0)  # a batch of nothing changes nothing
        self.counts.lerp_(totals[:, -1], weight)
        if not isinstance(self.codebook, nn.Parameter):
            self.sums.lerp_(totals[:, :-1], weight)
            total = self.counts.sum()
            smoothed = (self.counts + 1e-5) / (total + 1e-5 * len(self.counts)) * total  # Laplace
            self.codebook.copy_(self.sums / smoothed[:, None])
        if self.revive:
            self.replace(self.counts < self.revive, latents)

    def replace(self, dead: Tensor, latents: Tensor) -> None:
        """Makes dead codes (a mask, (K,)) out of latents (N, dim) of all ranks, each of them once."""
        offers = offers_over_ranks(latents, len(dead))  # (K, dim + 1), the last column 1 for an offer
        dead = dead & (offers[:, -1] > 0)
        for values, new in ((self.codebook, offers[:, :-1]), (self.counts, torch.full_like(self.counts, self.revive))):
            values[dead] = new[dead]
        if not isinstance(self.codebook, nn.Parameter):
            self.sums[dead] = offers[dead, :-1] * self.revive
