"""Which runs are queued or running on a cluster."""

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
"""File in a run's folder that holds the job it was submitted as."""


class Job(NamedTuple):
    """A job that is not over.

    Attributes:
        name: SLURM's name of it, such as ``12_3`` for the fourth of an array.
        state: ``queued`` or ``running``; ``submitted`` where SLURM cannot be asked.
    """

    name: str
    state: str


def note(folder: Path, name: str) -> None:
    """Remembers the job of a run."""
    write_text(folder / RECORD, json.dumps({"job": name}))


def move(old: Path, new: Path) -> None:
    """Takes what was noted of a run to its folder, whose name nobody knew before its images were decoded."""
    if old != new and (name := noted(old)):
        note(new, name)
        (old / RECORD).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            old.rmdir()


def alive(folders: Iterable[Path]) -> dict[Path, Job]:
    """Jobs that are not over, by the folders of their runs.

    Raises:
        UserError: SLURM is here and does not answer.
    """
    names = {folder: name for folder in folders if (name := noted(folder))}
    if not names:
        return {}
    wanted = ",".join(sorted({name.partition("_")[0] for name in names.values()}))
    command = ["squeue", "--noheader", "--array", "--format", "%i %T", "--jobs", wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:  # a machine that shares the folder but not the cluster
        return {folder: Job(name, "submitted") for folder, name in names.items()}
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"Cannot ask SLURM for its jobs: {error}") from error
    if done.returncode and "Invalid job id" not in done.stderr:  # which means that all are over for long
        raise UserError(f"Cannot ask SLURM for its jobs: {' '.join(done.stderr.split())}")
    states = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip())
    return {
        folder: Job(name, "running" if states[name] == "RUNNING" else "queued")
        for folder, name in names.items()
        if name in states and states[name] != "COMPLETING"
    }


def noted(folder: Path) -> str | None:
    """Name of the job that a run was last submitted as; ``None`` if it never was, or is complete."""
    try:
        return str(json.loads((folder / RECORD).read_text(encoding="utf-8"))["job"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
