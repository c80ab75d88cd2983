"""Weights & Biases beside ``metrics.csv`` and ``result.json``: which W&B run is whose, and whether it can be used here."""

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
    from attnae.bench.run import Run, RunId

LOGGER = "trainer.logger"
"""Keys below it say where numbers are shown, not what they are: no part of a run's identity, label or printed commands."""


UPLOAD = 180
"""Seconds that the upload of a report may take."""


@dataclass(frozen=True)
class Login:
    """Whether W&B would take runs.

    Attributes:
        usable: With an account, or without one in offline mode.
        text: Why, or what to do.
    """

    usable: bool
    text: str


def login() -> Login:
    """Looks for what W&B itself looks for; asks no server."""
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
    """Asks once for all runs whether W&B's server answers; goes offline where it does not.

    Args:
        runs: What is about to be executed.
        folder: Of the label's runs.

    Returns:
        What to tell: where offline runs are and how they are sent; empty when W&B is not asked for, or is online.
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
    """Arguments of both commands of a run that say where else its numbers are shown.

    A W&B run is found again by an id that follows from the run's identity and label: a resumed training and the test
    go on with what the training has begun.

    Args:
        chosen: Overrides at and below :data:`LOGGER`.
        project: W&B project that the runner was asked for.
        one: The run.
        label: Name of its report.
        folder: Where its files are.
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
    """Id of a W&B run, the same whenever its parts are."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def publish(page: Path, project: str, folder: Path) -> str:
    """Uploads a report as an artifact, in a process of its own; returns what went wrong, or nothing.

    Args:
        page: ``<reports>/<benchmark>/<label>/README.md``.
        project: W&B project.
        folder: Where W&B keeps its own files.
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
