"""What a dataset is, by its pixels: the digest that identifies it, and what was left out, skipped or leaked.

The digest covers every pixel of every image after resizing, the order of the images and the split, for folders, arrays,
official files and embedded images alike. Names, sizes, times and inodes of files only decide whether it must be taken
again: a small index file beside the image cache remembers what was found for them.

Importing this module is light; NumPy and Pillow are imported when images are decoded, torch never.
"""

from __future__ import annotations

import hashlib
import json
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
"""Held-out images below which a comparison says nothing."""

TICK = 20_000_000
"""Nanoseconds after which another write to a file gives it another time on any local file system."""


@dataclass(frozen=True)
class Content:
    """What a dataset holds at one image size.

    Attributes:
        digest: First 8 hexadecimal digits of the digest of the training pixels, a hyphen, and those of the held-out pixels.
        train: Number of training images.
        test: Number of held-out images.
        converted: How many images were converted or skipped, by reason.
        skipped: What is wrong with each skipped image, one line each that names it.
        left_out: How many files, folders and links are not used, by kind.
        leaked: How many held-out images are also training images: equal pixels, under whatever name.
    """

    digest: str
    train: int
    test: int
    converted: dict[str, int] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    leaked: int = 0

    def notices(self) -> list[str]:
        """What a person should know before these images are used, one line each."""
        lines = [f"Skipped: {line}" for line in self.skipped]
        if self.left_out:
            lines.append(f"Left out of the images: {counted(self.left_out)}")
        if self.leaked:
            lines.append(f"{self.leaked:,} of {self.test:,} held-out images are also in training")
        if self.test < FEW:
            lines.append(
                f"Held-out images: {self.test}. Too few to compare anything; the numbers only show that it runs"
            )
        return lines


def content(location: Location, image_size: int, decode: bool = True) -> Content | None:
    """What a dataset holds.

    Args:
        location: Where it is.
        image_size: Height and width in pixels.
        decode: Decode the images into the cache if that has not been done, with progress, and fetch official files that
            are missing. Otherwise answer at once.

    Returns:
        The content; ``None`` if it is not known and nothing may be decoded.

    Raises:
        UserError: The images cannot be used, or all held-out images are also in training.
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
    """Decoded images of ``train`` and ``test`` and what they are; nothing is decoded, scanned or hashed twice.

    Args:
        location: Where the dataset is.
        image_size: Height and width in pixels.
        counts: How many embedded images to make, training and held-out; ``None`` for as many as there are.

    Raises:
        UserError: The images cannot be used, or all held-out images are also in training.
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
    """How many held-out images are also training images, pixel by pixel.

    A few hundred pixels of each image find the suspects, so that not every image is hashed as a whole.

    Args:
        train: uint8 (N, H, W, 3).
        test: uint8 (M, H, W, 3).
    """
    import numpy as np

    step = max(1, test.shape[1] // 16)

    def some(images: UInt8) -> list[bytes]:
        plain = np.asarray(images)  # indexing a memory map takes longer
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
    """What an index file says, with the whole digests of the splits."""
    try:
        raw: dict[str, Any] = json.loads(index.read_text(encoding="utf-8"))
        about, digests = raw["content"], {split: str(raw["digests"][split]) for split in ("train", "test")}
        found = Content(**{**about, "skipped": tuple(about["skipped"])})
        if found.digest != "-".join(digest[:8] for digest in digests.values()) or not found.train or not found.test:
            return None
        return found, digests
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: taken again


def _with_walk(found: Content, location: Location) -> Content:
    return Content(**{**vars(found), "left_out": dict(location.left_out)})


def _checked(found: Content, location: Location) -> Content:
    if found.test and found.leaked == found.test:
        raise UserError(
            f"All {found.test:,} held-out images of {printable(location.root or location.name)} are also in training. "
            "Give other held-out images."
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
        if not found.files:  # no other process has fetched them meanwhile
            official.fetch(location.dataset, location.root)
            found = locate(location.dataset, "", location.root, "official")
    return found


def _settle(location: Location) -> None:
    """Waits until the files are so old that a later change shows in their times."""
    times = [max(file.version[:2]) for files in location.files.values() for file in files]
    wait = max(times, default=0) + TICK - time.time_ns()
    if 0 < wait <= TICK:  # a clock that is further ahead is another machine's
        time.sleep(wait / 1e9)
