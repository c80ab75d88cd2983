"""Folder for decoded images and downloaded hub datasets. Plain Python."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from attnae.errors import UserError
from attnae.files import absolute


def cache_folder() -> Path:
    """``$ATTNAE_CACHE``, else ``$XDG_CACHE_HOME/attnae``, else ``~/.cache/attnae``; a temporary folder if none is writable."""
    chosen = os.environ.get("ATTNAE_CACHE")
    folder = absolute(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attnae"
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
