"""Image cache: decoded images in a memory-mapped array, built once, shared between processes, resumable."""

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

from attnae.data.cache_folder import SHARED
from attnae.data.decode import UInt8, UnreadableImage
from attnae.data.versions import FORMAT
from attnae.data.versions import cache_folder as cache_folder
from attnae.errors import UserError
from attnae.files import write_text
from attnae.paths import shown

LARGE = 100_000_000
"""Minimum size in bytes of a cache whose construction is announced; smaller ones are built almost instantly."""

VERIFIED = 1_000_000_000
"""Maximum size in bytes of a cache whose digest is verified on opening, which takes about one second per gigabyte."""

SKIPPED = "unreadable (skipped)"
"""Key that counts skipped files among the conversions."""

PATIENCE = 5.0
"""Seconds between progress lines without a terminal."""


@dataclass
class Images:
    """Decoded images of one split.

    Attributes:
        pixels: uint8 (N, H, W, 3), possibly memory-mapped.
        digest: Hash of the pixels. Equal digests mean equal data, regardless of the files.
        conversions: Number of converted or skipped images, by reason.
        skipped: One line per skipped image, with its name and the error.
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
    """Returns the images for ``key``, decoding them if they are not cached.

    The array is built in a hidden file and renamed when complete, so readers never see a partial array. If several processes
    request the same images, one decodes and the others wait. A build that was killed, interrupted or ran out of disk space
    resumes after the last image verified on disk. After any other failure its files are removed.

    Args:
        key: Identifies everything that affects the pixels.
        count: Number of images, or a function that returns it; not called if the images are cached.
        size: Height and width in pixels.
        decode: Returns an image by position, uint8 (size, size, 3), and counts conversions; not called if cached.
        title: Title of the progress display.

    Raises:
        UserError: There are no images, the disk is full, or more images are unreadable than :func:`tolerated`.
    """
    folder = cache_folder()
    path = folder / f"{hashlib.blake2b(f'{FORMAT}|{size}|{key}'.encode(), digest_size=12).hexdigest()}.npy"
    with FileLock(path.with_suffix(".lock"), mode=SHARED):
        found = _read(path, size)
        if found is None:
            _build(path, count if isinstance(count, int) else count(), size, decode, title)
            found = _read(path, size, verified=False)  # already hashed while writing
        if found is None:
            raise UserError(
                f"Cannot read the image cache {shown(path)} after writing it. Check the disk, or set ATTNAE_CACHE."
            )
        return found


def tolerated(count: int) -> int:
    """Maximum number of unreadable images among ``count``: 10%, but at most 10 or 1%, whichever is larger."""
    return max(min(count // 10, 10), count // 100)


class _NoRoom(UserError):
    """The cache does not fit on the disk."""


class _Growing:
    """An incomplete array: a hidden file of pixels, and a journal with one line per decoded or skipped image.

    A line is written after its pixels and contains the digest of all pixels so far. Reopening verifies the files line by
    line and truncates the rest, so the result is the same as that of an uninterrupted build.

    Args:
        path: Path of the finished array.
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
        """Position of the next image."""
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
        """Skips an image."""
        self.skipped.append(why)
        self._note({"skipped": why})

    def _note(self, entry: dict[str, Any]) -> None:
        self.journal.write(json.dumps(entry).encode() + b"\n")
        self.journal.flush()

    def finish(self) -> None:
        """Writes the description, then renames the array; a description without the array is ignored."""
        self.pixels.truncate(
            len(self.header) + self.count * self.image_bytes
        )  # skipped images leave unused rows at the end
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
        # Keep the finished part after an interruption or if the disk is full. After other failures it would never be used.
        if self.position == 0 or (isinstance(error, Exception) and not isinstance(error, OSError | _NoRoom)):
            for file in self.files:
                file.unlink(missing_ok=True)


def _build(path: Path, count: int, size: int, decode: Callable[[int, Counter[str]], UInt8], title: str) -> None:
    path.unlink(missing_ok=True)  # damaged or without a description
    if not count:
        raise UserError(f"{title} has no images. Add some.")
    try:
        # A thread writes and hashes the previous image while the next one is decoded.
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
            f"Cannot write {shown(path)}: {error.strerror or error}. Free disk space, or set ATTNAE_CACHE to another folder."
        ) from error


def _too_many(growing: _Growing, last: UnreadableImage) -> UserError:
    most = tolerated(growing.count)
    if not most:
        return last
    return UserError(f"More than {most} of {growing.count:,} images are unusable. The first: {growing.skipped[0]}")


def _announce(growing: _Growing, title: str) -> None:
    """Prints the size of the cache. Raises if it does not fit on the disk."""
    folder, total = growing.path.parent, growing.count * growing.image_bytes
    free, needed = shutil.disk_usage(folder).free, total - growing.rows * growing.image_bytes
    if needed > free:
        raise _NoRoom(
            f"{title} needs {_readable(needed)} for the image cache, but {shown(folder)} has {_readable(free)} left. "
            "Free disk space, or set ATTNAE_CACHE to a folder on another disk."
        )
    if total < LARGE and not growing.position:
        return
    resumed = f", resuming after {growing.position:,}" if growing.position else ""
    print(
        f"{title}: {growing.count:,} images, {_readable(total)} in {shown(folder)}{resumed}",
        file=sys.stderr,
        flush=True,
    )


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _progress(start: int, count: int, title: str) -> Iterator[int]:
    """Yields the remaining positions and shows progress: a bar in a terminal, otherwise an occasional line."""
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
        pixels = np.lib.format.open_memmap(path, mode="r")  # rejects archives and pickles
        count = about["rows"] + len(about["skipped"])
        if pixels.shape != (count, size, size, 3) or pixels.dtype != np.uint8:
            return None
        images = Images(pixels[: about["rows"]], about["digest"], about["conversions"], about["skipped"])
        if verified and images.pixels.nbytes <= VERIFIED and pixel_digest(images.pixels) != images.digest:
            return None
        return images
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None  # missing, truncated or in another format: rebuild


def pixel_digest(pixels: UInt8) -> str:
    """Digest of all pixels of images (N, H, W, 3) in order, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(pixels), 256):  # in chunks, because a non-contiguous array is copied
        digest.update(np.ascontiguousarray(pixels[start : start + 256]).data)
    return digest.hexdigest()
