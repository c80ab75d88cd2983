"""Reports in other formats than Markdown, on request."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from attnae.bench.reporting import flat, latex
from attnae.bench.reporting.material import Folders, Report
from attnae.files import write_text


def write(name: str, report: Report, folders: Folders) -> list[Path]:
    """Writes a report in another format next to its page.

    Args:
        name: ``latex`` or ``csv``.
        report: The report; its folder exists.
        folders: Folders of its results.

    Returns:
        The files.
    """
    assert report.folder
    path = report.folder / {"latex": "results.tex", "csv": "claims.csv"}[name]
    write_text(path, latex.table(report) if name == "latex" else _claims(report))
    return [report.folder / "results.csv", path] if name == "csv" else [path]


def _claims(report: Report) -> str:
    stream = io.StringIO()
    if rows := flat.claims(report):
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return stream.getvalue()
