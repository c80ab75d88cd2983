"""Optional logging to Weights & Biases: login, offline mode, run ids, and upload of reports."""

from __future__ import annotations

import hashlib
import json
import netrc
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attnae import online

if TYPE_CHECKING:
    from attnae.bench.identity import Run, RunId

LOGGER = "trainer.logger"
"""Prefix of logger settings. They do not affect a run's identity or label, and printed commands omit them."""


UPLOAD = 180
"""Time limit in seconds for uploading a report."""


@dataclass(frozen=True)
class Login:
    """Whether W&B is usable.

    Attributes:
        usable: Whether there is a login, or W&B is in offline mode.
        text: The reason, or how to log in.
    """

    usable: bool
    text: str


def login() -> Login:
    """Checks the same settings as W&B, without contacting a server."""
    mode = online.mode()
    source = f"WANDB_MODE={os.environ['WANDB_MODE']}" if os.environ.get("WANDB_MODE") else f"wandb {mode}"
    if mode == "offline":
        return Login(True, f"{source}: runs are kept in their folders; upload them with `wandb sync`")
    if mode == "disabled":
        return Login(False, source)
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(name):
            return Login(True, f"logged in with {name}")
    host = urlsplit(online.server()).netloc
    file = Path(os.environ.get("NETRC") or Path.home() / ".netrc").expanduser()
    try:
        if netrc.netrc(file).authenticators(host):
            return Login(True, f"logged in to {host} with {file.name}")
    except (OSError, netrc.NetrcParseError):
        pass
    return Login(False, "not logged in; run `wandb login`, or set WANDB_MODE=offline to log locally")


def connect(runs: Iterable[Run], folder: Path) -> str:
    """Checks once for all runs whether the W&B server responds; switches to offline mode if not.

    Args:
        runs: Runs to execute.
        folder: Folder of the label's runs.

    Returns:
        A notice with the location of offline runs and the upload command; empty if W&B is unused or online.
    """
    if not any("WandbLogger" in word for run in runs for word in run.logger) or online.mode() == "disabled":
        return ""
    why = "offline mode"
    if online.mode() == "online":
        if online.answers():
            return ""
        os.environ["WANDB_MODE"] = "offline"
        why = f"{online.server()} does not answer"
    return f"Weights & Biases: {why}. Runs are {online.kept(folder / '*' / '*')}"


def arguments(chosen: dict[str, Any], project: str | None, one: RunId, label: str, folder: Path) -> tuple[str, ...]:
    """Logger arguments for both commands of a run.

    The id of a W&B run is derived from the run's identity and label, so that a resumed training and the test continue the
    same W&B run.

    Args:
        chosen: Overrides at and below :data:`LOGGER`.
        project: W&B project given on the command line.
        one: The run.
        label: Name of its report.
        folder: Folder of its files.
    """
    usual = {LOGGER: "WandbLogger", f"{LOGGER}.project": project} if project else {}
    keys: dict[str, Any] = {**usual, **chosen}
    kind = str(keys.get(LOGGER, "")).rsplit(".", 1)[-1]
    own: dict[str, str] = {}
    if kind in ("WandbLogger", "TensorBoardLogger"):
        own["save_dir"] = folder.as_posix()
    if kind == "WandbLogger":
        own["id"] = identity(one.benchmark, label, one.variant, one.folder)
        own |= {"name": f"{one.name} {label}", "group": f"{one.benchmark} {one.profile}", "resume": "allow"}
    keys = {**keys, **{f"{LOGGER}.{key}": value for key, value in own.items() if f"{LOGGER}.{key}" not in keys}}
    return tuple(f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in keys.items())


def identity(*parts: str) -> str:
    """Id of a W&B run, determined by its parts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def publish(page: Path, project: str, folder: Path) -> str:
    """Uploads a report as an artifact, in a separate process; returns the error, or an empty text.

    Args:
        page: ``<reports>/<benchmark>/<label>/README.md``.
        project: W&B project.
        folder: Folder for W&B's own files.
    """
    benchmark, label = page.parent.parent.name, page.parent.name
    script = "import sys; from attnae.training.tracking import publish; publish(*sys.argv[1:])"
    told = [str(page.parent), project, benchmark, label, identity(benchmark, label, "report"), str(folder)]
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, *told],
            env={**os.environ, "WANDB_SILENT": "true"},
            capture_output=True,
            text=True,
            check=False,
            timeout=UPLOAD,
        )
    except subprocess.TimeoutExpired:
        return f"not uploaded within {UPLOAD} seconds"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1] if done.returncode else ""
