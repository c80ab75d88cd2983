"""Splits the images of a folder or an archive into training and held-out images. Plain Python.

- ``train/`` and ``test/`` are used as given. Without ``test/``, the images of ``val/`` or ``validation/`` are held out;
  with ``test/``, these are left out and counted.
- Without ``train/`` and ``test/``, a fifth of all images is held out: by file name for datasets in :data:`SPLIT_BY_NAME`,
  by the bytes of each file for others. The split of an image does not depend on other images or on the machine.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from attnae.data.formats import is_image
from attnae.data.walk import File, beside, hidden, order, printable, walk
from attnae.errors import UserError

SPLIT_BY_NAME = {"CelebA-HQ"}
"""Datasets that are published as one folder of images: without train/ and test/, a fifth is held out by file name."""

HELD_OUT = ("test", "val", "validation")
"""Folders of held-out images; the first existing one is used."""


class Found(NamedTuple):
    """Files of a dataset.

    Attributes:
        files: Files of ``train`` and ``test`` in order. If ``whole``, both contain all files.
        left_out: Number of unused files and folders, by kind.
        whole: Whether the images must still be split by their bytes.
    """

    files: dict[str, list[File]]
    left_out: Counter[str]
    whole: bool = False


def image_files(folder: Path) -> list[Path]:
    """All image files below a folder, nested or flat; see :mod:`attnae.data.walk`."""
    return [file.path for file in walk(folder, is_image).files]


def is_flat(root: Path) -> bool:
    """Whether a folder has neither train/ nor test/."""
    return not any((root / split).is_dir() for split in ("train", "test"))


def inner(root: Path) -> Path:
    """The folder with train/ and test/ if a folder holds nothing else, as after ``unzip x.zip -d photos``; else the folder.

    Raises:
        UserError: They are spelled otherwise, such as Train/; the split would not be the intended one.
    """
    folder = root
    while is_flat(folder):
        try:
            seen = [entry for entry in folder.iterdir() if hidden(entry.name) is None]
            splits = {entry.name.lower(): entry.name for entry in seen if entry.is_dir()}
        except OSError:  # whoever reads its files says so
            return root
        if {"train", "test"} <= splits.keys():
            raise UserError(
                f"{printable(folder)} has {splits['train']}/ and {splits['test']}/. Rename them to train/ and test/."
            )
        if len(seen) != 1 or not seen[0].is_dir() or seen[0].is_symlink():
            return root
        folder = seen[0]
    return folder


def split_files(
    dataset: str, root: Path, wanted: Callable[[str], bool] = is_image
) -> tuple[dict[str, list[File]], Counter[str]]:
    """Files of ``train`` and ``test`` below a folder, and the number of unused entries. Names are relative to ``root``.

    For a flat folder whose images are split by their bytes, both contain all files.
    """
    if is_flat(root):
        files, left_out = walk(root, wanted)
        return _flat(dataset, files), left_out
    held_out = next((name for name in HELD_OUT if (root / name).is_dir()), "test")
    splits: dict[str, list[File]] = {}
    left_out = beside(root, {"train", held_out})
    for split, name in (("train", "train"), ("test", held_out)):
        files, further = walk(root / name, wanted)
        splits[split] = [file._replace(name=f"{name}/{file.name}") for file in files]
        left_out += further
    return splits, left_out


def split_members(dataset: str, files: list[File], left_out: Counter[str]) -> Found:
    """Splits the files of an archive like those of a folder; ignores folders that contain all other files."""
    start = 0
    names = [file.name.split("/") for file in files]
    while names and len({tuple(parts[: start + 1]) for parts in names if len(parts) > start + 1}) == 1:
        if names[0][start] in ("train", "test") or any(len(parts) <= start + 1 for parts in names):
            break
        start += 1
    below = [parts[start] if len(parts) > start + 1 else "" for parts in names]
    if not {"train", "test"} & set(below):
        if {"train", "test"} <= (named := {name.lower(): name for name in below}).keys():
            raise UserError(f"The archive has {named['train']}/ and {named['test']}/. Rename them to train/ and test/.")
        return Found(_flat(dataset, files), left_out, dataset not in SPLIT_BY_NAME)
    held_out = next((name for name in HELD_OUT if name in below), "test")
    splits: dict[str, list[File]] = {"train": [], "test": []}
    for file, folder in zip(files, below, strict=True):
        if folder in ("train", held_out):
            splits["train" if folder == "train" else "test"].append(file)
        else:
            left_out[f"images beside train/ and {held_out}/"] += 1
    return Found(splits, left_out)


def split_tables(files: Iterable[File], left_out: Counter[str], only: str = "") -> Found:
    """Splits Parquet files by their names, ``train-00000-of-00002.parquet``, or else by their folders.

    If there is only one split, a fifth of its images is held out by their bytes.

    Args:
        files: Parquet files in order.
        left_out: Number of other unused entries, by kind.
        only: Use only this split; it may have any name.
    """
    named: dict[str, list[File]] = {}
    for file in files:
        named.setdefault(_named_split(file.name, only), []).append(file)
    if only:
        chosen = {only: named.pop(_common(only), [])}
    else:
        first = [name for name in HELD_OUT if name in named][:1]
        wanted = (["train"] if "train" in named else []) + first
        chosen = {name: named.pop(name) for name in wanted or list(named)[:1]}
    for name, rest in named.items():
        left_out[f"Parquet files of the split {name}" if name else "Parquet files of no split"] += len(rest)
    if len(chosen) < 2:
        files = next(iter(chosen.values()), [])
        return Found({"train": list(files), "test": list(files)}, left_out, True)
    train, test = chosen.values()
    return Found({"train": train, "test": test}, left_out)


def _named_split(name: str, only: str) -> str:
    """Split of a Parquet file from its name or nearest folder: a common one or ``only``; empty if neither names one."""
    known = "|".join(([re.escape(only)] if only else []) + ["train", "test", "validation", "valid", "val", "dev"])
    for part in reversed(PurePosixPath(name).parts):
        if match := re.match(rf"({known})(?=[-_.]|$)", part, re.IGNORECASE):
            return _common(match[1].lower())
    return ""


def _common(split: str) -> str:
    return "validation" if split in ("valid", "val", "dev") else split


def _flat(dataset: str, files: list[File]) -> dict[str, list[File]]:
    if dataset not in SPLIT_BY_NAME:
        return {"train": files, "test": files}
    splits: dict[str, list[File]] = {"train": [], "test": []}
    for file in files:
        splits["test" if is_held_out(file.name) else "train"].append(file)
    return splits


def is_held_out(name: str) -> bool:
    """Whether a file of a flat folder is a test image: one in five, by a hash of its bare name.

    The split of a file does not depend on other files, on its folder or on the machine. Unicode's composed and decomposed
    forms of a name are equivalent.
    """
    composed = order(PurePosixPath(name).name)[0]
    return int.from_bytes(hashlib.blake2b(composed, digest_size=8).digest(), "big") % 5 == 0


def is_held_out_by_bytes(checksum: int) -> bool:
    """Whether an image is a test image: one in five, by the CRC-32 of its stored bytes. Copies are in the same split."""
    return checksum % 5 == 0
