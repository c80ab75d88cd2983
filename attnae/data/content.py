"""Content of a dataset: the digest of its pixels, which identifies it, and images left out, skipped or leaked.

The digest covers every pixel of every image after resizing, the order of the images and the split, for folders, arrays,
official files and embedded images. File names, sizes, times and inodes only determine whether the digest must be recomputed:
an index file in the image cache stores the content for them.

Importing this module is fast. NumPy and Pillow are imported when images are decoded; torch is never imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnae.data import hub, official
from attnae.data.location import Location, counted, locate
from attnae.data.versions import index_file
from attnae.data.walk import printable
from attnae.errors import UserError
from attnae.files import write_text

if TYPE_CHECKING:
    from attnae.data.cache import Images
    from attnae.data.decode import UInt8

FEW = 8
"""Minimum number of held-out images for a meaningful comparison."""

EXPECTED = "ATTNAE_DATA_DIGEST"
"""Environment variable with the digest of the images of a run, set by the runner; unset or empty for any images."""

TICK = 20_000_000
"""Nanoseconds after which another write to a file changes its timestamp on any local file system."""


@dataclass(frozen=True)
class Content:
    """Content of a dataset at one image size.

    Attributes:
        digest: First 8 hexadecimal digits of the training pixels' digest, a hyphen, and those of the held-out pixels' digest.
        train: Number of training images.
        test: Number of held-out images.
        converted: Number of converted or skipped images, by reason.
        skipped: One line per skipped image, with its name and the error.
        left_out: Number of unused files, folders and links, by kind.
        leaked: Number of held-out images with the same pixels as a training image.
    """

    digest: str
    train: int
    test: int
    converted: dict[str, int] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    leaked: int = 0

    def notices(self) -> list[str]:
        """Warnings about the images, one line each."""
        lines = [f"Skipped: {line}" for line in self.skipped]
        if self.left_out:
            lines.append(f"Left out of the images: {counted(self.left_out)}")
        if self.leaked:
            lines.append(f"{self.leaked:,} of {self.test:,} held-out images are also in training")
        if self.test < FEW:
            lines.append(
                f"Held-out images: {self.test}. Too few for a comparison; the numbers only show that the run works"
            )
        return lines


def check_expected(content: Content) -> None:
    """Compares the images of a run with those of its plan: training on others would be found out after hours only.

    Raises:
        UserError: They are others.
    """
    if (expected := os.environ.get(EXPECTED)) and expected != content.digest:
        raise UserError("The images changed after the command was started. Rerun it.")


def content(location: Location, image_size: int, decode: bool = True) -> Content | None:
    """Returns the content of a dataset.

    Args:
        location: Location of the dataset.
        image_size: Height and width in pixels.
        decode: Download missing official files and decode uncached images, with progress. Otherwise return immediately.

    Returns:
        The content; ``None`` if it is unknown and ``decode`` is false.

    Raises:
        UserError: The images are unusable, or all held-out images are also training images.
    """
    if decode:
        return load(location, image_size)[1]
    if location.kind in ("official", "hub") and not location.files:
        return None
    found = _known(index_file(location, image_size))
    return _checked(_with_walk(found[0], location), location) if found else None


def load(
    location: Location, image_size: int, counts: tuple[int, int] | None = None
) -> tuple[dict[str, Images], Content]:
    """Returns decoded images of ``train`` and ``test`` and their content. Nothing is decoded, scanned or hashed twice.

    Args:
        location: Location of the dataset.
        image_size: Height and width in pixels.
        counts: Number of embedded images to generate, training and held-out; ``None`` for all.

    Raises:
        UserError: The images are unusable, or all held-out images are also training images.
    """
    from attnae.data.sources import splits_of

    if location.kind in ("official", "hub") and not location.files:
        location = _fetched(location)
    _settle(location)
    splits = splits_of(location, image_size, counts)
    index = index_file(location, image_size, counts)
    known, digests = _known(index) or (None, {})
    images = {name: split.images(image_size, digests.get(name)) for name, split in splits.items()}
    if digests != {name: each.digest for name, each in images.items()}:
        known = None
    if known is None:
        digests = {name: each.digest for name, each in images.items()}
        converted: dict[str, int] = {}
        for each in images.values():
            converted |= {why: converted.get(why, 0) + count for why, count in each.conversions.items()}
        known = Content(
            "-".join(digests[split][:8] for split in ("train", "test")),
            len(images["train"].pixels),
            len(images["test"].pixels),
            converted,
            (*images["train"].skipped, *images["test"].skipped),
            leaked=leaked(images["train"].pixels, images["test"].pixels),
        )
        write_text(index, json.dumps({"content": asdict(known), "digests": digests}))
    return images, _checked(_with_walk(known, location), location)


def leaked(train: UInt8, test: UInt8) -> int:
    """Number of held-out images with the same pixels as a training image.

    Compares a few hundred pixels of each image first, so only candidates are hashed completely.

    Args:
        train: uint8 (N, H, W, 3).
        test: uint8 (M, H, W, 3).
    """
    import numpy as np

    step = max(1, test.shape[1] // 16)

    def some(images: UInt8) -> list[bytes]:
        plain = np.asarray(images)  # indexing a memory map is slower
        return [
            hashlib.blake2b(plain[index, ::step, ::step].tobytes(), digest_size=16).digest()
            for index in range(len(plain))
        ]

    def whole(image: UInt8) -> bytes:
        return hashlib.blake2b(image.tobytes(), digest_size=16).digest()

    ours, theirs = some(train), some(test)
    suspects = set(ours) & set(theirs)
    known = {whole(train[index]) for index, key in enumerate(ours) if key in suspects}
    return sum(key in suspects and whole(test[index]) in known for index, key in enumerate(theirs))


def _known(index: Path) -> tuple[Content, dict[str, str]] | None:
    """Content and full digests of the splits from an index file."""
    try:
        raw: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
        about, digests = raw["content"], {split: str(raw["digests"][split]) for split in ("train", "test")}
        found = Content(**{**about, "skipped": tuple(about["skipped"])})
        if found.digest != "-".join(digest[:8] for digest in digests.values()) or not found.train or not found.test:
            return None
        return found, digests
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: recompute


def _with_walk(found: Content, location: Location) -> Content:
    return Content(**{**vars(found), "left_out": dict(location.left_out)})


def _checked(found: Content, location: Location) -> Content:
    if found.test and found.leaked == found.test:
        raise UserError(
            f"All {found.test:,} held-out images of {printable(location.root or location.name)} are also training images. "
            "Provide other held-out images."
        )
    return found


def _fetched(location: Location) -> Location:
    from filelock import FileLock

    if location.kind == "hub":
        hub.fetch(hub.parse(location.remote))
        return locate(location.dataset, "", location.remote)
    assert location.root is not None
    location.root.mkdir(parents=True, exist_ok=True)
    with FileLock(location.root / ".fetching.lock"):
        found = locate(location.dataset, "", location.root, "official", download=True)
        if not found.files:  # unless another process has downloaded them meanwhile
            official.fetch(location.dataset, location.root)
            found = locate(location.dataset, "", location.root, "official")
    return found


def _settle(location: Location) -> None:
    """Waits until the files are old enough that a later change is visible in their times."""
    times = [max(file.version[:2]) for files in location.files.values() for file in files]
    wait = max(times, default=0) + TICK - time.time_ns()
    if 0 < wait <= TICK:  # a larger difference means another machine's clock
        time.sleep(wait / 1e9)
