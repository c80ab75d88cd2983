"""Baselines of the MoE denoiser: a plain convolutional denoiser, and classical methods without training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

Method = Literal["noisy", "wavelet", "tv", "nlm", "bm3d"]

STRENGTHS = (0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Candidates for :func:`choose_strength`, about a factor of sqrt(2) apart."""


class DnCNN(nn.Module):
    """Plain convolutional denoiser that predicts the noise and subtracts it.

    Paper: Zhang et al., "Beyond a Gaussian Denoiser" (2017): 3x3 convolutions, ReLU, He initialization. We: no batch norm,
    much narrower and shallower: 42,987 parameters, with the same FLOPs as the MoE denoiser at 32x32.

    Args:
        depth: Number of convolutions, at least 2.
        channels: Channels of the hidden layers.

    Raises:
        ValueError: ``depth`` or ``channels`` is too small.

    Example:
        >>> DnCNN(depth=3, channels=4)(torch.rand(1, 3, 20, 31)).shape
        torch.Size([1, 3, 20, 31])
    """

    def __init__(self, depth: int = 10, channels: int = 24):
        super().__init__()
        if depth < 2 or channels < 1:
            raise ValueError(f"depth must be at least 2 and channels positive, got {depth} and {channels}")
        layers: list[nn.Module] = []
        for inputs in (3, *[channels] * (depth - 2)):
            convolution = nn.Conv2d(inputs, channels, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight)  # with torch's default, the signal vanishes over ten layers
            layers += [convolution, nn.ReLU()]
        self.noise = nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Denoises images.

        Args:
            images: Noisy images (B, 3, H, W) in [0, 1].

        Returns:
            Images (B, 3, H, W), clamped to [0, 1] in evaluation mode, not clamped in training mode.
        """
        output: Tensor = images - self.noise(images)
        return output if self.training else output.clamp(0, 1)


class ClassicalDenoiser(nn.Module):
    """Classical denoiser without training or parameters. The noise level is an input.

    Args:
        method: ``noisy`` returns its input; ``wavelet`` (BayesShrink), ``tv`` (total variation, Chambolle) and ``nlm``
            (non-local means) use scikit-image; ``bm3d`` requires the package of the same name.
        strength: Factor on the noise level passed to the method, or on its weight or filter parameter; larger is smoother.
            :func:`choose_strength` selects it.

    Raises:
        ImportError: ``method`` is ``bm3d`` and the package is not installed.
        ValueError: Unknown method, or ``strength`` is not positive and finite.

    Example:
        >>> ClassicalDenoiser("tv")(torch.rand(1, 3, 16, 16), sigma=0.2).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(self, method: Method = "noisy", strength: float = 1.0):
        super().__init__()
        if method not in get_args(Method):
            raise ValueError(f"unknown method {method!r}; known: {', '.join(get_args(Method))}")
        if not 0 < strength < math.inf:
            raise ValueError(f"strength must be positive and finite, got {strength}")
        self.method, self.strength = method, strength
        self._denoise = None if method == "noisy" else _METHODS[method]()

    def forward(self, images: Tensor, sigma: float | Tensor) -> Tensor:
        """Denoises the images one by one on the CPU.

        Args:
            images: Noisy images (B, 3, H, W) in [0, 1].
            sigma: Standard deviation of the noise, in units of the images; a number, or one per image (B,).

        Returns:
            Images (B, 3, H, W) in [0, 1], on the device of the input. Images with sigma 0 are returned unchanged.

        Raises:
            ValueError: ``sigma`` is negative or not finite.
        """
        levels = torch.as_tensor(sigma, dtype=torch.float64).expand(len(images)).tolist()
        if not all(0 <= level < math.inf for level in levels):
            raise ValueError(f"sigma must be finite and not negative, got {sigma}")
        if self._denoise is None:
            return images
        output = images.clone()
        for index, (image, level) in enumerate(zip(images, levels, strict=True)):
            if level:
                array = image.detach().cpu().float().permute(1, 2, 0).numpy()  # (H, W, 3)
                output[index] = torch.as_tensor(self._denoise(array, level, self.strength)).permute(2, 0, 1).to(images)
        return output.clamp(0, 1)


def choose_strength(
    method: Method, clean: Tensor, noisy: Tensor, sigma: float | Tensor, strengths: Sequence[float] = STRENGTHS
) -> ClassicalDenoiser:
    """Selects the strength with the lowest mean squared error. Use validation images, never test images.

    Args:
        method: As in :class:`ClassicalDenoiser`.
        clean: Clean images (B, 3, H, W) in [0, 1].
        noisy: The same images with noise (B, 3, H, W) in [0, 1].
        sigma: Standard deviation of the noise; a number, or one per image (B,).
        strengths: Candidates.

    Raises:
        ValueError: The shapes of the images differ, or there are no images or no candidates.
    """
    if clean.shape != noisy.shape or not clean.numel() or not strengths:
        raise ValueError(
            "expected clean and noisy images of equal shape and at least one candidate, got "
            f"{tuple(clean.shape)}, {tuple(noisy.shape)} and {len(strengths)} candidates"
        )
    if method == "noisy":
        return ClassicalDenoiser(method)
    candidates = [ClassicalDenoiser(method, strength) for strength in strengths]
    return min(candidates, key=lambda denoiser: (denoiser(noisy, sigma) - clean).square().mean().item())


# Methods import their packages when a denoiser is built, so importing this module needs neither scikit-image nor bm3d. Images
# are arrays (H, W, 3) in [0, 1]; typed Any, because neither package is typed.
Denoise = Callable[[Any, float, float], Any]


def _wavelet() -> Denoise:
    from skimage.restoration import denoise_wavelet

    return lambda image, sigma, strength: denoise_wavelet(
        image, sigma=strength * sigma, convert2ycbcr=True, rescale_sigma=True, channel_axis=-1
    )


def _tv() -> Denoise:
    from skimage.restoration import denoise_tv_chambolle

    return lambda image, sigma, strength: denoise_tv_chambolle(image, weight=strength * sigma, channel_axis=-1)


def _nlm() -> Denoise:
    from skimage.restoration import denoise_nl_means

    # Patch size 5, search distance 6, as in scikit-image's example. The default of 7 and 11 is too large for 32x32.
    return lambda image, sigma, strength: denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=strength * sigma, sigma=sigma, fast_mode=True, channel_axis=-1
    )


def _bm3d() -> Denoise:
    try:
        from bm3d import bm3d_rgb
    except ImportError as error:
        raise ImportError("bm3d is not installed. Run `pip install bm3d` (free for non-commercial use).") from error
    return lambda image, sigma, strength: bm3d_rgb(image, sigma_psd=strength * sigma)


_METHODS: dict[str, Callable[[], Denoise]] = {"wavelet": _wavelet, "tv": _tv, "nlm": _nlm, "bm3d": _bm3d}
