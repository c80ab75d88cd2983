"""The ``runs/`` folders of reports: results and per-image metrics, kept permanently because run folders may be deleted."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attnae import result
from attnae.bench import catalog
from attnae.bench.identity import short_hash
from attnae.bench.reporting import images
from attnae.bench.reporting.claims import single_seeds
from attnae.bench.reporting.material import Report
from attnae.bench.sharing import Table, began
from attnae.errors import UserError
from attnae.files import atomic
from attnae.paths import shown
from attnae.result import Result

SUPERSEDED = "superseded"
"""Folder below ``runs/`` for results that were replaced by a later one of the same variant and seed."""


class Archive:
    """Keeps the results of tables in the folders of their reports. Never deletes the only copy of a result.

    Args:
        reports: Folder of all reports.
        tables: All tables of the affected benchmarks and labels.
    """

    def __init__(self, reports: Path, tables: list[Table]):
        self.reports, self.tables = reports, tables
        self.shown = [one for table in tables for _, one in table.records]
        self.written: dict[Path, Result] = {}
        self.moving: list[tuple[Path, Result]] = []  # copies of results until they are written to their new places
        # All are read before any is written, because a result can move to the place of another.
        self.arrays = {path: arrays for table in tables for path, arrays in self._arrays(table)}

    def folder(self, table: Table) -> Path:
        """Folder of a table's report."""
        return self.reports / table.benchmark / table.label

    def keep(self, table: Table) -> None:
        """Writes the results of a table, and per-image metrics if a claim rests on one seed."""
        for _, one in table.records:
            path = self._path(table, one)
            if path.exists():
                self._save(path, one)
            to = path.with_name(images.per_image_name(one.variant, one.seed))
            if _read(path) != one:
                to.unlink(missing_ok=True)  # of another run
            result.write(one, path)
            self.written[path] = one
            arrays = self.arrays.get(path)
            if arrays is not None and not (to.is_file() and to.read_bytes() == arrays):
                with atomic(to) as temporary:
                    temporary.write_bytes(arrays)

    def _path(self, table: Table, one: Result) -> Path:
        return self.folder(table) / "runs" / f"{one.variant}-seed{one.seed}.json"

    def _arrays(self, table: Table) -> Iterator[tuple[Path, bytes]]:
        """Per-image metrics to keep, by the path of the result."""
        report = Report(catalog.load(table.benchmark), table.label, [one for _, one in table.records])
        wanted = single_seeds(report.benchmark, report.rows)
        for folder, one in table.records:
            keys = wanted.get((one.variant, one.seed))
            if keys and (arrays := _selected(images.file(folder, one), keys)):
                yield self._path(table, one), arrays

    def tidy(self) -> None:
        """Removes files whose results are now in another table, and sets aside those that are in no table."""
        for table in self.tables:
            for path in sorted((self.folder(table) / "runs").glob("*.json")):
                if path not in self.written and (old := _read(path)) and (old.benchmark, old.label) in self._labels():
                    self._save(path, None)
                    path.unlink(missing_ok=True)
                    path.with_suffix(".npz").unlink(missing_ok=True)
        for copy, one in self.moving:
            if self._placed(one):
                copy.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not empty
                    copy.parent.rmdir()

    def _labels(self) -> set[tuple[str, str]]:
        return {(one.benchmark, one.label) for one in self.shown}

    def _save(self, path: Path, new: Result | None) -> None:
        """Copies a file before it is replaced or removed, unless its result is kept elsewhere or included in the new one."""
        old = _read(path)
        if old is not None and (
            old == new or old.status == "failed" or (new and _continues(old, new)) or self._placed(old)
        ):
            return
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        target = path.parent / SUPERSEDED / f"{path.stem}-{short_hash(text)}.json"
        target.parent.mkdir(exist_ok=True)
        with atomic(target) as temporary:
            temporary.write_bytes(path.read_bytes())
        if old is not None and old in self.shown:
            self.moving.append((target, old))

    def _placed(self, one: Result) -> bool:
        """Whether a result has been written to a report."""
        return one in self.written.values()


def _selected(source: Path, keys: set[str]) -> bytes | None:
    """A file with the arrays of some metrics of a run in single precision; ``None`` if the run has none.

    Raises:
        UserError: The run's file is damaged or contains pickled objects.
    """
    if not source.is_file():
        return None
    wanted = {f"{protocol}/{images.ARRAYS[name]}" for key in keys for protocol, _, name in [key.rpartition("/")]
              if name in images.ARRAYS}  # fmt: skip
    try:
        with np.load(source, allow_pickle=False) as arrays:
            kept = {name: np.asarray(arrays[name], dtype=np.float32) for name in sorted(wanted & set(arrays.files))}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise UserError(
            f"Cannot read {shown(source)}: it is damaged or contains pickled objects. Delete it, then rerun with --retest."
        ) from error
    if not kept:
        return None
    stream = io.BytesIO()
    with zipfile.ZipFile(
        stream, "w", zipfile.ZIP_DEFLATED
    ) as archive:  # without timestamps, so equal values give equal bytes
        for name, values in kept.items():
            array = io.BytesIO()
            np.save(array, values, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue(), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _read(path: Path) -> Result | None:
    try:
        return result.read_result(path)
    except UserError:
        return None


def _continues(old: Result, new: Result) -> bool:
    """Whether a result is a retest of the same training and has all metrics of the earlier result."""
    return began(old) == began(new) != "" and old.metrics.keys() <= new.metrics.keys()
