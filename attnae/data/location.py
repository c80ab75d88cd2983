"""Locates the images of a dataset from the content of a folder, without decoding. Plain Python.

The DataModules use it to load images. ``attnae-bench`` uses it to name reports and to detect missing data before training.
For the content of the images, see :mod:`attnae.data.content`.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from attnae.data import archive, hub
from attnae.data.formats import EXTENSIONS as EXTENSIONS
from attnae.data.formats import FORMATS as FORMATS
from attnae.data.formats import is_image as is_image
from attnae.data.formats import is_table
from attnae.data.layout import HELD_OUT, SPLIT_BY_NAME, Found, inner, is_flat, split_files, split_members, split_tables
from attnae.data.layout import image_files as image_files
from attnae.data.layout import is_held_out as is_held_out
from attnae.data.official import OFFICIAL as OFFICIAL  # the runner lists them
from attnae.data.walk import File, describe, printable, walk
from attnae.errors import UserError

Source = Literal["auto", "official", "folder", "array", "zip", "parquet", "hub", "embedded"]

STAND_INS = {"natural64", "celeba", "celebahq", "celebahq256", "cifar10", "stl10"}
"""Names of folders with images of a known dataset, which stand in for a benchmark's own; others are a person's images."""

EMBEDDED = {"photos": (1024, 512), "faces": (512, 128)}
"""Embedded images: number of training and held-out images."""

FACES = "2"
"""Version of the embedded faces. Increase it when ``attnae.data.faces`` changes its output."""

HINTS = {
    "STL-10": "the official files (2.6 GB; add --set data.init_args.download=true to fetch them)",
    "CIFAR-10": "the official files (170 MB; add --set data.init_args.download=true to fetch them)",
}


@dataclass(frozen=True)
class Location:
    """A dataset that was found.

    Attributes:
        dataset: Name of the dataset that the benchmark asks for, such as ``STL-10``.
        kind: What was found: official files, a folder of images, arrays, a zip file, Parquet, the images that ship with a
            package, or a dataset of the hub that is still to be fetched.
        root: The folder or file; ``None`` for embedded images and for a dataset of the hub that is still to be fetched.
        name: Short name for labels: ``natural64`` for ``data/natural64``, ``photos`` for embedded photographs.
        fingerprint: Hash of names and sizes. It helps to find cached images quickly and nothing rests on it: what identifies
            the data is the digest of its pixels, see :func:`attnae.data.content.content`.
        files: Files of ``train`` and ``test`` in their order, as one scan has found them; empty for embedded images and for
            what is still to be fetched. The order of images is the order of their files.
        left_out: How many files, folders and links of a folder of images are not used, by kind.
        whole: Whether ``files`` are all files for both splits and the images are still to be split by their bytes, see
            :func:`attnae.data.layout.is_held_out_by_bytes`.
        remote: The address of a dataset of the hub.
    """

    dataset: str
    kind: Source
    root: Path | None
    name: str
    fingerprint: str
    files: Mapping[str, Sequence[File]] = field(default_factory=dict, compare=False, repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    whole: bool = False
    remote: str = ""

    @property
    def title(self) -> str:
        """Title of the data in reports."""
        if self.kind == "official":
            return f"{self.dataset} (official)"
        if self.kind == "embedded":
            return f"embedded {self.name}"
        if self.name in STAND_INS and not self.remote:
            return f"{self.name} ({self.kind}; stands in for {self.dataset})"
        return f"your images ({self.remote or self.name})"

    def has_classes(self, split: str) -> bool:
        """Whether neighbors among the images of ``train`` or ``test`` may be alike.

        So it is where they lie in several folders, one for each class, and in Parquet, whose rows are often sorted.
        """
        folders = [file.name.split("/")[:-1] for file in self.files.get(split, ())]
        common = len(os.path.commonprefix(folders))  # noqa: RUF071 - of lists it compares the parts
        in_folders = len({parts[common] for parts in folders if len(parts) > common}) > 1
        return self.kind == "parquet" or (self.kind in ("folder", "zip") and in_folders)


def locate(
    dataset: str, embedded: str, root: str | Path | None, source: Source = "auto", download: bool = False
) -> Location:
    """Finds a dataset.

    Args:
        dataset: ``STL-10``, ``CIFAR-10`` or ``CelebA-HQ``.
        embedded: Name of the embedded images used without a root, such as ``photos``.
        root: Folder to search; ``None`` for the embedded images.
        source: Kind of data to find; ``auto`` detects it.
        download: Whether missing official files will be downloaded.

    Raises:
        UserError: The folder contains no usable data.
    """
    if source == "embedded" or (source == "auto" and root is None):
        version = FACES if embedded == "faces" else metadata.version("scikit-image")
        return Location(dataset, "embedded", None, embedded, f"{embedded}-{version}")
    hint = _hint(dataset)
    if root is None:
        raise UserError(f"{dataset}: no folder given. {hint}")
    if hub.is_address(root):
        return _hub(dataset, hub.parse(root))
    root = Path(root)
    if source in ("auto", "official") and dataset in OFFICIAL:
        known = OFFICIAL[dataset]
        files = {"train": _present(root, known.train), "test": _present(root, known.test)}
        if all(files.values()) or (download and source == "official"):
            whole = len(files["train"]) == len(known.train) and len(files["test"]) == len(known.test)
            files = files if all(files.values()) and (whole or not download) else {}
            return Location(
                dataset, "official", root, dataset.lower().replace("-", ""), f"official-{dataset}", files=files
            )
    if root.is_file():
        return _file(dataset, root, source)
    if not root.is_dir():
        why = "not a folder" if root.exists() else "no such folder"
        raise UserError(f"{dataset} not found in {printable(root)}: {why}. {hint}")
    if source in ("auto", "array") and (root / "train.npy").is_file():
        files = {split: _present(root, [f"{split}.npy"]) for split in ("train", "test")}
        if not files["test"]:
            raise UserError(
                f"{printable(root)} has no test.npy. Expected train.npy and test.npy, uint8 of shape (N, H, W, 3)."
            )
        return _located(dataset, "array", root, Found(files, Counter()))
    if source in ("auto", "folder", "parquet"):
        return replace(_folder(dataset, inner(root), source), name=_name(root))
    raise UserError(f"{dataset} not found in {printable(root)}: no {source} data there. {hint}")


def _hint(dataset: str) -> str:
    if dataset in SPLIT_BY_NAME:
        return (
            "Expected a folder of images (30,000 at 256x256; a fifth is held out by file name), one with train/ and "
            "test/, arrays, a zip file or Parquet. Point --data-root at one, or use --profile quick."
        )
    return (
        "Point --data-root at a folder of images, with or without train/ and test/, at arrays, a zip file or Parquet, or at "
        f"{HINTS.get(dataset, 'the dataset')}; or use --profile quick."
    )


def _folder(dataset: str, root: Path, source: Source) -> Location:
    """Images or Parquet below a folder: where there are both, what takes more bytes."""
    splits, left_out = split_files(dataset, root, lambda name: is_image(name) or is_table(name))
    every = list({file.name: file for files in splits.values() for file in files}.values())
    parquet = [file for file in every if is_table(file.name)]
    images = sum(file.size for file in every) - sum(file.size for file in parquet)
    if source == "parquet" or (source == "auto" and sum(file.size for file in parquet) > images):
        left_out["images beside Parquet"] += len(every) - len(parquet)
        return _tables(dataset, root, parquet, left_out)
    left_out[".parquet files"] += len(parquet)
    splits = {split: [file for file in files if not is_table(file.name)] for split, files in splits.items()}
    flat = is_flat(root)
    for split, found in splits.items():
        if not found:
            where = (
                f"{printable(root)} has no {split} images" if flat else f"{printable(root / split)} contains no images"
            )
            instead = f" Left out: {counted(left_out)}." if +left_out else ""
            raise UserError(
                f"{where} (.png, .jpg, .webp or another format that Pillow reads).{instead} {_hint(dataset)}"
            )
    return _located(dataset, "folder", root, Found(splits, left_out, flat and dataset not in SPLIT_BY_NAME))


def _file(dataset: str, path: Path, source: Source) -> Location:
    """One file that holds all images."""
    kind = {".npy": "array", ".npz": "array", ".zip": "zip", ".parquet": "parquet"}.get(path.suffix.lower(), "")
    if not kind or source not in ("auto", kind):
        raise UserError(
            f"{printable(path)} is not a file of images: expected .npy, .npz, .zip or .parquet. {_hint(dataset)}"
        )
    file = describe(path.name, path, path.stat())
    if kind == "parquet":
        return _tables(dataset, path, [file], Counter())
    if kind == "zip":
        found = split_members(dataset, *archive.members(path))
        for split, files in found.files.items():
            if not files:
                instead = f" Left out: {counted(found.left_out)}." if +found.left_out else ""
                raise UserError(f"{printable(path)} contains no {split} images.{instead} {_hint(dataset)}")
        return _located(dataset, "zip", path, found)
    if path.suffix.lower() == ".npy":
        return _located(dataset, "array", path, Found({"train": [file], "test": [file]}, Counter(), True))
    with archive.opened(path) as npz:
        names = [name.removesuffix(".npy") for name in npz.namelist() if name.endswith(".npy")]
    held_out = next((name for name in HELD_OUT if name in names), "")
    if "train" in names and held_out:
        left_out = Counter({"other arrays": len(names) - 2})
        splits = {"train": [file._replace(name="train")], "test": [file._replace(name=held_out)]}
        return _located(dataset, "array", path, Found(splits, left_out))
    if len(names) != 1:
        raise UserError(
            f"{printable(path)} contains the arrays {', '.join(names) or '(none)'}. Expected train and test, or one array."
        )
    both = [file._replace(name=names[0])]
    return _located(dataset, "array", path, Found({"train": both, "test": both}, Counter(), True))


def _tables(dataset: str, root: Path, files: list[File], left_out: Counter[str], only: str = "") -> Location:
    found = split_tables(files, left_out, only)
    if not found.files["train"]:
        what = f"no Parquet files of the split {only}" if only else "no Parquet files"
        raise UserError(f"{printable(root)} contains {what}. {_hint(dataset)}")
    return _located(dataset, "parquet", root, found)


def _hub(dataset: str, address: hub.Address) -> Location:
    """A dataset of the hub, which is a folder once it has been fetched."""
    fingerprint = hashlib.blake2b(str(address).encode(), digest_size=8).hexdigest()
    folder = hub.fetched(address)
    if folder is None:
        return Location(dataset, "hub", None, address.name, fingerprint, remote=str(address))
    split = address.split
    here = _tables(dataset, folder, *walk(folder, is_table), split) if split else locate(dataset, "", folder)
    return replace(here, name=address.name, fingerprint=fingerprint, remote=str(address))


def counted(kinds: Mapping[str, int]) -> str:
    """Formats counts by kind, without those of 0: ``3 .txt files, 1 broken links``."""
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()) if count)


def _present(root: Path, names: Iterable[str]) -> list[File]:
    files = []
    for name in names:
        with suppress(OSError):
            if (root / name).is_file():
                files.append(describe(name, root / name, (root / name).stat()))
    return files


def _located(dataset: str, kind: Source, root: Path, found: Found) -> Location:
    digest = hashlib.blake2b(digest_size=8)
    for file in (*found.files["train"], *found.files["test"]):
        digest.update(os.fsencode(file.name) + b"\0%d\n" % file.size)
    left_out = dict(+found.left_out)
    return Location(dataset, kind, root, _name(root), digest.hexdigest(), found.files, left_out, found.whole)


def _name(root: Path) -> str:
    return printable(root.resolve().stem if root.is_file() else root.resolve().name)
