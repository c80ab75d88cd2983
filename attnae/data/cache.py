"""Decoded images as one memory-mapped array: built once, shared by any number of processes, safe to interrupt."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import track

from attnae.data.decode import UInt8
from attnae.errors import UserError
from attnae.files import atomic, write_text

FORMAT = 1
"""Part of every key: a change of the decoding makes old caches unfindable instead of wrong."""


@dataclass
class Images:
    """Decoded images of one split.

    Attributes:
        pixels: uint8 (N, H, W, 3), possibly memory-mapped.
        digest: Hash of the pixels: equal digests mean equal data, wherever the files came from.
        conversions: How many images had to be converted, by reason.
    """

    pixels: UInt8
    digest: str
    conversions: dict[str, int]


def cache_folder() -> Path:
    """``$ATTNAE_CACHE``, else ``$XDG_CACHE_HOME/attnae``, else ``~/.cache/attnae``; a temporary folder if none is writable."""
    chosen = os.environ.get("ATTNAE_CACHE")
    folder = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attnae"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        if chosen:
            raise UserError(
                f"Cannot write to ATTNAE_CACHE={chosen}: {error.strerror}. Choose another folder."
            ) from error
        fallback = Path(tempfile.gettempdir()) / f"attnae-{os.getuid()}"
        fallback.mkdir(parents=True, exist_ok=True)
        return fallback


def cached(key: str, count: int, size: int, images: Iterator[UInt8], conversions: Counter[str], title: str) -> Images:
    """The images behind ``key``, decoded now if no process has done so before.

    The array grows in a temporary file and gets its name only when it is whole, so that a reader never sees a part;
    of several processes that want the same images one decodes and the others wait for it.

    Args:
        key: Everything that the pixels depend on.
        count: Number of images that ``images`` yields.
        size: Height and width in pixels.
        images: Yields uint8 (size, size, 3); not touched when the cache holds them.
        conversions: Filled while ``images`` is consumed.
        title: Shown beside the progress bar.
    """
    folder = cache_folder()
    path = folder / f"{hashlib.blake2b(f'{FORMAT}|{size}|{key}'.encode(), digest_size=12).hexdigest()}.npy"
    with FileLock(path.with_suffix(".lock")):
        found = _read(path, count, size)
        if found is None:
            _build(path, count, size, images, conversions, title)
            found = _read(path, count, size)
        if found is None:
            raise UserError(
                f"The image cache {path} cannot be read back after writing it. Check the disk, or set ATTNAE_CACHE."
            )
        return found


def _build(path: Path, count: int, size: int, images: Iterator[UInt8], conversions: Counter[str], title: str) -> None:
    digest = hashlib.blake2b(digest_size=16)
    with atomic(path) as temporary:
        pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
        console = Console(file=sys.stderr)
        bar = track(images, title, total=count, console=console, transient=True, disable=not console.is_terminal)
        for index, image in enumerate(bar):
            pixels[index] = image
            digest.update(image.tobytes())
        pixels.flush()
        del pixels
    # Written after the array: without it the array does not count.
    write_text(path.with_suffix(".json"), json.dumps({"digest": digest.hexdigest(), "conversions": dict(conversions)}))


def _read(path: Path, count: int, size: int) -> Images | None:
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        pixels = np.lib.format.open_memmap(path, mode="r")  # refuses archives and pickles
        if pixels.shape != (count, size, size, 3) or pixels.dtype != np.uint8:
            return None
        return Images(pixels, about["digest"], about["conversions"])
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None  # missing, cut short or not ours: built anew
