"""``attnae-bench report``: regenerates reports from result files, or checks them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from attnae.bench import catalog, store
from attnae.bench.commands.arguments import Subparsers, path
from attnae.paths import shown


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("report", help="regenerate reports from the result files below a folder")
    parser.add_argument(
        "folder",
        type=path,
        nargs="?",
        metavar="DIR",
        help="folder of the runs (default runs); with --check, folder of the reports (default reports)",
    )
    parser.add_argument(
        "--reports", type=path, default="reports", metavar="DIR", help="folder of the reports; default reports"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; fail if a report differs from its result files",
    )
    parser.add_argument(
        "--format",
        choices=("markdown", "html", "latex", "csv"),
        default="markdown",
        help="write another format beside the pages: html: report.html, one self-contained file to explore; latex: results.tex, "
        "the leading metrics; csv: claims.csv, the verdicts",
    )
    parser.add_argument(
        "--figures", choices=("png", "pdf"), default="png", help="pdf: also write the figures as PDF; default: png"
    )
    parser.set_defaults(handler=report)


def report(options: argparse.Namespace) -> int:
    """``attnae-bench report``."""
    from attnae.bench.reporting import report as pages

    if options.check:
        folder = options.folder or options.reports
        problems = pages.check(folder)
        for problem in problems:
            print(problem, file=sys.stderr)
        if not problems:
            print(f"All reports below {shown(folder)} agree with their result files.")
        return 1 if problems else 0
    # Without a folder, includes results kept by reports, whose run folders may be elsewhere.
    found = store.results(*([options.folder] if options.folder else [Path("runs"), options.reports]))
    for folder, one in found:
        if one.benchmark not in catalog.names():
            print(f"Left out: {shown(folder)}: there is no benchmark {one.benchmark!r}.", file=sys.stderr)
    from attnae.bench.reporting.pictures.style import vector_graphics

    with vector_graphics(options.figures == "pdf"):
        made = pages.build(found, options.reports)
    for page in made:
        print(shown(page))
    if options.format == "markdown":
        return 0
    from attnae.bench.reporting import formats

    for table in pages.tables(found, options.reports):
        for file in formats.write(options.format, *pages.loaded(table, options.reports)):
            print(shown(file))
    return 0
