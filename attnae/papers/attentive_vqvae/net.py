"""Attentive VQ-VAE: a hierarchical VQ-VAE whose encoders end in pixel attention. Pure torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from attnae.papers.attentive_vqvae.blocks import Down, Id, Norm, PixelAttention, Up, conv, keras_init
from attnae.papers.attentive_vqvae.fsq import FiniteScalarQuantizer
from attnae.papers.attentive_vqvae.quantizer import Quantized, Quantizer


class VQOutput(NamedTuple):
    """What training needs of a forward pass.

    Attributes:
        reconstruction: Images (B, 3, H, W), near [0, 1] but not clamped.
        loss: Codebook and commitment losses, summed over the levels; scalar, at least 0.
        codes: Per level, the lowest (with the largest map) first, which code each latent became: int64 (B, h, w).
    """

    reconstruction: Tensor
    loss: Tensor
    codes: list[Tensor]


class AttentiveVQVAE(nn.Module):
    """VQ-VAE of one to three levels, with pixel attention at the end of the encoders or without.

    Paper: Attentive VQ-VAE (arXiv 2309.11641). Its network is described in part only; this one is reconstructed from the
    published parameter counts, which it matches within 0.11 %. ``AttentiveVQVAE(2, "pixel")`` is AH-VQVAE (12,505,603
    parameters as Keras counts), ``(2, "none")`` H-VQVAE (12,439,555) and ``(1, "pixel")`` A-VQVAE (7,541,379).

    Attributes:
        stride: Heights and widths of images must be multiples of this: 8, 16 or 32 for one, two or three levels.

    Args:
        levels: Number of codebooks, each above the first with a map of half the size; 1 to 3.
        attention: Head of the encoders: ``none`` is a 1x1 convolution, the others see :class:`PixelAttention`.
        width: Channels inside encoders and decoder.
        latent: Channels of the latents and the codes.
        codes: Codes per codebook.
        codebook: How codes learn: ``fsq`` rounds to a fixed grid, see :class:`FiniteScalarQuantizer`; the others see
            :class:`Quantizer`.
        decay: See :class:`Quantizer`.
        commitment: See :class:`Quantizer`; ``fsq`` has no such loss.
        revive: See :class:`Quantizer`; ``fsq`` has nothing to revive.
        init: Kernels and biases at the start: PyTorch's, or Keras' defaults, see :func:`keras_init`. The codebooks begin
            alike.
        norm: Before each convolution of a block: ``batch`` as published (reconstructed); ``affine`` scales and shifts
            only, as Keras' BatchNorm called with ``training=False`` does; ``group`` does not depend on the batch.

    Raises:
        ValueError: A setting is out of range.

    Example:
        >>> net = AttentiveVQVAE(levels=2, attention="pixel", width=8, latent=8).eval()
        >>> images = torch.rand(1, 3, 32, 48)
        >>> codes = net.encode(images)
        >>> [tuple(level.shape) for level in codes]
        [(1, 4, 6), (1, 2, 3)]
        >>> torch.allclose(net.decode(codes), net(images), atol=1e-4)
        True
    """

    def __init__(
        self,
        levels: int = 2,
        attention: Literal["none", "pixel", "normalized"] = "none",
        width: int = 128,
        latent: int = 256,
        codes: int = 128,
        codebook: Literal["ema", "gradient", "ema_kmeans", "fsq"] = "ema",
        decay: float = 0.99,
        commitment: float = 0.25,
        revive: float | None = None,
        init: Literal["torch", "keras"] = "torch",
        norm: Norm = "batch",
    ):
        super().__init__()
        if levels not in (1, 2, 3):
            raise ValueError(f"levels must be 1, 2 or 3, got {levels}")
        if attention not in ("none", "pixel", "normalized"):
            raise ValueError(f"attention must be 'none', 'pixel' or 'normalized', got {attention!r}")
        if width < 1 or latent < 1:
            raise ValueError(f"width and latent must be positive, got {width} and {latent}")
        if init not in ("torch", "keras"):
            raise ValueError(f"init must be 'torch' or 'keras', got {init!r}")
        if norm not in ("batch", "affine", "group"):
            raise ValueError(f"norm must be 'batch', 'affine' or 'group', got {norm!r}")
        if codebook not in ("ema", "gradient", "ema_kmeans", "fsq"):
            raise ValueError(f"codebook must be 'ema', 'gradient', 'ema_kmeans' or 'fsq', got {codebook!r}")
        if codebook == "fsq" and revive:
            raise ValueError(f"codebook 'fsq' has no codes to revive; leave out revive, got {revive}")
        self.stride = 4 * 2**levels

        def head() -> nn.Module:
            return nn.Conv2d(width, latent, 1) if attention == "none" else PixelAttention(width, latent, attention)

        def quantizer() -> nn.Module:
            if codebook == "fsq":
                return FiniteScalarQuantizer(codes, latent, decay)
            return Quantizer(codes, latent, codebook, decay, commitment, revive)

        self.base = encoder(3, width, 2, nn.Conv2d(width, latent, 1), norm)
        self.arens = nn.ModuleList(encoder(latent, width, downs, head(), norm) for downs in range(1, levels + 1))
        self.quantizers = nn.ModuleList(quantizer() for _ in range(levels))
        self.resizes = nn.ModuleList(Up(latent, norm) for _ in range(levels - 1))
        self.combines = nn.ModuleList(nn.Conv2d(2 * latent, latent, 1) for _ in range(levels - 1))
        self.decoder = nn.Sequential(
            conv(latent, width),
            *(block(width, norm) for _ in range(3) for block in (Id, Up)),
            Id(width, norm),
            conv(width, 3),
        )
        if init == "keras":
            keras_init(self)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images (B, 3, H, W) in [0, 1]; the result is not clamped. Errors as in :meth:`encode`."""
        return self.forward_with_codes(images).reconstruction

    def forward_with_codes(self, images: Tensor) -> VQOutput:
        """Reconstruct, with what training needs; in training mode the codebooks learn from the images.

        Args:
            images: As in :meth:`forward`.

        Raises:
            ValueError: The images have another shape.
        """
        levels = self.quantize(images, learn=True)
        loss = torch.stack([level.loss for level in levels]).sum()
        return VQOutput(self.decoder(levels[0].latents), loss, [level.codes for level in levels])

    def encode(self, images: Tensor) -> list[Tensor]:
        """Codes of images, as in :class:`VQOutput`; the codebooks do not change. For evaluation mode.

        Args:
            images: As in :meth:`forward`.

        Raises:
            ValueError: The images are not (B, 3, H, W), or H or W is not a multiple of ``stride``.
        """
        return [level.codes for level in self.quantize(images, learn=False)]

    def decode(self, codes: Tensor | Sequence[Tensor]) -> Tensor:
        """Images (B, 3, 8 h, 8 w) of codes; they are not clamped.

        Args:
            codes: What :meth:`encode` returns, or its first element, int64 (B, h, w) in [0, K): the decoder reads the
                lowest level only, in which the levels above it are already part.

        Raises:
            ValueError: The codes have another shape or are not in the codebook.
        """
        lowest = codes if isinstance(codes, Tensor) else codes[0]
        quantizer = self.lowest
        size = quantizer.size
        if lowest.ndim != 3 or lowest.is_floating_point():
            raise ValueError(f"codes must be integers (B, h, w), got {lowest.dtype} {tuple(lowest.shape)}")
        if ((lowest < 0) | (lowest >= size)).any():
            raise ValueError(f"codes must be in [0, {size}), got {lowest.min()} to {lowest.max()}")
        images: Tensor = self.decoder(quantizer.look_up(lowest))
        return images

    @property
    def lowest(self) -> Quantizer | FiniteScalarQuantizer:
        """The quantizer of the lowest level."""
        quantizer = self.quantizers[0]
        assert isinstance(quantizer, Quantizer | FiniteScalarQuantizer)
        return quantizer

    @torch.no_grad()
    def attention_maps(self, images: Tensor) -> list[Tensor]:
        """Mean attention weight that each pixel gets, (B, h, w) by level, the lowest first; none without attention.

        Args:
            images: As in :meth:`forward`.
        """
        features = self.base(images)
        parts = [list(aren.children()) for aren in self.arens]
        return [
            head.received(nn.Sequential(*body)(features)) for *body, head in parts if isinstance(head, PixelAttention)
        ]

    def quantize(self, images: Tensor, learn: bool) -> list[Quantized]:
        """Latents of all levels, the lowest first, each level seeing the one above it; as in :meth:`forward`."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")
        height, width = images.shape[2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"images are {height}x{width}; crop or resize them to multiples of {self.stride}, the network's stride"
            )
        features = self.base(images)  # (B, latent, H / 4, W / 4)
        found: list[Quantized] = []
        for level in reversed(range(len(self.arens))):
            latents = self.arens[level](features)  # (B, latent, h, w), h = H / 8 at the lowest level
            if found:
                above = self.resizes[level](found[0].latents)  # from (B, latent, h / 2, w / 2)
                latents = self.combines[level](torch.cat([above, latents], 1))
            found.insert(0, self.quantizers[level](latents, learn))
        return found


def encoder(inputs: int, width: int, downs: int, head: nn.Module, norm: Norm) -> nn.Sequential:
    """Base and AREN: (B, inputs, H, W) -> (B, latent, H / 2^downs, W / 2^downs); the head makes ``latent`` channels."""
    halving = [block(width, norm) for _ in range(downs) for block in (Id, Id, Down)]
    return nn.Sequential(conv(inputs, width), *halving, Id(width, norm), Id(width, norm), head)


class ParameterCounts(NamedTuple):
    """Two ways to count what a module learns.

    Attributes:
        trainable: What training changes: parameters and codebooks, however these learn.
        keras: As the paper's tool counts: the running statistics of BatchNorm, too.
    """

    trainable: int
    keras: int


def parameter_counts(module: nn.Module) -> ParameterCounts:
    """Number of parameters of a network or a part of it."""
    trainable, statistics = sum(parameter.numel() for parameter in module.parameters()), 0
    for part in module.modules():
        if isinstance(part, Quantizer) and not isinstance(part.codebook, nn.Parameter):
            trainable += part.codebook.numel()
        elif isinstance(part, nn.BatchNorm2d):
            statistics += 2 * part.num_features
    return ParameterCounts(trainable, trainable + statistics)
