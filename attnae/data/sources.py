"""Sources of images: folders, arrays, official files and embedded images, one function each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from attnae.data import official
from attnae.data.cache import Images, cached, pixel_digest
from attnae.data.decode import UInt8, read_image, resize_array
from attnae.data.faces import portrait
from attnae.data.location import Location
from attnae.data.photos import photo_crops
from attnae.data.versions import counts_of, version
from attnae.data.walk import File, printable
from attnae.errors import UserError


@dataclass(frozen=True)
class Split:
    """Images of ``train`` or ``test`` before decoding. Creating it reads no files.

    Attributes:
        key: Changes whenever the images may have changed, see :func:`attnae.data.versions.version`.
        count: Returns the number of images, including unreadable ones.
        decode: Returns an image by position, uint8 (size, size, 3); see :func:`attnae.data.cache.cached`.
        title: Title of the progress display.
        array: Returns an array that may not need decoding.
    """

    key: str
    count: Callable[[], int]
    decode: Callable[[int, Counter[str]], UInt8]
    title: str
    array: Callable[[], UInt8] | None = None

    def images(self, size: int, digest: str | None = None) -> Images:
        """Returns the decoded images, from the cache if available.

        Args:
            size: Height and width in pixels.
            digest: Known digest of an array that needs no decoding.
        """
        if self.array and self.array().shape[1:3] == (size, size):  # memory-map the file itself
            return Images(self.array(), digest or pixel_digest(self.array()), {})
        return cached(self.key, self.count, size, self.decode, self.title)


def splits_of(location: Location, size: int, counts: tuple[int, int] | None = None) -> dict[str, Split]:
    """Returns ``train`` and ``test`` of a dataset.

    Args:
        location: Location of the dataset.
        size: Height and width in pixels.
        counts: Number of embedded images to generate, training and held-out; ``None`` for all.
    """
    return {
        split: _embedded(location, split, size, count)
        if location.kind == "embedded"
        else {"folder": _folder, "array": _array, "official": _official}[location.kind](location, split, size)
        for split, count in zip(("train", "test"), counts_of(location, counts), strict=True)
    }


def _folder(location: Location, split: str, size: int) -> Split:
    files = location.files[split]

    def decode(index: int, conversions: Counter[str]) -> UInt8:
        return read_image(files[index].path, size, conversions)

    return Split(version(location, split), lambda: len(files), decode, f"decoding {location.name} {split}")


def _array(location: Location, split: str, size: int) -> Split:
    (file,) = location.files[split]
    return _resized(location, split, size, cache(lambda: open_array(file)), file.name)


def _official(location: Location, split: str, size: int) -> Split:
    def load() -> UInt8:
        assert location.root is not None
        return official.load(location.dataset, location.root, split)

    return _resized(location, split, size, cache(load), split)


def _resized(location: Location, split: str, size: int, array: Callable[[], UInt8], name: str) -> Split:
    def decode(index: int, conversions: Counter[str]) -> UInt8:
        return resize_array(array()[index], size, conversions, f"{name}[{index}]")

    key, title = version(location, split), f"decoding {location.name} {split}"
    return Split(key, lambda: len(array()), decode, title, array if location.kind == "array" else None)


def _embedded(location: Location, split: str, size: int, count: int) -> Split:
    """Crops of photographs, generated together, or procedural faces, generated one by one."""
    train, crops = split == "train", cache(photo_crops)

    def decode(index: int, conversions: Counter[str]) -> UInt8:
        return portrait(train, index, size) if location.name == "faces" else crops(train, count, size)[index]

    return Split(version(location, split, count), lambda: count, decode, f"decoding {location.name} {split}")


def open_array(file: File) -> UInt8:
    """Opens a memory-mapped array of images, uint8 (N, H, H, 3).

    Raises:
        UserError: The file is not such an array.
    """
    path: Path = file.path
    try:
        array: UInt8 = np.lib.format.open_memmap(path, mode="r")  # rejects archives and pickles
    except (OSError, EOFError, ValueError) as error:
        raise UserError(
            f"Cannot read {printable(path)}: {error}. Expected uint8 of shape (N, H, W, 3), saved by np.save."
        ) from error
    if (
        array.dtype != np.uint8
        or array.ndim != 4
        or array.shape[-1] != 3
        or array.shape[1] != array.shape[2]
        or not array.size
    ):
        raise UserError(
            f"{printable(path)} has dtype {array.dtype} and shape {array.shape}. Expected uint8 of shape (N, H, H, 3)."
        )
    return array
