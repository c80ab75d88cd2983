"""Decoded images as one memory-mapped array: built once, shared by any number of processes, resumed where it was stopped."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import track

from attnae.data.decode import UInt8, UnreadableImage
from attnae.data.versions import FORMAT
from attnae.data.versions import cache_folder as cache_folder
from attnae.errors import UserError
from attnae.files import write_text

LARGE = 100_000_000
"""Bytes from which a cache is announced before it is built: a small one is there before the line is read."""

VERIFIED = 1_000_000_000
"""Bytes up to which a cache is compared with its digest whenever it is opened, which takes about a second a gigabyte."""

SKIPPED = "unreadable (skipped)"
"""The reason under which skipped files are counted among the conversions."""

PATIENCE = 5.0
"""Seconds between two lines of progress where there is no terminal for a bar."""


@dataclass
class Images:
    """Decoded images of one split.

    Attributes:
        pixels: uint8 (N, H, W, 3), possibly memory-mapped.
        digest: Hash of the pixels: equal digests mean equal data, wherever the files came from.
        conversions: How many images had to be converted or skipped, by reason.
        skipped: What is wrong with each skipped image, one line each that names it.
    """

    pixels: UInt8
    digest: str
    conversions: dict[str, int]
    skipped: list[str] = field(default_factory=list)


def cached(
    key: str,
    count: int | Callable[[], int],
    size: int,
    decode: Callable[[int, Counter[str]], UInt8],
    title: str,
) -> Images:
    """The images behind ``key``, decoded now if no process has done so before.

    The array grows in a hidden file and gets its name only when it is whole, so that a reader never sees a part; of
    several processes that want the same images one decodes and the others wait for it. A killed or interrupted build
    is taken up after its last image that is verifiably on the disk, and so is one for which there was no room; any other
    failure leaves nothing behind.

    Args:
        key: Everything that the pixels depend on.
        count: Number of images, or what tells it; not called when the cache has them.
        size: Height and width in pixels.
        decode: Image by position, uint8 (size, size, 3), counting what it converts; not called when the cache has it.
        title: Shown beside the progress.

    Raises:
        UserError: The disk is full, or more images are unreadable than :func:`tolerated`.
    """
    folder = cache_folder()
    path = folder / f"{hashlib.blake2b(f'{FORMAT}|{size}|{key}'.encode(), digest_size=12).hexdigest()}.npy"
    with FileLock(path.with_suffix(".lock")):
        found = _read(path, size)
        if found is None:
            _build(path, count if isinstance(count, int) else count(), size, decode, title)
            found = _read(path, size, verified=False)  # it has been hashed while it was written
        if found is None:
            raise UserError(
                f"The image cache {path} cannot be read back after writing it. Check the disk, or set ATTNAE_CACHE."
            )
        return found


def tolerated(count: int) -> int:
    """How many of so many images may be unreadable: a tenth but at most 10, or 1% where that is more."""
    return max(min(count // 10, 10), count // 100)


class _NoRoom(UserError):
    """The cache does not fit on its disk."""


class _Growing:
    """An array on its way: a hidden file of pixels, and a journal with one line for each image decoded or skipped.

    A line is written after its pixels and holds the digest of all pixels so far. Opening the files again verifies line
    by line what is there and cuts off the rest, so that the array ends up as if nothing had happened.

    Args:
        path: Where the finished array goes.
        count: Number of images.
        size: Height and width in pixels.
    """

    def __init__(self, path: Path, count: int, size: int):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
        )
        self.path, self.files = path, (path.with_name(f".{path.stem}.part"), path.with_name(f".{path.stem}.journal"))
        self.header, self.image_bytes, self.count = header.getvalue(), size * size * 3, count
        self.digest, self.rows = hashlib.blake2b(digest_size=16), 0
        self.converted = Counter[str]()
        self.skipped: list[str] = []

    @property
    def position(self) -> int:
        """The next image."""
        return self.rows + len(self.skipped)

    def __enter__(self) -> _Growing:
        self.pixels, self.journal = (file.open("a+b") for file in self.files)
        self.pixels.seek(0)
        self.journal.seek(0)
        end = 0
        if self.pixels.read(len(self.header)) == self.header:
            for line in self.journal:
                if not self._replayed(line):
                    break
                end += len(line)
        self.journal.truncate(end)
        self.pixels.truncate(len(self.header) + self.rows * self.image_bytes if end else 0)
        if not end:
            self.pixels.write(self.header)
        return self

    def _replayed(self, line: bytes) -> bool:
        try:
            entry: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
            if entry["skipped"]:
                self.skipped.append(entry["skipped"])
                return True
            digest, image = self.digest.copy(), self.pixels.read(self.image_bytes)
            digest.update(image)
            if len(image) < self.image_bytes or digest.hexdigest() != entry["digest"]:
                return False
            self.digest, self.rows = digest, self.rows + 1
            self.converted.update(entry["converted"])
            return True
        except (ValueError, KeyError, TypeError):
            return False

    def add(self, image: UInt8, converted: Counter[str]) -> None:
        """Appends an image."""
        content = np.ascontiguousarray(image).data
        self.pixels.write(content)
        self.pixels.flush()
        self.digest.update(content)
        self.rows += 1
        self.converted.update(converted)
        self._note({"digest": self.digest.hexdigest(), "converted": converted, "skipped": ""})

    def skip(self, why: str) -> None:
        """Goes on without an image."""
        self.skipped.append(why)
        self._note({"skipped": why})

    def _note(self, entry: dict[str, Any]) -> None:
        self.journal.write(json.dumps(entry).encode() + b"\n")
        self.journal.flush()

    def finish(self) -> None:
        """Describes the array, then gives it its name: without that the description does not count."""
        self.pixels.truncate(
            len(self.header) + self.count * self.image_bytes
        )  # skipped images leave empty rows at the end
        self.pixels.flush()
        os.fsync(self.pixels.fileno())
        conversions = dict(self.converted) | ({SKIPPED: len(self.skipped)} if self.skipped else {})
        about = {
            "digest": self.digest.hexdigest(),
            "rows": self.rows,
            "conversions": conversions,
            "skipped": self.skipped,
        }
        write_text(self.path.with_suffix(".json"), json.dumps(about))
        self.files[0].replace(self.path)
        self.files[1].unlink()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.pixels.close()
        self.journal.close()
        # What is done stays after an interruption and for want of room; after any other failure it would never be used.
        if self.position == 0 or (isinstance(error, Exception) and not isinstance(error, OSError | _NoRoom)):
            for file in self.files:
                file.unlink(missing_ok=True)


def _build(path: Path, count: int, size: int, decode: Callable[[int, Counter[str]], UInt8], title: str) -> None:
    path.unlink(missing_ok=True)  # damaged or not described, or it would not be built
    try:
        # While an image is decoded, a thread writes and hashes the one before, both of which take as long without it.
        with _Growing(path, count, size) as growing, ThreadPoolExecutor(1) as writer:
            _announce(growing, title)
            written: Future[None] | None = None
            for position in _progress(growing.position, count, title):
                converted = Counter[str]()
                image, refusal = None, None
                try:
                    image = decode(position, converted)
                except UnreadableImage as error:
                    refusal = error
                if written:
                    written.result()
                if image is not None:
                    written = writer.submit(growing.add, image, converted)
                elif refusal is not None:
                    growing.skip(str(refusal))
                    if len(growing.skipped) > tolerated(count):
                        raise _too_many(growing, refusal) from refusal
            if written:
                written.result()
            growing.finish()
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}. Free space, or set ATTNAE_CACHE to another folder."
        ) from error


def _too_many(growing: _Growing, last: UnreadableImage) -> UserError:
    most = tolerated(growing.count)
    if not most:
        return last
    return UserError(f"More than {most} of {growing.count:,} images cannot be used. The first: {growing.skipped[0]}")


def _announce(growing: _Growing, title: str) -> None:
    """Says how much is to be written, and refuses where there is no room for it."""
    folder, total = growing.path.parent, growing.count * growing.image_bytes
    free, needed = shutil.disk_usage(folder).free, total - growing.rows * growing.image_bytes
    if needed > free:
        raise _NoRoom(
            f"{title} needs {_readable(needed)} for the image cache, but {folder} has {_readable(free)} left. "
            "Free space, or set ATTNAE_CACHE to a folder on another disk."
        )
    if total < LARGE and not growing.position:
        return
    resumed = f", going on after {growing.position:,}" if growing.position else ""
    print(f"{title}: {growing.count:,} images, {_readable(total)} in {folder}{resumed}", file=sys.stderr, flush=True)


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _progress(start: int, count: int, title: str) -> Iterator[int]:
    """The positions that are left, with a bar on a terminal and now and then a line where there is none."""
    console = Console(file=sys.stderr)
    if console.is_terminal:
        yield from track(range(start, count), title, console=console, transient=True)
        return
    told, when = start * 10 // count, time.monotonic()
    for position in range(start, count):
        yield position
        tenths = (position + 1) * 10 // count
        if tenths > told and time.monotonic() - when >= PATIENCE:
            print(f"{title}: {tenths}0% of {count:,} images", file=sys.stderr, flush=True)
            told, when = tenths, time.monotonic()


def _read(path: Path, size: int, verified: bool = True) -> Images | None:
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        pixels = np.lib.format.open_memmap(path, mode="r")  # refuses archives and pickles
        count = about["rows"] + len(about["skipped"])
        if pixels.shape != (count, size, size, 3) or pixels.dtype != np.uint8:
            return None
        images = Images(pixels[: about["rows"]], about["digest"], about["conversions"], about["skipped"])
        if verified and images.pixels.nbytes <= VERIFIED and pixel_digest(images.pixels) != images.digest:
            return None
        return images
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None  # missing, cut short or not ours: built anew


def pixel_digest(pixels: UInt8) -> str:
    """Digest of all pixels of images (N, H, W, 3) in their order, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(pixels), 256):  # in parts: an array in another memory layout is copied for it
        digest.update(np.ascontiguousarray(pixels[start : start + 256]).data)
    return digest.hexdigest()
