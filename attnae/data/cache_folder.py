"""Folder for decoded images and downloaded hub datasets. Plain Python."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from attnae.errors import UserError
from attnae.paths import absolute

SHARED = 0o666
"""Mode of lock files: another user of the same cache must be able to lock them."""


def wanted_folder() -> Path:
    """What :func:`cache_folder` tries first; it may not be writable. A user without a home folder gets a temporary one."""
    if chosen := os.environ.get("ATTNAE_CACHE"):
        return absolute(chosen)
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises for a user without one
    caches = os.environ.get("XDG_CACHE_HOME") or (tempfile.gettempdir() if home == "~" else f"{home}/.cache")
    return Path(caches) / "attnae"


def cache_folder() -> Path:
    """``$ATTNAE_CACHE``, else ``$XDG_CACHE_HOME/attnae``, else ``~/.cache/attnae``; a temporary folder if none is writable."""
    chosen = os.environ.get("ATTNAE_CACHE")
    folder = wanted_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        if chosen:
            raise UserError(
                f"Cannot write to ATTNAE_CACHE={chosen}: {error.strerror}. Choose another folder."
            ) from error
        fallback = Path(tempfile.gettempdir()) / f"attnae-{os.getuid()}"
        fallback.mkdir(parents=True, exist_ok=True)
        return fallback
