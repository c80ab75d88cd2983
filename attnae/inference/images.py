"""Input images of the commands: found by name, folder or pattern, read at their original size."""

from __future__ import annotations

import glob
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attnae.data.decode import UInt8, UnreadableImage, read_rgb
from attnae.data.location import EXTENSIONS, image_files
from attnae.errors import UserError
from attnae.files import atomic
from attnae.metrics.functional import PSNR_LIMIT, ssim_uniform

BLOCK = 256
"""SSIM is computed in blocks of this many windows per side."""


Read = TypeVar("Read")


@dataclass(frozen=True)
class Source:
    """A file to read.

    Attributes:
        path: Path of the file.
        name: Name of its result, relative to the output folder, without extension.
    """

    path: Path
    name: str


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


def find(arguments: Sequence[str], extensions: set[str] = EXTENSIONS) -> list[Source]:
    """Finds files by name, in folders, or by patterns such as ``photos/**/*.jpg``, each once.

    Args:
        arguments: Names of files and folders, and patterns. A folder's files keep their place below it.
        extensions: Which files of a folder count.

    Raises:
        UserError: A name or pattern matches nothing.
    """
    found: dict[Path, Path] = {}  # path -> path without the folder that was searched
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = image_files(path) if extensions is EXTENSIONS else sorted(path.rglob("*"))
            files = [(file, file.relative_to(path)) for file in inside if file.suffix.lower() in extensions]
        elif path.exists():
            files = [(path, Path(path.name))]
        else:
            matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207 - may be absolute
            files = [(file, Path(file.name)) for file in matches if file.is_file()]
        if not files:
            what = "contains no such files" if path.is_dir() else "does not exist and matches nothing"
            raise UserError(f"{argument} {what} ({', '.join(sorted(extensions))}).")
        for file, short in files:
            found.setdefault(file, short)
    stems = Counter(short.with_suffix("") for short in found.values())
    names = [
        # a.jpg and a.png must not both become a.png
        (short.with_suffix("") if stems[short.with_suffix("")] == 1 else short.with_name(short.name.replace(".", "-")))
        for short in found.values()
    ]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(
            f"Several images have the name {twice[0]}, so their results would overwrite each other. Pass their common folder."
        )
    return [Source(path, name.as_posix()) for path, name in zip(found, names, strict=True)]


def outputs(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Checks that the outputs can be written.

    Raises:
        UserError: The folder is a file, or one of the files exists and may not be overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Pass a folder to -o.")
    if not overwrite and (there := [name for name in names if (folder / name).exists()]):
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{folder / there[0]}{more} exists. Pass --overwrite or choose another folder.")


def read(path: Path, conversions: Counter[str]) -> Image.Image:
    """Reads an image of any size supported by PIL as 8-bit RGB; see :func:`attnae.data.decode.read_rgb`."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", Image.DecompressionBombWarning
        )  # large images are allowed; PIL still rejects bombs
        return read_rgb(path, conversions)


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


def quality(output: UInt8, truth: UInt8) -> tuple[float, float | None]:
    """PSNR in dB and structural similarity (scikit-image's 7x7) of an 8-bit image, higher is better.

    Args:
        output: (H, W, 3).
        truth: (H, W, 3).

    Returns:
        PSNR of at most :data:`PSNR_LIMIT`; SSIM in [-1, 1], ``None`` for an image smaller than a window.
    """
    height, width = truth.shape[:2]
    squares = sum(
        int(np.square(output[row].astype(np.int64) - truth[row]).sum()) for row in range(height)
    )  # by rows, to save memory
    mse = squares / truth.size / 255**2
    psnr = PSNR_LIMIT if mse == 0 else min(PSNR_LIMIT, -10 * float(np.log10(mse)))
    if min(height, width) < 7:
        return psnr, None
    total, windows = 0.0, 0
    for top in range(0, height - 6, BLOCK):
        for left in range(0, width - 6, BLOCK):
            part = np.s_[top : top + BLOCK + 6, left : left + BLOCK + 6]
            made, true = to_tensor(output[part])[None], to_tensor(truth[part])[None]
            count = (true.shape[2] - 6) * (true.shape[3] - 6)
            total += float(ssim_uniform(made, true)) * count
            windows += count
    return psnr, total / windows
