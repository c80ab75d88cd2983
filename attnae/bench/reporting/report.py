"""Builds reports from results. Text and CSV are pure functions of the result files and the benchmark file."""

from __future__ import annotations

import csv
import io
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from attnae import result
from attnae.bench import catalog, sharing, store
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.reporting import findings, grid_page, overview, page
from attnae.bench.reporting.archive import Archive
from attnae.bench.reporting.material import Loaded, Report
from attnae.bench.sharing import Table
from attnae.errors import UserError
from attnae.files import write_text
from attnae.paths import shown
from attnae.result import Record, Result


def build(found: list[Record], reports: Path) -> list[Path]:
    """Writes a report for each table of the results, including results kept by existing reports with the same labels.

    Args:
        found: Folders and results.
        reports: Folder of all reports.

    Returns:
        The reports' ``README.md``.

    Raises:
        UserError: A folder cannot be written to.
    """
    prepare(reports)
    made = tables(found, reports)
    archive = Archive(reports, made)
    pages = [_write(table, archive) for table in made]
    archive.tidy()
    from attnae.bench.reporting import effects  # matplotlib is slow to import

    try:
        stored, benchmarks = _stored(reports), _benchmarks()
        effects.draw(benchmarks, stored, reports / effects.NAME)
        _refresh(reports, stored, benchmarks)
    except UserError as error:  # another report is damaged; these are complete
        print(f"The pages about all reports were not updated: {error}", file=sys.stderr)
    return pages


def _shared(reports: Path, stored: list[Report], benchmarks: list[Benchmark]) -> dict[Path, str]:
    """Pages about several reports: the overview, the findings, and the project's README next to the reports folder."""
    pages = {reports / "README.md": overview.page(stored, benchmarks)}
    if (text := reports / findings.NAME).is_file():
        try:
            pages[text] = findings.refresh(text.read_text(encoding="utf-8"), stored, benchmarks)
        except UnicodeDecodeError as error:
            raise UserError(f"{text} is not UTF-8. Save it as such.") from error
    pages |= {path: grid_page.refreshed(path, stored) for path in sorted(reports.glob(grid_page.PATTERN))}
    readme = reports.parent / "README.md"  # the project's README, if it has markers for the answers
    if (wanted := overview.insert(readme, overview.brief(stored, benchmarks, f"{reports.name}/"))) is not None:
        pages[readme] = wanted
    return pages


def current(found: list[Record], reports: Path) -> bool:
    """Whether the reports of the results exist and are up to date, because redrawing the figures is slow."""
    for table in tables(found, reports):
        folder = reports / table.benchmark / table.label
        kept = {(one.variant, one.seed): one for _, one in store.scan(folder)[0]}
        if kept != {(one.variant, one.seed): one for _, one in table.records}:
            return False
        made, _ = loaded(table, reports)  # by the benchmark file as it is now
        if not _holds(folder / "README.md", page.text(made)) or not _holds(
            folder / "results.csv", csv_text(made.compared)
        ):
            return False
    return bool(found) and (reports / "README.md").is_file()


def _holds(path: Path, content: str) -> bool:
    """Whether a file has this content."""
    return path.is_file() and path.read_bytes() == content.encode()


def tables(found: list[Record], reports: Path) -> list[Table]:
    """Tables of results of known benchmarks, and of the results kept by existing reports with the same labels."""
    known = catalog.names()
    found = [record for record in found if record[1].benchmark in known]
    labels = {(one.benchmark, one.label) for _, one in found}
    kept = [
        record
        for benchmark in sorted({name for name, _ in labels})
        for record in store.scan(reports / benchmark)[0]
        if (record[1].benchmark, record[1].label) in labels
    ]
    return sharing.tables([*found, *kept])


def refresh(reports: Path) -> None:
    """Rewrites the pages about several reports where they differ."""
    _refresh(reports, _stored(reports), _benchmarks())


def _refresh(reports: Path, stored: list[Report], benchmarks: list[Benchmark]) -> None:
    for path, content in _shared(reports, stored, benchmarks).items():
        if not _holds(path, content):
            write_text(path, content)


def prepare(reports: Path) -> None:
    """Creates the reports folder before any run starts.

    Raises:
        UserError: It cannot be created or written to, or has a page of the user's own where the overview will be.
    """
    overview_page = reports / "README.md"
    if overview_page.is_file() and not overview_page.read_bytes().startswith((b"# Results", b"# Published figures")):
        raise UserError(
            f"{shown(overview_page)} was not written by attnae. Move it, or choose another folder with --reports."
        )
    try:
        reports.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=reports):
            pass
    except OSError as error:
        raise UserError(
            f"Cannot write to {shown(reports)}: {error.strerror}. Choose another folder with --reports."
        ) from error


def loaded(table: Table, reports: Path) -> Loaded:
    """A table's report and the folders of its results. Its benchmark must exist."""
    benchmark = catalog.load(table.benchmark)
    results = _ordered(benchmark, [one for _, one in table.records])
    report = Report(benchmark, table.label, results, reports / table.benchmark / table.label, table.beside)
    return report, {(one.variant, one.seed): folder for folder, one in table.records}


def _write(table: Table, archive: Archive) -> Path:
    from attnae.bench.reporting import figures  # matplotlib is slow to import

    report, folders = loaded(table, archive.reports)
    folder = archive.folder(table)
    if sharing.reason(store.scan(folder)[0], table.records):  # figures that cannot be redrawn would show other runs
        shutil.rmtree(folder / "figures", ignore_errors=True)
    figures.draw(report, folders, folder / "figures")
    archive.keep(table)
    catalog.keep(report.benchmark, archive.reports)
    write_text(folder / "results.csv", csv_text(report.compared))
    write_text(folder / "README.md", page.text(report))
    return folder / "README.md"


def check(reports: Path) -> list[str]:
    """Compares every report below a folder with the report generated from its own ``runs/*.json``.

    Args:
        reports: Folder of all reports; a README next to it that contains the overview is compared as well.

    Returns:
        One line for each difference.

    Raises:
        UserError: A result file cannot be read.
    """
    if not reports.is_dir():
        raise UserError(f"There is no folder {shown(reports)}. Name the folder given as --reports.")
    stored = _stored(reports)
    if not stored:
        raise UserError(f"No reports of a known benchmark below {shown(reports)}. Name the folder given as --reports.")
    expected = {}
    for report in stored:
        folder = reports / report.benchmark.name / report.label
        expected[folder / "README.md"] = page.text(report)
        expected[folder / "results.csv"] = csv_text(report.compared)
    expected |= _shared(reports, stored, _benchmarks())
    return [
        f"{shown(path)} differs from its result files. Regenerate it with `attnae-bench report`."
        for path, content in expected.items()
        if not _holds(path, content)
    ]


def _stored(reports: Path) -> list[Report]:
    """Every report below a folder."""
    folders = sorted({path.parent.parent for path in reports.glob("*/*/runs/*.json")})
    for folder in folders:
        catalog.adopt(folder.parent.name, folder)
    loaded = [(catalog.load(folder.parent.name), folder) for folder in folders if folder.parent.name in catalog.names()]
    found = [
        Report(benchmark, folder.name,
               _ordered(benchmark, map(result.read_result, sorted((folder / "runs").glob("*.json")))), folder)
        for benchmark, folder in loaded
    ]  # fmt: skip
    return [replace(report, beside=_beside(report, found)) for report in found]


def _beside(report: Report, stored: list[Report]) -> dict[str, str]:
    """Labels of other reports whose results have the same label, and why they are separate."""
    own = [(Path(), one) for one in report.results]
    return {
        other.label: sharing.reason(own, [(Path(), one) for one in other.results])
        for other in stored
        if other.benchmark.name == report.benchmark.name
        and other.label != report.label
        and other.results
        and report.results
        and other.results[0].label == report.results[0].label
    }


def _benchmarks() -> list[Benchmark]:
    return [catalog.load(name) for name in catalog.names()]


def _ordered(benchmark: Benchmark, results: Iterable[Result]) -> list[Result]:
    order = {name: place for place, name in enumerate(benchmark.variants)}
    return sorted(results, key=lambda r: (order.get(r.variant, len(order)), r.variant, r.seed))


def csv_text(results: list[Result]) -> str:
    """CSV text with one row per run and one column per metric or cost."""
    keys = sorted(
        {f"metrics/{key}" for r in results for key in r.metrics}
        | {f"efficiency/{key}" for r in results for key in r.efficiency}
    )
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["variant", "seed", "status", "reason", *(key.split("/", 1)[1] for key in keys)])
    for r in results:
        numbers = {f"metrics/{k}": v for k, v in r.metrics.items()} | {
            f"efficiency/{k}": v for k, v in r.efficiency.items()
        }
        writer.writerow([r.variant, r.seed, r.status, r.reason, *(numbers.get(key, "") for key in keys)])
    return stream.getvalue()
