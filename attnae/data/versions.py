"""Location of the image cache, and the keys that determine whether images must be decoded again. Plain Python."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from attnae.data.location import EMBEDDED, Location
from attnae.errors import UserError

FORMAT = 2
"""Part of every key. Increase it when decoding changes, to invalidate old caches."""


def cache_folder() -> Path:
    """``$ATTNAE_CACHE``, ``$XDG_CACHE_HOME/attnae`` or ``~/.cache/attnae``; a temporary folder if none is writable."""
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
