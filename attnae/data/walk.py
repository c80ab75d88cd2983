"""Directory walker: finds files below a folder in the same order on every machine, and counts unused entries.

Plain Python, for image folders and run folders.

- Order: by the bytes of the path relative to the folder, with ``/`` as the separator. Names are compared in Unicode's
  composed form (NFC) first, so file systems that decompose names do not change the order. Results depend on this order.
- Names are bytes: names that differ only in case or Unicode form are different files. Undecodable names are supported.
- Types are not inferred from names: a folder named ``a.png`` is searched, a file named ``train`` is a file.
- Links are followed. Each real folder is read once: a folder has priority over links to it, then the first link in order.
  Links to a parent of the link or of the walked folder are not followed. Files count by name: two links or hard links to
  the same file are two files.
- Unused entries are counted by kind, except for files created by file managers.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from attnae.errors import UserError

LITTER = {
    ".appledouble", ".directory", ".ds_store", ".fseventsd", ".localized", ".spotlight-v100", ".temporaryitems",
    ".thumbnails", "$recycle.bin", "@eadir", "__macosx", "desktop.ini", "ehthumbs.db", "icon\r", "lost+found",
    "system volume information", "thumbs.db",
}  # fmt: skip
"""Lowercase names created by file managers; so are all names that start with ``._`` or ``.Trash``."""

BROKEN_LINKS = "broken links"
HIDDEN = "hidden files and folders"
LOOPS = "links to folders that are read already"
SPECIAL = "sockets, pipes and devices"
UNREADABLE = "unreadable files and folders"


class File(NamedTuple):
    """A file that was found.

    Attributes:
        name: Path relative to the walked folder, with ``/`` as the separator.
        path: The walked folder joined with the name.
        size: Size in bytes.
        version: Modification time and change time in nanoseconds, and inode; they change when the file is written.
    """

    name: str
    path: Path
    size: int
    version: tuple[int, int, int]


class Walk(NamedTuple):
    """Files below a folder.

    Attributes:
        files: The matching files in order.
        left_out: Number of other entries, by kind.
    """

    files: list[File]
    left_out: Counter[str]


class _Folder(NamedTuple):
    name: str
    path: Path
    real: str


def order(name: str) -> tuple[bytes, bytes]:
    """Sort key of relative paths, the same on every machine, file system and locale."""
    raw = os.fsencode(name)
    composed = unicodedata.normalize("NFC", raw.decode("utf-8", "surrogateescape"))
    return composed.encode("utf-8", "surrogateescape"), raw


def printable(path: str | Path) -> str:
    """A path as valid Unicode text; undecodable bytes are escaped as ``\\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def describe(name: str, path: Path, found: os.stat_result) -> File:
    """Creates a :class:`File` from its file system status."""
    return File(name, path, found.st_size, (found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


def walk(folder: Path, wanted: Callable[[str], bool]) -> Walk:
    """Finds files below a folder. A missing folder counts as empty.

    Args:
        folder: Folder to search.
        wanted: Whether a file matches, by its file name.

    Raises:
        UserError: A folder cannot be read because of a disk error.
    """
    files: list[File] = []
    left_out: Counter[str] = Counter()
    top = os.path.realpath(folder)
    read: set[str] = set()
    folders, links = [_Folder("", folder, top)], list[_Folder]()
    while folders or links:
        if not folders:
            links.sort(key=lambda link: order(link.name), reverse=True)
            link = links.pop()
            target = os.path.realpath(link.path)
            if target in read or _within(link.real, target) or _within(top, target):
                left_out[LOOPS] += 1
                continue
            folders.append(_Folder(link.name, link.path, target))
        here = folders.pop()
        if here.real in read:
            continue
        read.add(here.real)
        for entry in _entries(here, left_out):
            name = f"{here.name}/{entry.name}" if here.name else entry.name
            kind = _kind(entry, wanted)
            if kind == "folder":
                path = here.path / entry.name
                if entry.is_symlink():
                    links.append(_Folder(name, path, here.real))
                else:
                    folders.append(_Folder(name, path, os.path.join(here.real, entry.name)))  # noqa: PTH118 - of bytes
            elif kind == "file":
                files.append(describe(name, here.path / entry.name, entry.stat()))
            elif kind:
                left_out[kind] += 1
    files.sort(key=lambda file: order(file.name))
    return Walk(files, left_out)


def beside(folder: Path, taken: set[str]) -> Counter[str]:
    """Counts the entries of a folder other than those in ``taken``, without entering subfolders."""
    left_out: Counter[str] = Counter()
    for entry in _entries(_Folder("", folder, ""), left_out):
        kind = "" if entry.name in taken else _kind(entry, lambda name: True)
        if kind in ("file", "folder"):
            left_out[f"{kind}s beside {' and '.join(f'{name}/' for name in sorted(taken, reverse=True))}"] += 1
        elif kind:
            left_out[kind] += 1
    return left_out


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _entries(folder: _Folder, left_out: Counter[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder.path) as entries:
            return sorted(entries, key=lambda entry: order(entry.name))
    except OSError as error:
        if not folder.name and error.errno in (errno.ENOENT, errno.ENOTDIR):
            return []
        if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT):
            raise _failed(folder.path, error) from error
        left_out[UNREADABLE] += 1
        return []


def _kind(entry: os.DirEntry[str], wanted: Callable[[str], bool]) -> str:
    """``file``, ``folder``, the kind of an unused entry, or empty for files of file managers."""
    if (kind := hidden(entry.name)) is not None:
        return kind
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            return BROKEN_LINKS
        if error.errno in (errno.EACCES, errno.EPERM):
            return UNREADABLE
        raise _failed(Path(entry.path), error) from error
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        return SPECIAL
    return "file" if wanted(entry.name) else other(entry.name)


def hidden(name: str) -> str | None:
    """The kind of a hidden name, or empty for files of file managers; ``None`` if the name is not hidden."""
    low = name.lower()
    if low in LITTER or low.startswith(("._", ".trash")):
        return ""
    return HIDDEN if low.startswith(".") else None


def other(name: str) -> str:
    """The kind of an unused file, by its extension."""
    suffix = Path(name.lower()).suffix
    return f"{suffix} files" if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else "other files"


def _failed(path: Path, error: OSError) -> UserError:
    return UserError(f"Cannot read {printable(path)}: {error.strerror or error}. Check the disk.")
