"""Input and output files of commands, and all checks that do not need torch, so that errors are reported immediately."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from attnae.data.location import EXTENSIONS, counted
from attnae.data.walk import printable, walk
from attnae.errors import UserError
from attnae.inference import folders
from attnae.paths import shown

LONGEST_NAME = 255
"""Maximum number of bytes of a file's name on common file systems."""

CODES = ".codes"
"""Extension of files written by ``attnae encode``."""


@dataclass(frozen=True)
class Source:
    """A file to read.

    Attributes:
        path: Path of the file.
        name: Name of its result, relative to the output folder, without extension.
    """

    path: Path
    name: str


def find(arguments: Sequence[str], out: Path | None = None, extensions: set[str] = EXTENSIONS) -> list[Source]:
    """Finds files by name, in folders, or by patterns such as ``photos/**/*.jpg``; in this order, without duplicates.

    Says what it leaves out of folders.

    Args:
        arguments: Names of files and folders, and patterns. Files in a folder keep their relative path.
        out: Folder of the results. If it lies inside a searched folder, it is not searched: it has the results of an earlier
            command.
        extensions: Extensions of the files to use from folders.

    Raises:
        UserError: A name or pattern matches nothing.
    """
    found: dict[Path, Path] = {}  # path -> path without the folder that was searched
    left_out: Counter[str] = Counter()
    results = out and out.resolve()
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside, others = walk(path, lambda name: Path(name).suffix.lower() in extensions)
            left_out += others
            below = results if results and path.resolve() in results.parents else None
            files = [
                (file.path, Path(file.name))
                for file in inside
                if not (below and file.path.resolve().is_relative_to(below))
            ]
        elif path.exists():
            files = [(path, Path(path.name))]
        else:
            matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207 - may be absolute
            files = [(file, Path(file.name)) for file in matches if file.is_file()]
        if not files:
            what = "contains no such files" if path.is_dir() else "does not exist and matches no files"
            raise UserError(f"{argument} {what} ({', '.join(sorted(extensions))}).")
        for file, short in files:
            found.setdefault(file, short)
    if left_out:
        print(f"Left out: {counted(left_out)}", file=sys.stderr)
    stems = Counter(short.with_suffix("") for short in found.values())
    names = [
        # a.jpg and a.png must not become the same a.png
        (short.with_suffix("") if stems[short.with_suffix("")] == 1 else short.with_name(short.name.replace(".", "-")))
        for short in found.values()
    ]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(
            f"Several images are named {twice[0]}, so their results would overwrite each other. Name their common folder, "
            "or rename one of them."
        )
    return [Source(path, name.as_posix()) for path, name in zip(found, names, strict=True)]


def outputs(folder: Path, names: Sequence[str], found: Sequence[Source], overwrite: bool) -> None:
    """Checks that the outputs can be written.

    Raises:
        UserError: The folder is a file, or one of the files has too long a name, would also be a folder, would replace an
            input, or exists and may not be overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Name a folder with -o.")
    if long := [name for name in names if len(os.fsencode(Path(name).name)) > LONGEST_NAME]:
        raise UserError(f"The name {printable(long[0])} would be too long for a file. Rename the image.")
    folders_of_results = {str(above) for name in names for above in PurePath(name).parents}
    if both := [name for name in names if name in folders_of_results]:
        raise UserError(
            f"{folder / both[0]} would be a result and a folder of results. Rename the folder of the images."
        )
    read = {source.path.resolve() for source in found}
    if replaced := [name for name in names if (folder / name).resolve() in read]:
        raise UserError(f"{folder / replaced[0]} is also an input, which would be replaced. Choose another folder.")
    if not overwrite and (there := [name for name in names if (folder / name).exists()]):
        exist = f" and {len(there) - 1} more already exist" if len(there) > 1 else " already exists"
        raise UserError(f"{folder / there[0]}{exist}. Use --overwrite, or choose another folder.")
    _writable(folder)


def _writable(folder: Path) -> None:
    """Checks that a folder can be written to, or made.

    Raises:
        UserError: It cannot.
    """
    there = next(above for above in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(above))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"Cannot write into {shown(there)}. Choose another folder.")


# -- the checks of each command ----------------------------------------------------------------------------------------


def apply(options: argparse.Namespace) -> list[Source]:
    """Checks ``attnae apply``; returns the images to read.

    Raises:
        UserError: There are none, an option does not apply to the model, or an output already exists.
    """
    stored = folders.describe(options.model)
    suits(stored.corruption, stored.title, options)
    if options.mask != "random" and not Path(options.mask).is_file():
        raise UserError(f"There is no mask {options.mask}. Name an image that is white where pixels are hidden.")
    found = find(options.images, options.out)
    names = [f"{source.name}{ending}" for source in found for ending in (".png", "-compared.png")]
    if clash := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"Two results would be named {clash[0]}. Rename one of the images.")
    read = found if options.mask == "random" else [*found, Source(Path(options.mask), "")]
    outputs(options.out, [*names, "metrics.csv"], read, options.overwrite)
    return found


def suits(corruption: str | None, title: str, options: argparse.Namespace) -> None:
    """Rejects options of ``attnae apply`` that do not apply to the model.

    Args:
        corruption: ``noise``, ``mask`` or empty; ``None`` if it is not known yet.
        title: Display name of the model.
        options: Options of the command.

    Raises:
        UserError: Such an option is given.
    """
    if options.sigma is not None and corruption not in ("noise", None):
        raise UserError(f"--sigma adds noise for a denoiser; {title} is not a denoiser.")
    if options.mask != "random" and corruption not in ("mask", None):
        raise UserError(f"--mask hides pixels for a model that fills in; {title} does not.")


def encode(options: argparse.Namespace) -> list[Source]:
    """Checks ``attnae encode``; returns the images to read.

    Raises:
        UserError: There are none, or an output already exists.
    """
    folders.describe(options.model)
    found = find(options.images, options.out)
    outputs(options.out, [source.name + CODES for source in found], found, options.overwrite)
    return found


def decode(options: argparse.Namespace) -> list[Source]:
    """Checks ``attnae decode``; returns the files to read.

    Raises:
        UserError: There are none, or an output already exists.
    """
    folders.describe(options.model)
    found = find(options.files, options.out, {CODES})
    outputs(options.out, [f"{source.name}.png" for source in found], found, options.overwrite)
    return found


def sample(options: argparse.Namespace) -> list[Source]:
    """Checks ``attnae sample``; returns the images to interpolate between, if any.

    Raises:
        UserError: One of them is missing, or the output already exists.
    """
    if options.out.exists() and (options.out.is_dir() or not options.overwrite):
        raise UserError(
            f"{options.out} already exists. " + ("Name a file." if options.out.is_dir() else "Use --overwrite.")
        )
    if options.out.suffix.lower() != ".png":
        raise UserError(f"{options.out} is not a PNG file. Name one with -o.")
    folders.describe(options.model)
    ends = [Path(name) for name in options.between or ()]
    if missing := [str(path) for path in ends if not path.is_file()]:
        raise UserError(f"There is no image {missing[0]}. Name two image files with --between.")
    if options.out.resolve() in {path.resolve() for path in ends}:
        raise UserError(f"{options.out} is also an input, which would be replaced. Choose another file.")
    _writable(options.out.parent)
    return [Source(path, path.stem) for path in ends]


EXPORTED = ("model.safetensors", "config.yaml", "README.md", "model.pt2", "result.json")
"""Files of an exported model."""


def export(options: argparse.Namespace) -> list[Source]:
    """Checks ``attnae export``, which reads no files.

    Raises:
        UserError: The folder is a file, or contains files that must not be replaced.
    """
    folders.describe(options.model)
    folder: Path = options.out
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file. Name a folder.")
    if folder.is_dir() and any(folder.iterdir()):
        if not options.overwrite:
            raise UserError(f"{folder} exists and is not empty. Use --overwrite, or choose another folder.")
        if foreign := sorted(path.name for path in folder.iterdir() if path.name not in EXPORTED):
            raise UserError(
                f"{folder} contains {foreign[0]}, which was not written by attnae export. Choose another folder."
            )
    return []
