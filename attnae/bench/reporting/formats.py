"""Reports in other formats than Markdown, on request."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from attnae.bench.reporting import flat, latex
from attnae.bench.reporting.html import page
from attnae.bench.reporting.material import Folders, Report
from attnae.files import write_text


def write(name: str, report: Report, folders: Folders) -> list[Path]:
    """Writes a report in another format next to its page.

    Args:
        name: ``html``, ``latex`` or ``csv``.
        report: The report; its folder exists.
        folders: Folders of its results.

    Returns:
        The files.

    Raises:
        UserError: A package that the format needs is not installed.
    """
    assert report.folder
    file, text = {
        "html": ("report.html", lambda: page.text(report, folders)),
        "latex": ("results.tex", lambda: latex.table(report)),
        "csv": ("claims.csv", lambda: _claims(report)),
    }[name]
    write_text(report.folder / file, text())
    return [report.folder / file]


def _claims(report: Report) -> str:
    stream = io.StringIO()
    if rows := flat.claims(report):
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return stream.getvalue()
