"""Decodes an image file to a square uint8 RGB image, and rejects unusable files."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from attnae.data.formats import FORMATS
from attnae.data.walk import printable
from attnae.errors import UserError

SMALLEST = 8
"""Minimum length of the shorter side in pixels. Upscaling smaller images would test the interpolation, not a model."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transpositions that make an image upright, by EXIF orientation."""

UInt8 = np.ndarray
"""uint8 array of shape (H, W, 3) or (N, H, W, 3) with values in 0..255."""


class UnreadableImage(UserError):
    """An unusable image. A few of these in a dataset are skipped."""


def read_image(path: Path, size: int, conversions: Counter[str]) -> UInt8:
    """Decodes an image to ``(size, size, 3)``: :func:`read_rgb`, then :func:`resize`.

    Args:
        path: Image file.
        size: Height and width of the result in pixels.
        conversions: Counts conversions (``grayscale``, ``transparent``, ...) for the report.

    Raises:
        UserError: The file is missing or cannot be read.
        UnreadableImage: The file cannot be decoded or is too small.
    """
    return resize(read_rgb(path, conversions), size, conversions, printable(path))


def read_rgb(path: Path, conversions: Counter[str]) -> Image.Image:
    """Decodes an image at its original size: first frame, upright, RGB, 8 bits.

    The file is read completely before decoding, to distinguish read errors from damaged images, which the cache would skip
    permanently.

    Args:
        path: Image file.
        conversions: As in :func:`read_image`.

    Raises:
        UserError: The file cannot be read.
        UnreadableImage: The file cannot be decoded.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read the image {printable(path)}: {error.strerror}. Repair or remove it.") from error
    return decode_rgb(content, printable(path), conversions)


def decode_rgb(content: bytes, name: str, conversions: Counter[str]) -> Image.Image:
    """Decodes the bytes of an image file, as :func:`read_rgb`.

    Args:
        content: What the file holds.
        name: Names the image in messages.
        conversions: As in :func:`read_image`.

    Raises:
        UnreadableImage: The bytes cannot be decoded.
    """
    found = Counter[str]()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata, large images; Pillow still rejects bombs
            with Image.open(io.BytesIO(content), formats=_formats()) as image:
                if getattr(image, "is_animated", False):
                    found["animated (first frame)"] += 1
                image.load()
                rgb = _rgb(_upright(image, found), found, _bits(image))
    except Exception as error:  # decoders raise struct.error, KeyError, ZeroDivisionError, MemoryError, ...
        why = (
            "not an image in a format supported by Pillow" if isinstance(error, UnidentifiedImageError) else str(error)
        )
        raise UnreadableImage(
            f"Cannot read the image {name}: {why or type(error).__name__}. Repair or remove it."
        ) from error
    conversions.update(found)
    return rgb


@cache
def _formats() -> tuple[str, ...]:
    """The :data:`FORMATS` supported by the installed Pillow. Some, such as AVIF, are optional."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _bits(image: Image.Image) -> int:
    """Bits per value that a file with more than 8 stores: 12 or 32 in some TIFF files, otherwise 16."""
    if image.format != "TIFF" or not image.mode.startswith("I"):
        return 16  # other formats store at most 16 bits
    if image.mode == "I":
        return 32
    stored = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (16,))
    return 12 if stored == (12,) else 16


def _upright(image: Image.Image, conversions: Counter[str]) -> Image.Image:
    """Rotates an image according to its metadata. Other metadata entries may be damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # decoders can raise anything
        conversions["unreadable orientation (not turned)"] += 1
        return image
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image, conversions: Counter[str], stored: int = 16) -> Image.Image:
    """Converts to RGB of 8 bits from ``stored`` bits; the range of 32 bits is the smallest of 8, 16 or 31 bits that fits."""
    if image.mode.startswith("I") or image.mode == "F":
        # PIL's conversion to 8 bits clips at 255 instead of scaling.
        conversions["float" if image.mode == "F" else f"{stored}-bit"] += 1
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0, posinf=0, neginf=0)
        most = float(values.max())
        if image.mode == "F":
            peak = max(1.0, most)
        elif stored == 32:
            peak = next(2.0**bits - 1 for bits in (8, 16, 31) if most < 2**bits)
        else:
            peak = 2.0**stored - 1
        image = Image.fromarray(np.clip(values * (255.0 / peak), 0, 255).round().astype(np.uint8))
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        conversions["transparent (on white)"] += 1
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    if image.mode in ("L", "1"):
        conversions["grayscale"] += 1
    elif image.mode not in ("RGB", "P"):
        conversions[image.mode] += 1
    return image.convert("RGB")


def resize(image: Image.Image, size: int, conversions: Counter[str], name: str) -> UInt8:
    """Center-crops an RGB image to a square and resizes it with PIL's antialiased bilinear filter.

    Raises:
        UnreadableImage: The image is too small.
    """
    width, height = image.size
    side = min(width, height)
    if side < SMALLEST:
        raise UnreadableImage(
            f"The image {name} has {width}x{height} pixels; at least {SMALLEST}x{SMALLEST} are needed. Remove it."
        )
    if width != height:
        conversions["cropped to a square"] += 1
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if side < size:
        conversions["enlarged"] += 1
    if side != size:
        # Paper: "resized to 64x64". Released code: torchvision's Resize on a PIL image (bilinear with antialiasing).
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def resize_array(image: UInt8, size: int, conversions: Counter[str], name: str) -> UInt8:
    """Resizes a decoded image, RGB or gray; one that has the size already passes through.

    Raises:
        UnreadableImage: The image is too small.
    """
    if image.ndim == 2:
        conversions["grayscale"] += 1
        image = np.repeat(image[..., None], 3, axis=2)
    return image if image.shape[:2] == (size, size) else resize(Image.fromarray(image), size, conversions, name)
