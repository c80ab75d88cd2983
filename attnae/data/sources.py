"""Sources of images: folders, zip files, Parquet, arrays, official files, embedded images. One small function each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np

from attnae.data import archive, official
from attnae.data.cache import Images, cached, pixel_digest
from attnae.data.decode import UInt8, UnreadableImage, decode_rgb, read_image, resize, resize_array
from attnae.data.faces import portrait
from attnae.data.layout import is_held_out_by_bytes
from attnae.data.location import Location
from attnae.data.parquet import Rows
from attnae.data.photos import photo_crops
from attnae.data.versions import counts_of, version
from attnae.data.walk import File, printable
from attnae.errors import UserError

LARGEST_ARRAY = 4_000_000_000
"""Size in bytes above which the compression ratio of an ``.npz`` array is limited to :data:`attnae.data.archive.EXPANSION`."""


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
        if self.array and self.array().shape[1:] == (size, size, 3):  # the file itself is the memory map
            return Images(self.array(), digest or pixel_digest(self.array()), {})
        return cached(self.key, self.count, size, self.decode, self.title)


def splits_of(location: Location, size: int, counts: tuple[int, int] | None = None) -> dict[str, Split]:
    """Returns ``train`` and ``test`` of a dataset.

    Args:
        location: Location of the dataset.
        size: Height and width in pixels.
        counts: Number of embedded images to generate, training and held-out; ``None`` for all.
    """
    if location.kind == "embedded":
        return {
            split: _embedded(location, split, size, count)
            for split, count in zip(("train", "test"), counts_of(location, counts), strict=True)
        }
    make = {"folder": _folder, "zip": _zip, "array": _array, "parquet": _parquet, "official": _official}[location.kind]
    if not location.whole:
        return {split: _whole(location, split, make(location, split, size)) for split in ("train", "test")}
    everything = make(location, "train", size)
    sides = cache(lambda: _sides(location, everything))
    return {split: _part(location, split, everything, sides) for split in ("train", "test")}


@dataclass(frozen=True)
class Collection:
    """Images in the order of their files.

    Attributes:
        count: Number of images.
        checksum: CRC-32 of the stored bytes of an image, by position.
        decode: Image by position, as in :class:`Split`.
        array: As in :class:`Split`.
    """

    count: Callable[[], int]
    checksum: Callable[[int], int]
    decode: Callable[[int, Counter[str]], UInt8]
    array: Callable[[], UInt8] | None = None


def _whole(location: Location, split: str, images: Collection) -> Split:
    title = f"decoding {location.name} {split}"
    return Split(version(location, split), images.count, images.decode, title, images.array)


def _part(location: Location, split: str, images: Collection, sides: Callable[[], dict[str, list[int]]]) -> Split:
    """One split of images that are split by their bytes; ``sides`` reads all of them, but only when they are decoded."""

    def decode(index: int, conversions: Counter[str]) -> UInt8:
        return images.decode(sides()[split][index], conversions)

    return Split(version(location, split), lambda: len(sides()[split]), decode, f"decoding {location.name} {split}")


def _sides(location: Location, images: Collection) -> dict[str, list[int]]:
    """Positions of training and held-out images."""
    sides: dict[str, list[int]] = {"train": [], "test": []}
    for index in range(images.count()):
        sides["test" if is_held_out_by_bytes(images.checksum(index)) else "train"].append(index)
    for split, indices in sides.items():
        if not indices:
            raise UserError(
                f"{printable(location.root or location.name)} contains {images.count()} images, but the split by content "
                f"(one fifth is held out) leaves none for {split}. Add images, or sort them into train/ and test/."
            )
    return sides


def _folder(location: Location, split: str, size: int) -> Collection:
    files = location.files[split]

    def checksum(index: int) -> int:
        try:
            return crc32(files[index].path.read_bytes())
        except OSError as error:
            raise UserError(
                f"Cannot read the image {printable(files[index].path)}: {error.strerror}. Repair or remove it."
            ) from error

    def decode(index: int, conversions: Counter[str]) -> UInt8:
        return read_image(files[index].path, size, conversions)

    return Collection(lambda: len(files), checksum, decode)


def _zip(location: Location, split: str, size: int) -> Collection:
    assert location.root is not None
    files, path = location.files[split], location.root
    reader = cache(lambda: archive.reader(path))

    def decode(index: int, conversions: Counter[str]) -> UInt8:
        name = f"{printable(path)}/{printable(files[index].name)}"
        try:
            content = reader()[1](files[index].name)
        except ValueError as error:
            raise UnreadableImage(f"Cannot read the image {name}: {error}. Repair or remove it.") from error
        return resize(decode_rgb(content, name, conversions), size, conversions, name)

    return Collection(lambda: len(files), lambda index: reader()[0](files[index].name), decode)


def _parquet(location: Location, split: str, size: int) -> Collection:
    rows = cache(lambda: Rows(location.files[split]))

    def decode(index: int, conversions: Counter[str]) -> UInt8:
        return rows().decode(index, size, conversions)

    return Collection(lambda: len(rows()), lambda index: crc32(rows().content(index) or b""), decode)


def _array(location: Location, split: str, size: int) -> Collection:
    (file,) = location.files[split]
    return _resized(cache(lambda: open_array(file)), size, file.name)


def _official(location: Location, split: str, size: int) -> Collection:
    def load() -> UInt8:
        assert location.root is not None
        return official.load(location.dataset, location.root, split)

    return replace(_resized(cache(load), size, split), array=None)


def _resized(array: Callable[[], UInt8], size: int, name: str) -> Collection:
    def decode(index: int, conversions: Counter[str]) -> UInt8:
        return resize_array(array()[index], size, conversions, f"{name}[{index}]")

    def checksum(index: int) -> int:
        return crc32(np.ascontiguousarray(array()[index]).data)

    return Collection(lambda: len(array()), checksum, decode, array)


def _embedded(location: Location, split: str, size: int, count: int) -> Split:
    """Crops of photographs, generated together, or procedural faces, generated one by one."""
    train, crops = split == "train", cache(photo_crops)

    def decode(index: int, conversions: Counter[str]) -> UInt8:
        return portrait(train, index, size) if location.name == "faces" else crops(train, count, size)[index]

    return Split(version(location, split, count), lambda: count, decode, f"decoding {location.name} {split}")


def open_array(file: File) -> UInt8:
    """An array of images, uint8 (N, H, W, 3) or gray (N, H, W): memory-mapped, or read from an ``.npz`` file.

    Raises:
        UserError: The file is not such an array.
    """
    path: Path = file.path
    expected = "Expected uint8 of shape (N, H, W, 3), or (N, H, W) for gray images"
    try:
        array: UInt8 = _unpacked(file) if path.suffix.lower() == ".npz" else np.lib.format.open_memmap(path, mode="r")
    except UserError:
        raise
    except (
        Exception
    ) as error:  # pickles are rejected; damaged files raise OSError, BadZipFile, zlib.error, MemoryError, ...
        raise UserError(f"Cannot read {printable(path)}: {error}. {expected}, as written by np.save.") from error
    colors = array.ndim == 4 and array.shape[-1] == 3
    grays = array.ndim == 3 and array.shape[-1] > 4  # a single RGB image is not a stack of gray ones
    if array.dtype != np.uint8 or not (colors or grays) or not array.size:
        raise UserError(f"{printable(path)} contains {array.dtype} of shape {array.shape}. {expected}.")
    return array


def _unpacked(file: File) -> UInt8:
    with archive.opened(file.path) as npz:
        info = npz.getinfo(f"{file.name}.npy")
        if info.file_size > LARGEST_ARRAY and info.file_size > archive.EXPANSION * max(info.compress_size, 1):
            raise UserError(f"{printable(file.path)} unpacks to {info.file_size:,} bytes. Save the array as .npy.")
    with np.load(file.path, allow_pickle=False) as arrays:
        array: UInt8 = arrays[file.name]
        return array
