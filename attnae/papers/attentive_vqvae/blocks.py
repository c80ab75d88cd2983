"""Convolution blocks and pixel attention of the Attentive VQ-VAE. Pure torch."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Norm = Literal["batch", "affine", "group"]
"""Normalization before each convolution, see :func:`normalized`."""


class Affine(nn.Module):
    """BatchNorm with fixed statistics, mean 0 and variance 1: weight x / sqrt(1 + eps) + bias.

    Keras' BatchNormalization does this when it is always called with ``training=False``, as in the authors' related code.
    Parameters, buffers and their names match BatchNorm's; it is no subclass, which ``trainer.sync_batchnorm`` would convert.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.num_features, self.eps = channels, eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, features: Tensor) -> Tensor:
        """Scale and shift (B, C, H, W)."""
        return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, False, 0, self.eps)


def normalized(channels: int, norm: Norm) -> nn.Module:
    """Returns the normalization layer for a feature map.

    Args:
        channels: Channels of the map.
        norm: ``batch``; ``affine``, see :class:`Affine`; ``group``, GroupNorm of at most 32 groups.
    """
    if norm == "group":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    return (Affine if norm == "affine" else nn.BatchNorm2d)(channels)


def activated(channels: int, norm: Norm) -> tuple[nn.Module, nn.Module]:
    """Normalization and LeakyReLU, applied before every convolution of a block."""
    return normalized(channels, norm), nn.LeakyReLU(0.1, inplace=True)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution. Preserves the image size, or divides it by ``stride``."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1)


def up_conv(channels: int) -> nn.ConvTranspose2d:
    """3x3 transposed convolution that doubles the image size."""
    return nn.ConvTranspose2d(channels, channels, 3, stride=2, padding=1, output_padding=1)


@torch.no_grad()
def keras_init(module: nn.Module) -> None:
    """Reinitializes all layers with Keras' defaults: Glorot-uniform kernels, zero biases.

    The Glorot limit is sqrt(6 / (fan_in + fan_out)), where the fans are the input and output channels times the kernel area.
    Keras and PyTorch both swap inputs and outputs in transposed convolutions, so the sum is the same. PyTorch's default is
    uniform up to 1 / sqrt(fan_in), biases included: 0.4 to 0.7 times Keras' standard deviation, but 2.7 times in the first
    layer (3 to 128 channels).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Id(nn.Module):
    """Residual block that preserves the size: (B, width, H, W) -> (B, width, H, W). Paper: Id-ResBlock."""

    def __init__(self, width: int, norm: Norm):
        super().__init__()
        self.main = nn.Sequential(
            *activated(width, norm), conv(width, width), *activated(width, norm), conv(width, width)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Applies the block."""
        return features + self.main(features)


class Down(nn.Module):
    """Residual block that halves the size: (B, width, H, W) -> (B, width, H / 2, W / 2). Paper: Conv-ResBlock."""

    def __init__(self, width: int, norm: Norm):
        super().__init__()
        self.main = nn.Sequential(
            *activated(width, norm), conv(width, width, 2), *activated(width, norm), conv(width, width)
        )
        self.skip = nn.Sequential(*activated(width, norm), conv(width, width, 2))

    def forward(self, features: Tensor) -> Tensor:
        """Applies the block."""
        halved: Tensor = self.main(features) + self.skip(features)
        return halved


class Up(nn.Module):
    """Residual block that doubles the size: (B, width, H, W) -> (B, width, 2 H, 2 W)."""

    def __init__(self, width: int, norm: Norm):
        super().__init__()
        self.main = nn.Sequential(*activated(width, norm), conv(width, width), *activated(width, norm), up_conv(width))
        self.skip = nn.Sequential(*activated(width, norm), up_conv(width))

    def forward(self, features: Tensor) -> Tensor:
        """Applies the block."""
        doubled: Tensor = self.main(features) + self.skip(features)
        return doubled


class PixelAttention(nn.Module):
    """Attention between all pixels with sigmoid weights. Replaces the final 1x1 convolution.

    Paper: eq. 2-3, Algorithm 1. x' = g1(x), y' = g2(y), W = sigmoid(x' y'^T), output x' + W y'. The N products per pixel
    are summed as in the paper: with W near 0.5, W y' is about N / 2 times the mean of y', which can dominate x'.

    Args:
        inputs: Channels of x and y.
        outputs: Channels of the output.
        kind: ``pixel`` as in the paper; ``normalized`` divides W by the number of pixels of y.
    """

    def __init__(self, inputs: int, outputs: int, kind: Literal["pixel", "normalized"] = "pixel"):
        super().__init__()
        self.kind = kind
        self.g1, self.g2 = nn.Conv2d(inputs, outputs, 1), nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Applies the attention.

        Args:
            x: Features (B, inputs, H, W).
            y: Features to attend to (B, inputs, any height, any width); ``None`` for self-attention.

        Returns:
            Features (B, outputs, H, W), computed in the precision of the weights even under autocast: in half precision,
            sums over all pixels overflow and the differences between pixels are lost.
        """
        with torch.autocast(x.device.type, enabled=False):
            queries, values = self._project(x, x if y is None else y)
            weights = torch.bmm(queries, values.mT).sigmoid_()  # (B, N, M), in place to keep a single copy
            scale = 1 / values.shape[1] if self.kind == "normalized" else 1
            attended = torch.baddbmm(queries, weights, values, alpha=scale)  # (B, N, outputs)
        return rearrange(attended, "b (h w) c -> b c h w", h=x.shape[2])

    @torch.no_grad()
    def received(self, x: Tensor) -> Tensor:
        """Mean weight each pixel receives in self-attention: (B, inputs, H, W) -> column means of W, (B, H, W)."""
        queries, values = self._project(x, x)
        return rearrange(torch.bmm(queries, values.mT).sigmoid_().mean(1), "b (h w) -> b h w", h=x.shape[2])

    def _project(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """x' (B, N, outputs) and y' (B, M, outputs), in the precision of the weights."""
        kind = self.g1.weight.dtype
        queries = rearrange(self.g1(x.to(kind)), "b c h w -> b (h w) c")
        values = rearrange(self.g2(y.to(kind)), "b c h w -> b (h w) c")
        return queries, values
