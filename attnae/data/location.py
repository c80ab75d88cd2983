"""Where a dataset's images are: told apart by what lies in a folder, without decoding anything. Plain Python.

The DataModules need it to load the images, the runner to name a report after its data and to notice missing data before
anything trains. What the images are, as opposed to where, is :mod:`attnae.data.content`.
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

from attnae.data.official import OFFICIAL as OFFICIAL  # the runner lists them
from attnae.data.walk import File, beside, describe, order, printable, walk
from attnae.errors import UserError

Source = Literal["auto", "official", "folder", "array", "embedded"]

FORMATS = (
    "JPEG", "PNG", "GIF", "WEBP", "BMP", "PPM", "TIFF",
    "AVIF", "BLP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "ICNS", "ICO", "IM", "IPTC", "JPEG2000", "MPO",
    "MSP", "PCD", "PCX", "PIXAR", "PSD", "QOI", "SGI", "SUN", "TGA", "XBM", "XPM",
)  # fmt: skip
"""Formats that Pillow decodes by itself, by its names, in the order in which they are tried.

Left out although Pillow knows their names: PostScript (EPS), which would run a PostScript interpreter on the file; BUFR,
GRIB, HDF5, MPEG and WMF, which Pillow identifies but cannot decode.
"""

EXTENSIONS = {
    ".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits", ".flc", ".fli", ".ftc",
    ".ftu", ".gbr", ".gif", ".icb", ".icns", ".ico", ".iim", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg",
    ".jpf", ".jpg", ".jpx", ".mpo", ".msp", ".pbm", ".pcd", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".pxr",
    ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm",
}  # fmt: skip
"""Endings of file names, in lower case, that count as images: all that Pillow registers for :data:`FORMATS`.

The list is fixed, so that which files count does not depend on the installed Pillow. Other files are left out and counted.
"""

SPLIT_BY_NAME = {"CelebA-HQ"}
"""Datasets that are published as one folder of images: without train/ and test/ a fifth of it is held out, by file name."""

EMBEDDED = {"photos": (1024, 512), "faces": (2048, 512)}
"""Embedded images, and how many training and held-out ones there are."""

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
        fingerprint: Hash of names and sizes. It helps to find cached images quickly and nothing rests on it: what identifies
            the data is the digest of its pixels, see :func:`attnae.data.content.content`.
        files: Files of ``train`` and ``test`` in their order, as one scan has found them; empty for embedded images and for
            official files that are still to be fetched. The order of images is the order of their files.
        left_out: How many files, folders and links of a folder of images are not used, by kind.
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
        """How a report names the data."""
        if self.kind == "official":
            return f"{self.dataset} (official)"
        if self.kind == "embedded":
            return f"embedded {self.name}"
        return f"{self.name} ({self.kind}; stands in for {self.dataset})"

    def has_classes(self, split: str) -> bool:
        """Whether the images of ``train`` or ``test`` lie in several folders, one for each class."""
        folders = [file.name.split("/")[:-1] for file in self.files.get(split, ())]
        common = len(os.path.commonprefix(folders))  # noqa: RUF071 - of lists it compares the parts
        return self.kind == "folder" and len({parts[common] for parts in folders if len(parts) > common}) > 1


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
    if source in ("auto", "official") and dataset in OFFICIAL:
        files = {"train": _present(root, OFFICIAL[dataset].train), "test": _present(root, OFFICIAL[dataset].test)}
        if all(files.values()) or (download and source == "official"):
            files = files if all(files.values()) else {}
            return Location(
                dataset, "official", root, dataset.lower().replace("-", ""), f"official-{dataset}", files=files
            )
    if not root.is_dir():
        raise UserError(f"{dataset} not found in {printable(root)}: no such folder. {hint}")
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
                    f"{printable(root)} has no {split} images" if flat else f"{printable(root / split)} holds no images"
                )
                instead = f" Left out: {counted(left_out)}." if left_out else ""
                raise UserError(f"{where} (.png, .jpg, .webp or another format that Pillow reads).{instead} {hint}")
        return _located(dataset, "folder", root, files, left_out)
    raise UserError(f"{dataset} not found in {printable(root)}: no {source} data there. {hint}")


def is_image(name: str) -> bool:
    """Whether a file counts as an image, by its name."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - a Path for each file takes long


def image_files(folder: Path) -> list[Path]:
    """All image files below a folder, nested or flat; see :mod:`attnae.data.walk`."""
    return [file.path for file in walk(folder, is_image).files]


def is_flat(dataset: str, root: Path) -> bool:
    """Whether a folder holds images without train/ and test/, which only some datasets allow."""
    return dataset in SPLIT_BY_NAME and not any((root / split).is_dir() for split in ("train", "test"))


def split_files(dataset: str, root: Path) -> tuple[dict[str, list[File]], Counter[str]]:
    """Image files of ``train`` and ``test`` in their order, and what is left out, by kind.

    The splits are those folders, or for a flat folder what :func:`is_held_out` says. Names are relative to ``root``.
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
    """Whether a file of a flat folder is a test image: one in five, by a hash of its bare name.

    So no file ever changes sides, whichever others come or go, on every machine, and however deep it lies. Unicode's
    decomposed form of a name counts as its composed form.
    """
    composed = order(PurePosixPath(name).name)[0]
    return int.from_bytes(hashlib.blake2b(composed, digest_size=8).digest(), "big") % 5 == 0


def counted(kinds: Mapping[str, int]) -> str:
    """Kinds and their numbers in words: ``3 .txt files, 1 broken links``."""
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
