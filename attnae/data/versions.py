"""Location of the image cache, and the keys that determine whether images must be decoded again. Plain Python."""

from __future__ import annotations

import hashlib
from pathlib import Path

from attnae.data.cache_folder import cache_folder as cache_folder
from attnae.data.location import EMBEDDED, Location

FORMAT = 4
"""Part of every key. Increase it when decoding changes, to invalidate old caches."""


def version(location: Location, split: str, count: int = 0) -> str:
    """Key that changes whenever a split must be decoded again.

    Contains names, sizes, modification times, change times and inodes of the files in order. A new key means that the pixels
    may have changed; only their digest shows whether they did.

    Args:
        location: Location of the dataset.
        split: ``train`` or ``test``.
        count: Number of embedded images.
    """
    files = "".join(f"|{file.name!r}{file.size}{file.version}" for file in location.files.get(split, ()))
    made = f"|{count}" if location.kind == "embedded" else ""
    return f"{location.kind}|{location.fingerprint}|{location.root and location.root.resolve()!r}|{split}{files}{made}"


def counts_of(location: Location, counts: tuple[int, int] | None = None) -> tuple[int, int]:
    """Numbers of embedded images: the requested numbers, or all; (0, 0) for other images."""
    return (counts or EMBEDDED[location.name]) if location.kind == "embedded" else (0, 0)


def index_file(location: Location, image_size: int, counts: tuple[int, int] | None = None) -> Path:
    """Path of the index file with the content of this version of the images."""
    splits = zip(("train", "test"), counts_of(location, counts), strict=True)
    key = "\n".join([f"{FORMAT}|{image_size}", *(version(location, split, count) for split, count in splits)])
    return cache_folder() / f"{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}.content"
