"""Weights & Biases seen from outside: its mode, whether its server answers, how to send what was kept. Plain Python."""

from __future__ import annotations

import configparser
import os
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from attnae.files import absolute, shown

PATIENCE = 6.0
"""Seconds that the server may take to answer."""

SERVER = "https://api.wandb.ai"


def mode() -> str:
    """``online``, ``offline`` or ``disabled``, as W&B finds it: ``WANDB_MODE``, else what ``wandb offline`` has stored."""
    told = os.environ.get("WANDB_MODE") or _stored("mode") or "online"
    return {"dryrun": "offline", "run": "online"}.get(told, told)


def server() -> str:
    """Address of the server."""
    return os.environ.get("WANDB_BASE_URL") or _stored("base_url") or SERVER


def answers() -> bool:
    """Whether the server answers at all, within :data:`PATIENCE`; a look-up of its name alone may take longer."""
    found = list[bool]()

    def ask() -> None:
        try:
            urllib.request.urlopen(server(), timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            found.append(True)
        except urllib.error.URLError as error:
            found.append(isinstance(error.reason, ssl.SSLError))  # it is there; W&B knows more certificates
        except (OSError, ValueError):
            found.append(False)
        else:
            found.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found == [True]


def kept(folder: Path | str) -> str:
    """Where offline runs are, and the command that sends them.

    Args:
        folder: Holds ``wandb/``; may be a pattern.
    """
    runs = f"{shown(Path(folder))}/wandb/offline-run-*"
    return f"kept offline in {runs}; upload them with: wandb sync --append {runs}"


def _stored(key: str) -> str:
    """What W&B's settings files say: that of the working folder first, then that of the user."""
    home = absolute(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")
    here = absolute(os.environ.get("WANDB_DIR") or ".")
    for folder in (here / ".wandb", here / "wandb", home):
        settings = configparser.ConfigParser(interpolation=None)
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            settings.read_string((folder / "settings").read_text(encoding="utf-8"))
            if found := settings.get("default", key, fallback=""):
                return found
    return ""
