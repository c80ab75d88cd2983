"""Runs on disk: results of finished runs, and the progress of unfinished ones."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attnae import result
from attnae.bench import catalog, jobs
from attnae.bench.identity import FOLDER, Run, RunId
from attnae.bench.markdown import count, one_line
from attnae.data.walk import walk
from attnae.errors import UserError
from attnae.paths import relative, shown
from attnae.result import Record


def read(run: Run) -> result.Result | None:
    """Result of a run; ``None`` if it is missing or damaged, in which case the run is repeated.

    Raises:
        NewerFormat: A newer version of attnae wrote it.
        UserError: The disk does not let it be read.
    """
    path = run.folder / "result.json"
    try:
        found = result.read_result(path) if path.exists() else None
    except result.NewerFormat:
        raise
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return None
    return found if found and RunId.of(found) == run.id else None


@dataclass(frozen=True)
class State:
    """Status of a run.

    Attributes:
        folder: The run's folder ``<out>/<benchmark>/<label>/<variant>/seed<k>-<config8>-<data8>``.
        status: ``complete``, ``failed`` or ``running or interrupted``; for cluster jobs ``queued``, ``running`` or
            ``interrupted``.
        detail: Epochs done, the job's name, or the reason of a failure.
    """

    folder: Path
    status: str
    detail: str


def files(root: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Files below a folder by their names, relative to the working folder. Links to folders are followed, but not in circles."""
    return [file.path for file in walk(Path(relative(root)), wanted).files]


def records(root: Path) -> list[Path]:
    """Paths of results below a folder, of runs and kept by reports."""
    root = Path(relative(root))
    found = files(root, lambda name: name.endswith(".json"))
    return sorted(path for path in found if path.name == "result.json" or path.relative_to(root).parent.name == "runs")


def states(root: Path) -> list[State]:
    """All runs below a folder, with paths relative to the working folder.

    Folders with a result or with the name of a run folder: other programs write a ``log.txt``, too.
    """
    found = files(root, {"result.json", "log.txt", jobs.RECORD}.__contains__)
    runs = {
        path.parent for path in found if path.name == "result.json" or FOLDER.fullmatch(path.parent.absolute().name)
    }
    folders = sorted(runs, key=lambda path: [part.zfill(20) for part in re.split(r"(\d+)", path.as_posix())])
    alive = jobs.alive(folders)
    return [_state(folder, alive.get(folder)) for folder in folders]


def _state(folder: Path, job: jobs.Job | None) -> State:
    rows = _rows(folder)
    if job:
        return State(folder, job.state, f"job {job.name}, {count(rows, 'epoch')} done")
    try:
        if (folder / "result.json").exists():
            found = result.read_result(folder / "result.json")
            if found.status == "failed":
                return State(folder, "failed", one_line(found.reason))
            return State(folder, "complete", f"{count(len(found.metrics), 'metric')}, {found.wall_seconds:.0f} s")
    except UserError as error:
        return State(folder, "failed", str(error))
    if name := jobs.noted(folder):
        return State(folder, "interrupted", f"{count(rows, 'epoch')} done; job {name} ended, see jobs/{name}_0_log.err")
    return State(folder, "running or interrupted", f"{count(rows, 'epoch')} done")


def _rows(folder: Path) -> int:
    try:
        return len((folder / "metrics.csv").read_text(encoding="utf-8", errors="replace").splitlines()[1:])
    except OSError:
        return 0


def results(*roots: Path, missing_ok: bool = False) -> list[Record]:
    """Readable results below folders, with their folders; unreadable ones are listed on standard error.

    Raises:
        UserError: There are none, unless ``missing_ok``.
    """
    scanned = [scan(root) for root in roots]
    found = [record for records, _ in scanned for record in records]
    problems = [problem for _, told in scanned for problem in told]
    if found or missing_ok:
        for problem in problems:
            print(f"Left out: {problem}", file=sys.stderr)
    elif problems:
        raise UserError(f"No readable results below {shown(roots[0])}: {problems[0]}")
    else:
        raise UserError(
            f"No results below {shown(roots[0])}. Run `attnae-bench run BENCHMARK` first, or name the folder given as --out."
        )
    return found


def scan(root: Path) -> tuple[list[Record], list[str]]:
    """Results below a folder, of runs and kept by reports, and an error for each unreadable one."""
    found: list[Record] = []
    problems = []
    known = set(catalog.names())
    for path in records(root):
        try:
            one = result.read_result(path)
            if one.benchmark not in known:
                catalog.adopt(one.benchmark, path)
                known.update(catalog.names())
            found.append((path.parent, one))
        except UserError as error:
            problems.append(str(error))
    return found, problems
