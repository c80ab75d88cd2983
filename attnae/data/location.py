"""Where a dataset's images are: told apart by what lies in a folder, without decoding anything. Plain Python.

Both sides need it: the DataModules to load the images, the runner to name a report after its data and to notice,
before anything trains, that the data is missing or has changed.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from attnae.errors import UserError

Source = Literal["auto", "official", "folder", "array", "embedded"]

EXTENSIONS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"}
"""File names that count as images; anything else in a folder is left alone."""

OFFICIAL = {
    # Lists of the files that torchvision unpacks; their checksums are verified by torchvision when it downloads them.
    "STL-10": ("stl10_binary/train_X.bin", "stl10_binary/test_X.bin"),
    "CIFAR-10": ("cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/test_batch"),
}

SPLIT_BY_NAME = {"CelebA-HQ"}
"""Datasets that are published as one folder of images: without train/ and test/ a fifth of it is held out, by file name."""

FACES = "1"
"""Version of the embedded portraits: to be raised when ``attnae.data.faces`` draws other ones."""

HINTS = {
    "STL-10": "the official files (2.6 GB; add --set data.init_args.download=true to fetch them)",
    "CIFAR-10": "the official files (170 MB; add --set data.init_args.download=true to fetch them)",
}


@dataclass(frozen=True)
class Location:
    """A dataset that was found.

    Attributes:
        dataset: Name of the dataset that the benchmark asks for, such as ``STL-10``.
        kind: What was found: official files, a folder of images, arrays, or the images that ship with a package.
        root: The folder; ``None`` for embedded images.
        name: Short name for labels: ``natural64`` for ``data/natural64``, ``photos`` for embedded photographs.
        fingerprint: Changes when files are added, removed, renamed or change size, or when arrays change.
    """

    dataset: str
    kind: Source
    root: Path | None
    name: str
    fingerprint: str

    @property
    def title(self) -> str:
        """How a report names the data."""
        if self.kind == "official":
            return f"{self.dataset} (official)"
        if self.kind == "embedded":
            return f"embedded {self.name}"
        return f"{self.name} ({self.kind}; stands in for {self.dataset})"


def locate(
    dataset: str, embedded: str, root: str | Path | None, source: Source = "auto", download: bool = False
) -> Location:
    """Finds a dataset.

    Args:
        dataset: ``STL-10``, ``CIFAR-10`` or ``CelebA-HQ``.
        embedded: Name of the images that stand in when there is no root, such as ``photos``.
        root: Folder to look in; ``None`` means the embedded images.
        source: ``auto`` decides by what lies in the folder; anything else insists.
        download: Whether official files may still be missing.

    Raises:
        UserError: Nothing usable is there.
    """
    if source == "embedded" or (source == "auto" and root is None):
        version = FACES if embedded == "faces" else metadata.version("scikit-image")
        return Location(dataset, "embedded", None, embedded, f"{embedded}-{version}")
    hint = (
        "Point --data-root at a folder with train/ and test/ images, train.npy and test.npy, or "
        f"{HINTS.get(dataset, 'the dataset')}; or use --profile quick."
    )
    if dataset in SPLIT_BY_NAME:
        hint = (
            "Expected a folder of images (30,000 at 256x256; a fifth is held out by file name), one with train/ and "
            "test/, or train.npy and test.npy. Point --data-root at one, or use --profile quick."
        )
    if root is None:
        raise UserError(f"{dataset}: no folder given. {hint}")
    root = Path(root)
    official = [root / part for part in OFFICIAL.get(dataset, ())]
    if (
        source in ("auto", "official")
        and official
        and (all(part.is_file() for part in official) or (download and source == "official"))
    ):
        return Location(dataset, "official", root, dataset.lower().replace("-", ""), f"official-{dataset}")
    if not root.is_dir():
        raise UserError(f"{dataset} not found in {root}: no such folder. {hint}")
    if source in ("auto", "array") and (root / "train.npy").is_file():
        return _located(dataset, "array", root, _files_of_array(root))
    if source in ("auto", "folder"):
        splits = split_files(dataset, root)
        for split, files in splits.items():
            if not files:
                where = f"{root} has no {split} images" if is_flat(dataset, root) else f"{root / split} holds no images"
                raise UserError(f"{where} ({', '.join(sorted(EXTENSIONS))}). {hint}")
        return _located(dataset, "folder", root, splits["train"] + splits["test"])
    raise UserError(f"{dataset} not found in {root}: no {source} data there. {hint}")


def image_files(folder: Path) -> list[Path]:
    """All image files below a folder, nested or flat, in a stable order; hidden files are left alone."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def is_flat(dataset: str, root: Path) -> bool:
    """Whether a folder holds images without train/ and test/, which only some datasets allow."""
    return dataset in SPLIT_BY_NAME and not any((root / split).is_dir() for split in ("train", "test"))


def split_files(dataset: str, root: Path) -> dict[str, list[Path]]:
    """Image files of ``train`` and ``test``: those folders, or for a flat folder what :func:`is_held_out` says."""
    if not is_flat(dataset, root):
        return {split: image_files(root / split) for split in ("train", "test")}
    splits: dict[str, list[Path]] = {"train": [], "test": []}
    for file in image_files(root):
        splits["test" if is_held_out(file.relative_to(root).as_posix()) else "train"].append(file)
    return splits


def is_held_out(name: str) -> bool:
    """Whether a file of a flat folder is a test image: one in five, by a hash of its bare name.

    So no file ever changes sides, whichever others come or go, on every machine, and however deep it lies.
    """
    return int.from_bytes(hashlib.blake2b(os.fsencode(Path(name).name), digest_size=8).digest(), "big") % 5 == 0


def _files_of_array(root: Path) -> list[Path]:
    files = [root / "train.npy", root / "test.npy"]
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{root} has no {missing[0]}. Expected train.npy and test.npy, uint8 of shape (N, H, W, 3).")
    return files


def _located(dataset: str, kind: Source, root: Path, files: list[Path]) -> Location:
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        try:
            size = file.stat().st_size
        except OSError as error:
            raise UserError(f"Cannot read {file}: {error.strerror}. Repair or remove it.") from error
        digest.update(f"{file.relative_to(root).as_posix()}\0{size}\n".encode())
        if kind == "array":  # one file holds everything and its size says nothing: read ends and middle
            with file.open("rb") as stream:
                for start in (0, size // 2, max(0, size - 65536)):
                    stream.seek(start)
                    digest.update(stream.read(65536))
    return Location(dataset, kind, root, root.resolve().name, digest.hexdigest())
