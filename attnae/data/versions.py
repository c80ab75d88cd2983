"""Where decoded images are kept, and what decides whether they must be decoded again. Plain Python."""

from __future__ import annotations

import hashlib
from pathlib import Path

from attnae.data.cache_folder import cache_folder as cache_folder
from attnae.data.location import EMBEDDED, Location

FORMAT = 2
"""Part of every key: a change of the decoding makes old caches unfindable instead of wrong."""


def version(location: Location, split: str, count: int = 0) -> str:
    """What decides whether a split must be decoded again.

    That are names, sizes, modification times, change times and inodes of its files in their order. They only say whether
    the pixels may have changed. Whether they have is said by the digest of the pixels.

    Args:
        location: Where the dataset is.
        split: ``train`` or ``test``.
        count: Number of embedded images.
    """
    files = "".join(f"|{file.name!r}{file.size}{file.version}" for file in location.files.get(split, ()))
    made = f"|{count}" if location.kind == "embedded" else ""
    return f"{location.kind}|{location.fingerprint}|{location.root and location.root.resolve()!r}|{split}{files}{made}"


def counts_of(location: Location, counts: tuple[int, int] | None = None) -> tuple[int, int]:
    """Numbers of embedded images: those that are asked for, or as many as there are; (0, 0) for other images."""
    return (counts or EMBEDDED[location.name]) if location.kind == "embedded" else (0, 0)


def index_file(location: Location, image_size: int, counts: tuple[int, int] | None = None) -> Path:
    """The file that remembers what images of this version hold."""
    splits = zip(("train", "test"), counts_of(location, counts), strict=True)
    key = "\n".join([f"{FORMAT}|{image_size}", *(version(location, split, count) for split, count in splits)])
    return cache_folder() / f"{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}.content"
