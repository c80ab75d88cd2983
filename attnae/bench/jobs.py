"""Tracks which runs are queued or running on a SLURM cluster."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from attnae.errors import UserError
from attnae.files import write_text

RECORD = "submitted.json"
"""File in the run folder that records the submitted job."""


class Job(NamedTuple):
    """An unfinished job.

    Attributes:
        name: SLURM job ID, such as ``12_3`` for the fourth task of an array.
        state: ``queued`` or ``running``; ``submitted`` if SLURM is not available.
    """

    name: str
    state: str


def note(folder: Path, name: str) -> None:
    """Records the job of a run."""
    write_text(folder / RECORD, json.dumps({"job": name}))


def move(old: Path, new: Path) -> None:
    """Moves the job record of a run to its final folder, whose name depends on the digest of the decoded images."""
    if old != new and (name := noted(old)):
        note(new, name)
        (old / RECORD).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            old.rmdir()


def alive(folders: Iterable[Path]) -> dict[Path, Job]:
    """Unfinished jobs by run folder.

    Raises:
        UserError: ``squeue`` is installed but does not answer.
    """
    names = {folder: name for folder in folders if (name := noted(folder))}
    if not names:
        return {}
    wanted = ",".join(sorted({name.partition("_")[0] for name in names.values()}))
    command = ["squeue", "--noheader", "--array", "--format", "%i %T", "--jobs", wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:  # this machine shares the folder but not the cluster
        return {folder: Job(name, "submitted") for folder, name in names.items()}
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"Cannot list SLURM jobs: {error}") from error
    if done.returncode and "Invalid job id" not in done.stderr:  # SLURM has forgotten jobs that ended long ago
        raise UserError(f"Cannot list SLURM jobs: {' '.join(done.stderr.split())}")
    states = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())
    return {
        folder: Job(name, "running" if states[name] == "RUNNING" else "queued")
        for folder, name in names.items()
        if name in states and states[name] != "COMPLETING"
    }


def noted(folder: Path) -> str | None:
    """ID of the job that a run was last submitted as; ``None`` if it was not submitted or is complete."""
    try:
        return str(json.loads((folder / RECORD).read_text(encoding="utf-8"))["job"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
