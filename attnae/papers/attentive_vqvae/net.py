"""Attentive VQ-VAE: a hierarchical VQ-VAE whose encoders end in pixel attention. Pure torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from attnae.papers.attentive_vqvae.blocks import Affine, Down, Id, Norm, PixelAttention, Up, conv, keras_init
from attnae.papers.attentive_vqvae.fsq import FiniteScalarQuantizer
from attnae.papers.attentive_vqvae.quantizer import Quantized, Quantizer


class VQOutput(NamedTuple):
    """Outputs of a forward pass used in training.

    Attributes:
        reconstruction: Images (B, 3, H, W), approximately in [0, 1], not clamped.
        loss: Codebook and commitment losses, summed over the levels; scalar, at least 0.
        codes: Code indices per level, int64 (B, h, w). The lowest level, which has the largest map, comes first.
    """

    reconstruction: Tensor
    loss: Tensor
    codes: list[Tensor]


class AttentiveVQVAE(nn.Module):
    """VQ-VAE with one to three levels and optional pixel attention at the end of the encoders.

    Paper: Attentive VQ-VAE (arXiv 2309.11641). The paper describes the network only in part; this one is reconstructed from
    the published parameter counts and matches them within 0.11%. ``AttentiveVQVAE(2, "pixel")`` is AH-VQVAE (12,505,603
    parameters counted as in Keras), ``(2, "none")`` H-VQVAE (12,439,555) and ``(1, "pixel")`` A-VQVAE (7,541,379).

    Attributes:
        stride: Image heights and widths must be multiples of this: 8, 16 or 32 for one, two or three levels.

    Args:
        levels: Number of levels, 1 to 3. Each has a codebook; each level above the first has a map of half the size.
        attention: Head of the encoders: ``none`` is a 1x1 convolution; for the others see :class:`PixelAttention`.
        width: Channels inside encoders and decoder.
        latent: Channels of the latents and the codes.
        codes: Codes per codebook.
        codebook: How the codebook is learned: ``fsq`` rounds to a fixed grid, see :class:`FiniteScalarQuantizer`; for the
            others see :class:`Quantizer`.
        decay: See :class:`Quantizer`.
        commitment: See :class:`Quantizer`; ignored by ``fsq``.
        revive: See :class:`Quantizer`; not available with ``fsq``.
        init: Initialization of kernels and biases: ``torch``, or ``keras`` for Keras' defaults, see :func:`keras_init`. The
            codebooks are initialized the same way in both cases.
        norm: Normalization before each convolution of a block. ``batch`` matches the published parameter counts; ``affine``
            only scales and shifts, like Keras' BatchNorm with ``training=False``; ``group`` does not depend on the batch.

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
        """Reconstructs images (B, 3, H, W) in [0, 1]; the output is not clamped. Raises as :meth:`encode`."""
        return self.forward_with_codes(images).reconstruction

    def forward_with_codes(self, images: Tensor) -> VQOutput:
        """Reconstructs images and returns loss and codes. In training mode, updates the codebooks.

        Args:
            images: As in :meth:`forward`.

        Raises:
            ValueError: The images have another shape.
        """
        levels = self.quantize(images, learn=True)
        loss = torch.stack([level.loss for level in levels]).sum()
        return VQOutput(self.decoder(levels[0].latents), loss, [level.codes for level in levels])

    def encode(self, images: Tensor) -> list[Tensor]:
        """Encodes images to codes as in :class:`VQOutput`, without updating the codebooks. Call in evaluation mode.

        Args:
            images: As in :meth:`forward`.

        Raises:
            ValueError: The images are not (B, 3, H, W), or H or W is not a multiple of ``stride``.
        """
        return [level.codes for level in self.quantize(images, learn=False)]

    def decode(self, codes: Tensor | Sequence[Tensor]) -> Tensor:
        """Decodes codes to images (B, 3, 8 h, 8 w); the output is not clamped.

        Args:
            codes: Output of :meth:`encode`, or its first element, int64 (B, h, w) in [0, K). The decoder reads only the
                lowest level, which already contains the information of the levels above.

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
        """Mean attention weight each pixel receives, (B, h, w) per level, lowest level first; empty without attention.

        Args:
            images: As in :meth:`forward`.
        """
        features = self.base(images)
        parts = [list(aren.children()) for aren in self.arens]
        return [
            head.received(nn.Sequential(*body)(features)) for *body, head in parts if isinstance(head, PixelAttention)
        ]

    def quantize(self, images: Tensor, learn: bool) -> list[Quantized]:
        """Quantized latents of all levels, lowest level first. Each level is conditioned on the one above."""
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
    """Base and AREN: (B, inputs, H, W) -> (B, latent, H / 2^downs, W / 2^downs). The head outputs ``latent`` channels."""
    halving = [block(width, norm) for _ in range(downs) for block in (Id, Id, Down)]
    return nn.Sequential(conv(inputs, width), *halving, Id(width, norm), Id(width, norm), head)


class ParameterCounts(NamedTuple):
    """Parameter counts of a module by two conventions.

    Attributes:
        trainable: Everything updated in training: parameters and codebooks, including codebooks learned by moving averages.
        keras: As Keras counts them: also includes the running statistics of BatchNorm.
    """

    trainable: int
    keras: int


def parameter_counts(module: nn.Module) -> ParameterCounts:
    """Number of parameters of a module."""
    trainable, statistics = sum(parameter.numel() for parameter in module.parameters()), 0
    for part in module.modules():
        if isinstance(part, Quantizer) and not isinstance(part.codebook, nn.Parameter):
            trainable += part.codebook.numel()
        elif isinstance(part, nn.BatchNorm2d | Affine):
            statistics += 2 * part.num_features
    return ParameterCounts(trainable, trainable + statistics)
