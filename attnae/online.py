"""Checks of Weights & Biases without importing it: mode, server availability, location of offline runs. Plain Python."""

from __future__ import annotations

import configparser
import os
import ssl
import threading
from contextlib import suppress
from pathlib import Path

from attnae.paths import absolute, shown

PATIENCE = 6.0
"""Time limit in seconds for a response of the server."""

SERVER = "https://api.wandb.ai"


def mode() -> str:
    """``online``, ``offline`` or ``disabled``, as W&B determines it: ``WANDB_MODE``, else the stored setting."""
    told = os.environ.get("WANDB_MODE") or _stored("mode") or "online"
    return {"dryrun": "offline", "run": "online"}.get(told, told)


def server() -> str:
    """Address of the server."""
    return os.environ.get("WANDB_BASE_URL") or _stored("base_url") or SERVER


def answers() -> bool:
    """Whether the server responds within :data:`PATIENCE`; uses a thread, because name resolution may take longer."""
    import urllib.error
    import urllib.request  # slow to import, and few commands need a server

    found = list[bool]()

    def ask() -> None:
        try:
            urllib.request.urlopen(server(), timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            found.append(True)
        except urllib.error.URLError as error:
            found.append(
                isinstance(error.reason, ssl.SSLError)
            )  # the server is reachable; W&B ships its own certificates
        except (OSError, ValueError):
            found.append(False)
        else:
            found.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found == [True]


def kept(folder: Path | str) -> str:
    """Location of offline runs, and the command that uploads them.

    Args:
        folder: Folder that contains ``wandb/``; may be a pattern.
    """
    runs = f"{shown(Path(folder))}/wandb/offline-run-*"
    return f"kept offline in {runs}; upload them with: wandb sync --append {runs}"


def _stored(key: str) -> str:
    """Value of a key in W&B's settings files: first in the working folder, then in the user's folder."""
    home = absolute(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    here = absolute(os.environ.get("WANDB_DIR") or ".")
    for folder in (here / ".wandb", here / "wandb", home):
        settings = configparser.ConfigParser(interpolation=None)
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            settings.read_string((folder / "settings").read_text(encoding="utf-8"))
            if found := settings.get("default", key, fallback=""):
                return found
    return ""
