"""Paths as people type them and as they are printed: relative to the working folder or to the home folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
"""Regular expression for the scheme of a URL."""


def absolute(text: str) -> Path:
    """Converts a typed path to an absolute one and expands ``~``, so that it does not depend on the working folder."""
    whole = Path.cwd() / os.path.expanduser(text)  # noqa: PTH111 (keeps an unknown ~name)
    if ".." not in whole.parts:
        return whole  # keeps links
    above = len(whole.parts) - whole.parts[::-1].index("..")
    return Path(
        os.path.realpath(Path(*whole.parts[:above])), *whole.parts[above:]
    )  # `link/..` is the parent of the link's target


def typed(text: str) -> str:
    """A typed path relative to the working folder, with ``~`` expanded; text with a URL scheme is returned unchanged."""
    return text if re.match(SCHEME, text) else relative(absolute(text))


def relative(path: Path) -> str:
    """A path relative to the working folder; an address such as ``hf://owner/name`` is returned unchanged."""
    if path.parts[:1] == ("hf:",):
        return f"hf://{'/'.join(path.parts[1:])}"
    return Path(os.path.relpath(path)).as_posix()


def shown(path: Path) -> str:
    """A path for display: relative to the working folder, or to ``~`` if it is only below the home folder.

    As it is where the working folder was removed.
    """
    try:
        whole, home = absolute(str(path)), absolute("~")
        if whole.is_relative_to(Path.cwd()) or not whole.is_relative_to(home):
            return relative(path)
    except OSError:
        return str(path)
    return f"~/{whole.relative_to(home).as_posix()}"
