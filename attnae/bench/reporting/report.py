"""Results to a report: text and CSV are a pure function of the result files and the benchmark file."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path

from attnae import result
from attnae.bench import catalog, sharing, store
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.reporting import findings, overview, page
from attnae.bench.reporting.archive import Archive
from attnae.bench.reporting.evidence import Report
from attnae.bench.sharing import Table
from attnae.errors import UserError
from attnae.files import write_text
from attnae.result import Record, Result


def build(found: list[Record], reports: Path) -> list[Path]:
    """Writes a report for each table of the results, together with what the reports of their labels have kept.

    Args:
        found: Folders and results.
        reports: Folder of all reports.

    Returns:
        The reports' ``README.md``.

    Raises:
        UserError: A folder cannot be written to.
    """
    prepare(reports)
    made = [table for table in tables(found, reports) if table.benchmark in catalog.names()]
    archive = Archive(reports, made)
    pages = [_write(catalog.load(table.benchmark), table, archive) for table in made]
    archive.tidy()
    from attnae.bench.reporting import effects  # matplotlib is slow to import

    stored, benchmarks = _stored(reports), _benchmarks()
    effects.draw(benchmarks, stored, reports / effects.NAME)
    write_text(reports / "README.md", overview.page(stored, benchmarks))
    if (text := reports / findings.NAME).is_file():
        write_text(text, findings.refresh(text.read_text(encoding="utf-8"), stored))
    readme = reports.parent / "README.md"  # of the project, where it shows the overview between markers
    wanted = overview.insert(readme, overview.text(stored, f"{reports.name}/", brief=True))
    if wanted is not None and wanted != readme.read_text(encoding="utf-8"):
        write_text(readme, wanted)
    return pages


def current(found: list[Record], reports: Path) -> bool:
    """Whether all reports of the results stand and show just these: drawing them again takes longer than all the rest."""
    for table in tables(found, reports):
        folder = reports / table.benchmark / table.label
        kept = {(one.variant, one.seed): one for _, one in store.scan(folder)[0]}
        if not (folder / "README.md").exists() or kept != {(one.variant, one.seed): one for _, one in table.records}:
            return False
    return bool(found)


def tables(found: list[Record], reports: Path) -> list[Table]:
    """Tables of some results and of all that the reports of their labels have kept."""
    labels = {(one.benchmark, one.label) for _, one in found}
    kept = [
        record
        for benchmark in sorted({name for name, _ in labels})
        for record in store.scan(reports / benchmark)[0]
        if (record[1].benchmark, record[1].label) in labels
    ]
    return sharing.tables([*found, *kept])


def prepare(reports: Path) -> None:
    """Makes the folder of the reports, before anything is computed for it.

    Raises:
        UserError: It cannot be made or written to.
    """
    try:
        reports.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=reports):
            pass
    except OSError as error:
        raise UserError(
            f"Cannot write to {reports}: {error.strerror}. Choose another folder with --reports."
        ) from error


def _write(benchmark: Benchmark, table: Table, archive: Archive) -> Path:
    from attnae.bench.reporting import figures  # matplotlib is slow to import

    folder = archive.folder(table)
    results = _ordered(benchmark, [one for _, one in table.records])
    drawn = figures.draw(
        benchmark, results, {(r.variant, r.seed): path for path, r in table.records}, folder / "figures"
    )
    archive.keep(table)
    write_text(folder / "results.csv", csv_text(results))
    write_text(folder / "README.md", page.text(benchmark, results, drawn, table.beside))
    return folder / "README.md"


def check(reports: Path) -> list[str]:
    """Compares every report below a folder with what its own ``runs/*.json`` give.

    Args:
        reports: Folder of all reports; a README beside it that shows the overview is compared, too.

    Returns:
        One line for each difference.

    Raises:
        UserError: A result file cannot be read.
    """
    if not reports.is_dir():
        raise UserError(f"There is no folder {reports}.")
    stored = _stored(reports)
    expected = {}
    for benchmark, label, results in stored:
        folder = reports / benchmark.name / label
        figures = sorted(path.name for path in (folder / "figures").glob("*.png"))
        expected[folder / "README.md"] = page.text(
            benchmark, results, figures, _beside(benchmark, label, results, stored)
        )
        expected[folder / "results.csv"] = csv_text(results)
    if stored:
        expected[reports / "README.md"] = overview.page(stored, _benchmarks())
    if (text := reports / findings.NAME).is_file():
        expected[text] = findings.refresh(text.read_text(encoding="utf-8"), stored)
    readme = reports.parent / "README.md"
    if (wanted := overview.insert(readme, overview.text(stored, f"{reports.name}/", brief=True))) is not None:
        expected[readme] = wanted
    return [
        f"{path} differs from what the result files give. Write it again with `attnae-bench report`."
        for path, content in expected.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != content
    ]


def _stored(reports: Path) -> list[Report]:
    """Benchmark, label and results of every report below a folder."""
    folders = sorted({path.parent.parent for path in reports.glob("*/*/runs/*.json")})
    loaded = [(catalog.load(folder.parent.name), folder) for folder in folders if folder.parent.name in catalog.names()]
    return [
        (benchmark, folder.name, _ordered(benchmark, map(result.read_result, sorted((folder / "runs").glob("*.json")))))
        for benchmark, folder in loaded
    ]


def _beside(benchmark: Benchmark, label: str, results: list[Result], stored: list[Report]) -> dict[str, str]:
    """Labels of the reports whose results have the same label as these, and why they stand apart."""
    own = [(Path(), one) for one in results]
    return {
        other: sharing.reason(own, [(Path(), one) for one in others])
        for of, other, others in stored
        if of.name == benchmark.name and other != label and others and results and others[0].label == results[0].label
    }


def _benchmarks() -> list[Benchmark]:
    return [catalog.load(name) for name in catalog.names()]


def _ordered(benchmark: Benchmark, results: Iterable[Result]) -> list[Result]:
    order = {name: place for place, name in enumerate(benchmark.variants)}
    return sorted(results, key=lambda r: (order.get(r.variant, len(order)), r.variant, r.seed))


def csv_text(results: list[Result]) -> str:
    """One row for each run, one column for each number, as plain text."""
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
