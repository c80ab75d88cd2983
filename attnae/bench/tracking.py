"""Weights & Biases beside ``metrics.csv`` and ``result.json``: which W&B run is whose, and whether it can be used here."""

from __future__ import annotations

import hashlib
import netrc
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from attnae.bench.run import Run

LOGGER = "trainer.logger"
"""Keys below it say where numbers are shown, not what they are: no part of a run's hash, label or printed commands."""


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
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("offline", "dryrun"):
        return Login(True, f"WANDB_MODE={mode}: kept in the runs' folders, `wandb sync` uploads it")
    if mode == "disabled":
        return Login(False, "WANDB_MODE=disabled")
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(name):
            return Login(True, f"logged in by {name}")
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    file = Path(os.environ.get("NETRC") or Path.home() / ".netrc").expanduser()
    try:
        if netrc.netrc(file).authenticators(host):
            return Login(True, f"logged in to {host} by {file.name}")
    except (OSError, netrc.NetrcParseError):
        pass
    return Login(False, "not logged in: `wandb login`, or WANDB_MODE=offline to keep everything here")


def settings(project: str) -> list[str]:
    """Overrides that make every run log to a W&B project."""
    return [f"{LOGGER}=WandbLogger", f"{LOGGER}.project={project}"]


def arguments(chosen: dict[str, str], run: Run) -> tuple[str, ...]:
    """Arguments of both commands of a run for the logger that a request has chosen.

    A W&B run is found again by an id that follows from benchmark, label, variant, seed and hash: a resumed training and
    the test go on with what the training has begun.

    Args:
        chosen: Overrides at and below :data:`LOGGER`.
        run: The run.
    """
    kind = chosen.get(LOGGER, "").rsplit(".", 1)[-1]
    own = {}
    if kind in ("WandbLogger", "TensorBoardLogger"):
        own["save_dir"] = run.folder.as_posix()
    if kind == "WandbLogger":
        own["id"] = identity(run.benchmark, run.label, run.name, run.config_hash)
        own |= {"name": f"{run.name} {run.label}", "group": f"{run.benchmark} {run.profile}", "resume": "allow"}
    keys = {**chosen, **{f"{LOGGER}.{key}": value for key, value in own.items() if f"{LOGGER}.{key}" not in chosen}}
    return tuple(f"--{key}={value}" for key, value in keys.items())


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
    done = subprocess.run(
        [sys.executable, "-c", script, *told],
        env={**os.environ, "WANDB_SILENT": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1] if done.returncode else ""
