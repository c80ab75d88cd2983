"""``attnae-bench clean``: lists and removes leftovers of failed and unfinished runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.markup import escape

from attnae import result
from attnae.bench import store
from attnae.bench.commands.arguments import Subparsers, path
from attnae.bench.identity import FOLDER
from attnae.bench.terminal import console, grid, size
from attnae.errors import UserError
from attnae.paths import absolute, shown


@dataclass(frozen=True)
class Litter:
    """A folder that can be removed.

    Attributes:
        run: Folder of the run, or of a report.
        path: Folder to remove: the same, or the checkpoints of a complete run.
        why: Description.
        size: Size in bytes.
    """

    run: Path
    path: Path
    why: str
    size: int


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("clean", help="list and remove leftovers of failed and unfinished runs")
    parser.add_argument("folder", type=path, nargs="?", default="runs", metavar="DIR", help="default runs")
    parser.add_argument(
        "--reports", type=path, default="reports", metavar="DIR", help="folder of the reports; default reports"
    )
    parser.add_argument("--yes", action="store_true", help="remove them; complete and running runs are kept")
    parser.set_defaults(handler=clean)


def clean(options: argparse.Namespace) -> int:
    """Lists unfinished and failed runs, stale checkpoints, and reports with only failed runs; removes them with ``--yes``.

    Of complete runs, only checkpoints are removed. Running and queued runs are kept, and so are runs whose result cannot
    be read, because a newer version of attnae may have written it.
    """
    if not options.folder.is_dir():
        raise UserError(f"There is no folder {shown(options.folder)}. Name the folder given as --out.")
    out, found = console(), [*litter(options.folder), *_failed_reports(options.reports)]
    if not found:
        out.print(f"Nothing to clean below {escape(shown(options.folder))}.", soft_wrap=True)
        return 0
    table = grid("size", "what", "where")
    for one in found:
        table.add_row(size(one.size), escape(one.why), escape(shown(one.path)))
    out.print(table)
    total = size(sum(one.size for one in found))
    if not options.yes:
        out.print(f"{total}. Add --yes to remove them, or rerun the `run` command to finish or repeat these runs.")
        return 0
    removed = [one for one in found if _remove(one, {options.folder, options.reports})]
    out.print(f"Removed {size(sum(one.size for one in removed))}.")
    return 0 if len(removed) == len(found) else 1


def litter(root: Path) -> Iterator[Litter]:
    """Finds everything below a folder that can be removed: only folders with the name of a run and no other result inside.

    Links to folders are not followed.
    """
    for state in store.states(root):
        folder = state.folder
        if os.path.realpath(folder) != os.path.join(os.path.realpath(root), os.path.relpath(folder, root)):  # noqa: PTH118
            continue  # behind a link, possibly of somebody else
        if not FOLDER.fullmatch(folder.name) or any(path.parent != folder for path in folder.rglob("result.json")):
            continue
        with _held(folder) as free:
            if not free:
                continue
            if state.status == "complete":
                if (folder / "checkpoints").is_dir():
                    yield Litter(
                        folder, folder / "checkpoints", "checkpoints of a complete run", _size(folder / "checkpoints")
                    )
            elif _is(folder / "result.json", "complete"):
                continue  # has ended since the runs were listed
            elif state.status in ("failed", "interrupted", "running or interrupted") and _readable(folder):
                yield Litter(
                    folder,
                    folder,
                    "failed: " + state.detail if state.status == "failed" else "unfinished, " + state.detail,
                    _size(folder),
                )


def _readable(folder: Path) -> bool:
    """Whether this version of attnae can read the run's result, if there is one, and set none aside that it could not read."""
    if any(folder.glob("result-*.json")):
        return False
    with contextlib.suppress(UserError):
        if (folder / "result.json").exists():
            result.read_result(folder / "result.json")
        return True
    return False


def _failed_reports(reports: Path) -> Iterator[Litter]:
    """Reports with only failed runs, which contain no metrics."""
    for page in sorted(reports.glob("*/*/README.md")):
        records = [*page.parent.rglob("runs/*.json"), *page.parent.rglob("runs/superseded/*.json")]
        if records and all(_is(record, "failed") for record in records):
            yield Litter(page.parent, page.parent, "report with only failed runs", _size(page.parent))


def _is(record: Path, status: str) -> bool:
    """Whether a result can be read and has this status."""
    with contextlib.suppress(UserError):
        return record.exists() and result.read_result(record).status == status
    return False


def _remove(one: Litter, roots: set[Path]) -> bool:
    """Removes it and empty parent folders, unless another runner has locked the run."""
    with _held(one.run) as free:
        if not free or (one.path == one.run and _is(one.run / "result.json", "complete")):
            return False
        shutil.rmtree(one.path, ignore_errors=True)
    for above in one.path.parents:
        if absolute(str(above)) in roots or one.path != one.run:
            break
        with contextlib.suppress(OSError):  # not empty
            above.rmdir()
    return not one.path.exists()


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Acquires the run's lock; yields whether that succeeded. A run without a lock file is free."""
    if not (folder / ".lock").exists():
        yield True
        return
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
