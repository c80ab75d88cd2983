"""The images that a model is applied to: read at their own size, written, and measured."""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attnae.data.decode import UInt8, UnreadableImage, decode_rgb
from attnae.data.walk import printable
from attnae.errors import UserError
from attnae.files import atomic
from attnae.inference.inputs import Source
from attnae.metrics.functional import PSNR_LIMIT, ssim_uniform

BLOCK = 256
"""SSIM is computed in blocks of this many windows per side."""


Read = TypeVar("Read")


def usable(
    found: Sequence[Source],
    read: Callable[[Source], Read],
    skipped: list[str],
    refusal: type[UserError] = UnreadableImage,
    kind: str = "images",
) -> Iterator[tuple[Source, Read]]:
    """Yields the readable files with their content, and reports the others.

    Args:
        found: The files.
        read: Reads one, or raises a ``refusal``.
        skipped: Collects one line per unusable file.
        refusal: Error that concerns a single file.
        kind: Kind of files, for messages.

    Raises:
        UserError: No file is usable.
    """
    for source in found:
        try:
            content = read(source)
        except refusal as error:
            if len(found) == 1:
                raise
            print(f"Skipped: {error}", file=sys.stderr, flush=True)
            skipped.append(str(error))
        else:
            yield source, content
    if len(skipped) == len(found):
        raise UserError(f"None of the {len(found)} {kind} is usable. The first: {skipped[0]}")


def read(path: Path, conversions: Counter[str]) -> Image.Image:
    """Reads an image of any size supported by PIL as 8-bit RGB; see :func:`attnae.data.decode.decode_rgb`.

    Raises:
        UnreadableImage: The file cannot be read or decoded.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(
            f"Cannot read the image {printable(path)}: {error.strerror}. Repair or remove it."
        ) from error
    return decode_rgb(content, printable(path), conversions)


def save(pixels: UInt8, path: Path) -> None:
    """Writes an image (H, W, 3) as PNG."""
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def to_tensor(pixels: UInt8) -> Tensor:
    """(..., H, W, 3) uint8 -> (..., 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(pixels)).movedim(-1, -3).float() / 255  # a copy: PIL's arrays are read-only


def to_pixels(images: Tensor) -> UInt8:
    """(..., 3, H, W) in [0, 1] -> (..., H, W, 3) uint8, rounded.

    Example:
        >>> to_pixels(torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1)).tolist()
        [[[0, 128, 255]]]
    """
    return images.mul(255).add(0.5).clamp(0, 255).byte().movedim(-3, -1).contiguous().numpy()


def identity(pixels: UInt8) -> int:
    """Number that depends only on an image's pixels, used as a seed independent of batch and order."""
    return zlib.crc32(np.ascontiguousarray(pixels).data, pixels.shape[0])


def noisy_rows(pixels: UInt8, sigma: float, key: Sequence[int], top: int, end: int) -> Tensor:
    """Some rows of an image with Gaussian noise, clamped to [0, 1] as in training.

    Args:
        pixels: The image (H, W, 3).
        sigma: Standard deviation in units of the images' range [0, 1].
        key: Seed and the image's :func:`identity`. Together with the row index they determine the noise of a row, so rows
            can be generated independently and the noise of a large image is never in memory as a whole.
        top: First row.
        end: Last row + 1.

    Returns:
        (3, end - top, W).
    """
    draws = [
        np.random.default_rng([45, *key, row]).standard_normal((3, pixels.shape[1]), np.float32)
        for row in range(top, end)
    ]
    noise = torch.from_numpy(np.stack(draws, 1))
    return (to_tensor(pixels[top:end]) + sigma * noise).clamp(0, 1)


def psnr(output: UInt8, truth: UInt8) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit values, at most :data:`PSNR_LIMIT`; higher is better.

    Args:
        output: (N, ...), rows of an image (H, W, 3) or chosen pixels (N, 3); at least one.
        truth: Of the same shape.

    Example:
        >>> round(psnr(np.full((4, 3), 110, np.uint8), np.full((4, 3), 100, np.uint8)), 2)
        28.13
    """
    squares = sum(
        int(np.square(made.astype(np.int64) - true).sum()) for made, true in zip(output, truth, strict=True)
    )  # by rows: a large image in wider integers would not fit
    mse = squares / truth.size / 255**2
    return PSNR_LIMIT if mse == 0 else min(PSNR_LIMIT, -10 * float(np.log10(mse)))


def quality(output: UInt8, truth: UInt8) -> tuple[float, float | None]:
    """PSNR in dB and structural similarity (scikit-image's 7x7) of an 8-bit image, higher is better.

    Args:
        output: (H, W, 3).
        truth: (H, W, 3).

    Returns:
        PSNR of at most :data:`PSNR_LIMIT`; SSIM in [-1, 1], ``None`` for an image smaller than a window.
    """
    height, width = truth.shape[:2]
    value = psnr(output, truth)
    if min(height, width) < 7:
        return value, None
    total, windows = 0.0, 0
    for top in range(0, height - 6, BLOCK):
        for left in range(0, width - 6, BLOCK):
            part = np.s_[top : top + BLOCK + 6, left : left + BLOCK + 6]
            made, true = to_tensor(output[part])[None], to_tensor(truth[part])[None]
            count = (true.shape[2] - 6) * (true.shape[3] - 6)
            total += float(ssim_uniform(made, true)) * count
            windows += count
    return value, total / windows
