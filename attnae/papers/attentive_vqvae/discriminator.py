"""Patch discriminator of the Attentive VQ-VAE. Pure torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from attnae.papers.attentive_vqvae.blocks import keras_init, normalized


class PatchDiscriminator(nn.Module):
    """Classifies each image patch as real or reconstructed.

    Paper: PatchGAN discriminator; 412,101 parameters counted as in Keras (411,075 without BatchNorm statistics).

    Args:
        width: Channels of the first three convolutions; even.
        norm: Normalization after every convolution. ``batch`` matches the published parameter count; ``affine`` only scales
            and shifts; ``group`` does not depend on the batch (not after the last convolution); or ``none``.
        dropout: Dropout probability after the activation of every convolution except the last. Paper: not stated. The
            authors' related code: 0.25.
        init: Initialization of the weights: ``torch``, or ``keras`` for Keras' defaults, see :func:`keras_init`.

    Raises:
        ValueError: ``width`` is not a positive even number, ``dropout`` is not in [0, 1), or ``norm`` or ``init`` is unknown.

    Example:
        >>> import torch
        >>> PatchDiscriminator(width=4)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 1, 4, 4])
    """

    def __init__(
        self,
        width: int = 128,
        norm: Literal["batch", "affine", "group", "none"] = "batch",
        dropout: float = 0.0,
        init: Literal["torch", "keras"] = "torch",
    ):
        super().__init__()
        if width < 1 or width % 2:
            raise ValueError(f"width must be positive and even, got {width}")
        if norm not in ("batch", "affine", "group", "none"):
            raise ValueError(f"norm must be 'batch', 'affine', 'group' or 'none', got {norm!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        if init not in ("torch", "keras"):
            raise ValueError(f"init must be 'torch' or 'keras', got {init!r}")
        widths = (3, width, width, width, width // 2, width // 2, 1)
        layers: list[nn.Module] = []
        for layer, (inputs, outputs) in enumerate(pairwise(widths)):
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=2 if layer < 3 else 1, padding=1))
            # A group of one channel would remove each image's mean logit.
            if norm in ("batch", "affine") or (norm == "group" and outputs > 1):
                layers.append(normalized(outputs, norm))
            if layer < len(widths) - 2:
                layers.append(nn.LeakyReLU(0.1))
                layers += [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*layers)
        if init == "keras":
            keras_init(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, H / 8, W / 8, rounded up) of images (B, 3, H, W) in [0, 1]; positive means real."""
        logits: Tensor = self.layers(images)
        return logits
