"""Images in a zip file, read without unpacking it. Listing them is plain Python and reads no image."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from attnae.data.formats import is_image
from attnae.data.walk import File, describe, hidden, order, other, printable
from attnae.errors import UserError

MOST_MEMBERS = 300_000
"""Maximum number of members, to limit the memory for listing them."""

LARGEST = 256_000_000
"""Maximum size of a member after decompression in bytes; larger ones are left out."""

EXPANSION = 200
"""Maximum compression ratio of members larger than a megabyte."""

BOMBS = "members that unpack to too many bytes"
OUTSIDE = "members outside the archive's folder"
LINKS = "links"
ENCRYPTED = "encrypted members"
REPEATED = "repeated members"


def members(path: Path) -> tuple[list[File], Counter[str]]:
    """Images of a zip file, in the order of a folder with the same files, and the number of other members by kind.

    Raises:
        UserError: The file is not a zip file, is damaged, or has too many members.
    """
    with opened(path) as archive:
        infos = archive.infolist()
        about = describe("", path, path.stat())
    if len(infos) > MOST_MEMBERS:
        raise UserError(
            f"{printable(path)} has {len(infos):,} members; at most {MOST_MEMBERS:,} are read. Unpack it into a folder."
        )
    chosen, left_out = _chosen(infos)
    files = [about._replace(name=name, size=info.file_size) for name, info in chosen.items()]
    return sorted(files, key=lambda file: order(file.name)), left_out


def _chosen(infos: list[zipfile.ZipInfo]) -> tuple[dict[str, zipfile.ZipInfo], Counter[str]]:
    """The members to read, by name, and the number of others by kind. By name, zipfile would find the last of equal ones."""
    left_out: Counter[str] = Counter()
    chosen: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if info.is_dir():
            continue
        kind = _kind(info)
        if kind == "file" and info.filename in chosen:
            kind = REPEATED
        if kind == "file":
            chosen[info.filename] = info
        elif kind:
            left_out[kind] += 1
    return chosen, left_out


def reader(path: Path) -> tuple[Callable[[str], int], Callable[[str], bytes]]:
    """Functions that return the CRC-32 and the bytes of a member.

    The second one raises ``ValueError`` if a member is damaged, and :class:`UserError` if the disk fails.
    """
    archive = opened(path)
    chosen, _ = _chosen(archive.infolist())

    def content(name: str) -> bytes:
        try:
            return archive.read(chosen[name])  # at most the size checked when listing
        except OSError as error:
            raise UserError(f"Cannot read {printable(path)}: {error.strerror or error}. Check the disk.") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, KeyError) as error:
            raise ValueError(str(error) or type(error).__name__) from error
        except Exception as error:  # other decompressors have their own errors
            raise ValueError(f"{type(error).__name__}: {error}") from error

    return lambda name: chosen[name].CRC, content


def opened(path: Path) -> zipfile.ZipFile:
    """Opens a zip file.

    Raises:
        UserError: It is not a zip file, or is damaged.
    """
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise UserError(f"Cannot read {printable(path)}: {error.strerror or error}. Check the file.") from error
    except Exception as error:  # damaged directories raise struct.error, UnicodeDecodeError, ...
        raise UserError(
            f"{printable(path)} is not a readable zip file: {error}. Download or create it again."
        ) from error


def _kind(info: zipfile.ZipInfo) -> str:
    """``file``, the kind of an unused member, or empty for files of file managers."""
    name, parts = info.filename, info.filename.split("/")
    if name.startswith("/") or "\\" in name or ".." in parts or re.match(r"[A-Za-z]:", name):
        return OUTSIDE
    for part in parts:
        kind = hidden(part) if part != "." else None
        if kind is not None:
            return kind
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return LINKS
    if not is_image(parts[-1]):
        return other(parts[-1])
    if info.flag_bits & 1:
        return ENCRYPTED
    packed = max(info.compress_size, 1)
    if info.file_size > LARGEST or (info.file_size > 1_000_000 and info.file_size > EXPANSION * packed):
        return BOMBS
    return "file"
