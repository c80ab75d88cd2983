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
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Literal

from attnae.data.official import OFFICIAL as OFFICIAL  # used by attnae-bench
from attnae.data.walk import File, beside, describe, order, printable, walk
from attnae.errors import UserError

Source = Literal["auto", "official", "folder", "array", "embedded"]

FORMATS = (
    "JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM", "TIFF",
    "AVIF", "BLP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "ICNS", "ICO", "IM", "IPTC", "JPEG2000", "MPO",
    "MSP", "PCD", "PCX", "PIXAR", "PSD", "QOI", "SGI", "SUN", "TGA", "XBM", "XPM",
)  # fmt: skip
"""Formats that Pillow decodes without external programs, by Pillow's names, in the order in which they are tried.

Excluded although Pillow supports them: EPS, which would run a PostScript interpreter on the file; BUFR, GRIB, HDF5, MPEG and
WMF, which Pillow identifies but cannot decode.
"""

EXTENSIONS = {
    ".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits", ".flc", ".fli", ".ftc",
    ".ftu", ".gbr", ".gif", ".icb", ".icns", ".ico", ".iim", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg",
    ".jpf", ".jpg", ".jpx", ".mpo", ".msp", ".pbm", ".pcd", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".pxr",
    ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm",
}  # fmt: skip
"""Lowercase file extensions of images: all that Pillow registers for :data:`FORMATS`.

The list is fixed, so it does not depend on the installed Pillow. Other files are ignored and counted.
"""

SPLIT_BY_NAME = {"CelebA-HQ"}
"""Datasets published as a single folder of images. Without train/ and test/, 20% are held out by file name."""

EMBEDDED = {"photos": (1024, 512), "faces": (2048, 512)}
"""Embedded images: number of training and held-out images."""

FACES = "1"
"""Version of the embedded faces. Increase it when ``attnae.data.faces`` changes its output."""

HINTS = {
    "STL-10": "the official files (2.6 GB; add --set data.init_args.download=true to fetch them)",
    "CIFAR-10": "the official files (170 MB; add --set data.init_args.download=true to fetch them)",
}


@dataclass(frozen=True)
class Location:
    """A dataset that was found.

    Attributes:
        dataset: Name of the benchmark's dataset, such as ``STL-10``.
        kind: Kind of data: official files, a folder of images, arrays, or embedded images.
        root: The folder; ``None`` for embedded images.
        name: Short name for labels: ``natural64`` for ``data/natural64``, ``photos`` for embedded photographs.
        fingerprint: Hash of names and sizes, only used to find cached images quickly. The data is identified by the digest of
            its pixels, see :func:`attnae.data.content.content`.
        files: Files of ``train`` and ``test`` in order, from a single scan; empty for embedded images and for official files
            that are not downloaded yet. Images have the order of their files.
        left_out: Number of unused files, folders and links in a folder of images, by kind.
    """

    dataset: str
    kind: Source
    root: Path | None
    name: str
    fingerprint: str
    files: Mapping[str, Sequence[File]] = field(default_factory=dict, compare=False, repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def title(self) -> str:
        """Title of the data in reports."""
        if self.kind == "official":
            return f"{self.dataset} (official)"
        if self.kind == "embedded":
            return f"embedded {self.name}"
        return f"{self.name} ({self.kind}; stands in for {self.dataset})"

    @property
    def has_classes(self) -> bool:
        """Whether ``train/`` has several subfolders, one per class."""
        names = (PurePosixPath(file.name).parts for file in self.files.get("train", ()))
        return (
            self.kind == "folder" and len({parts[1] for parts in names if parts[0] == "train" and len(parts) > 2}) > 1
        )


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
    hint = (
        "Point --data-root at a folder with train/ and test/ images, train.npy and test.npy, or "
        f"{HINTS.get(dataset, 'the dataset')}; or use --profile quick."
    )
    if dataset in SPLIT_BY_NAME:
        hint = (
            "Expected a folder of images (30,000 at 256x256; 20% are held out by file name), a folder with train/ and "
            "test/, or train.npy and test.npy. Point --data-root at one, or use --profile quick."
        )
    if root is None:
        raise UserError(f"{dataset}: no folder given. {hint}")
    root = Path(root)
    if source in ("auto", "official") and dataset in OFFICIAL:
        files = {"train": _present(root, OFFICIAL[dataset].train), "test": _present(root, OFFICIAL[dataset].test)}
        if all(files.values()) or (download and source == "official"):
            files = files if all(files.values()) else {}
            return Location(
                dataset, "official", root, dataset.lower().replace("-", ""), f"official-{dataset}", files=files
            )
    if not root.is_dir():
        raise UserError(
            f"{dataset} not found: {printable(root)} {'is not a folder' if root.exists() else 'does not exist'}. {hint}"
        )
    if source in ("auto", "array") and (root / "train.npy").is_file():
        files = {split: _present(root, [f"{split}.npy"]) for split in ("train", "test")}
        if not files["test"]:
            raise UserError(
                f"{printable(root)} has no test.npy. Expected train.npy and test.npy, uint8 of shape (N, H, W, 3)."
            )
        return _located(dataset, "array", root, files, Counter())
    if source in ("auto", "folder"):
        files, left_out = split_files(dataset, root)
        for split, found in files.items():
            if not found:
                flat = is_flat(dataset, root)
                where = (
                    f"{printable(root)} has no {split} images"
                    if flat
                    else f"{printable(root / split)} contains no images"
                )
                instead = f" Found instead: {counted(left_out)}." if left_out else ""
                raise UserError(f"{where} (.png, .jpg, .webp or another format supported by Pillow).{instead} {hint}")
        return _located(dataset, "folder", root, files, left_out)
    raise UserError(f"{dataset} not found: {printable(root)} contains no {source} data. {hint}")


def is_image(name: str) -> bool:
    """Whether a file is an image, by its extension."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - creating a Path per file is slow


def image_files(folder: Path) -> list[Path]:
    """All image files below a folder, including subfolders; see :mod:`attnae.data.walk`."""
    return [file.path for file in walk(folder, is_image).files]


def is_flat(dataset: str, root: Path) -> bool:
    """Whether a folder contains images without train/ and test/, which only some datasets allow."""
    return dataset in SPLIT_BY_NAME and not any((root / split).is_dir() for split in ("train", "test"))


def split_files(dataset: str, root: Path) -> tuple[dict[str, list[File]], Counter[str]]:
    """Image files of ``train`` and ``test`` in order, and counts of unused files by kind.

    The splits are the folders ``train`` and ``test``; for a flat folder, :func:`is_held_out` decides. Names are relative to
    ``root``.
    """
    splits: dict[str, list[File]] = {"train": [], "test": []}
    if is_flat(dataset, root):
        files, left_out = walk(root, is_image)
        for file in files:
            splits["test" if is_held_out(file.name) else "train"].append(file)
        return splits, left_out
    left_out = beside(root, set(splits))
    for split in splits:
        files, further = walk(root / split, is_image)
        splits[split] = [file._replace(name=f"{split}/{file.name}") for file in files]
        left_out += further
    return splits, left_out


def is_held_out(name: str) -> bool:
    """Whether a file of a flat folder is a test image: one in five, by a hash of its file name.

    The split of a file does not depend on other files, the machine or the subfolder. Composed and decomposed Unicode forms
    of a name are equivalent.
    """
    composed = order(PurePosixPath(name).name)[0]
    return int.from_bytes(hashlib.blake2b(composed, digest_size=8).digest(), "big") % 5 == 0


def counted(kinds: Mapping[str, int]) -> str:
    """Formats counts by kind: ``3 .txt files, 1 broken links``."""
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))


def _present(root: Path, names: Iterable[str]) -> list[File]:
    files = []
    for name in names:
        with suppress(OSError):
            if (root / name).is_file():
                files.append(describe(name, root / name, (root / name).stat()))
    return files


def _located(dataset: str, kind: Source, root: Path, files: dict[str, list[File]], left_out: Counter[str]) -> Location:
    digest = hashlib.blake2b(digest_size=8)
    for file in (*files["train"], *files["test"]):
        digest.update(os.fsencode(file.name) + b"\0%d\n" % file.size)
    name = printable(root.resolve().name)
    return Location(dataset, kind, root, name, digest.hexdigest(), files, dict(left_out))
