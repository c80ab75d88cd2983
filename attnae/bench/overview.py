"""The leaderboard of all reports, ``reports/README.md``, and the same table in the project's README."""

from __future__ import annotations

from pathlib import Path

from attnae.bench import statistics
from attnae.bench.catalog import Benchmark
from attnae.bench.markdown import escape, table
from attnae.bench.page import cell, heading, kind_of, title_of
from attnae.result import Result

BEGIN, END = "<!-- results -->", "<!-- /results -->"


def text(reports: list[tuple[Benchmark, str, list[Result]]], prefix: str = "") -> str:
    """Leading numbers of every report.

    Args:
        reports: Benchmark, label and results of each.
        prefix: Path of the reports' folder as seen from the file that holds the text.
    """
    blocks = []
    for benchmark, label, results in reports:
        done = [r for r in results if r.status == "complete"]
        if not done or done[0].data.get("kind") == "embedded":  # a demonstration is no result
            continue
        keys = [
            f"{spec['protocol']}/{name}"
            for spec in benchmark.tables
            for name in spec["columns"][: spec.get("leading", 2)]
        ]
        keys += ["params_trainable", "gflops_forward", "seconds_per_epoch"]
        header = ["variant", *(heading(key) for key in keys)]
        body = [
            [
                title_of(benchmark, name),
                *(cell(statistics.summary([r for r in done if r.variant == name], k), k) for k in keys),
            ]
            for name in dict.fromkeys(r.variant for r in done)
        ]
        link = f"[{escape(benchmark.title)}: {escape(kind_of(done))}]({prefix}{benchmark.name}/{label}/README.md)"
        blocks.append(f"**{link}**\n\n{table(header, body)}")
    return "\n\n".join(blocks) or "No results yet."


def page(reports: list[tuple[Benchmark, str, list[Result]]]) -> str:
    """The overview as a file of its own."""
    lead = "The leading numbers of every report, without demonstrations on embedded images. Written by `attnae-bench`."
    return f"# Results\n\n{lead}\n\n{text(reports)}\n"


def insert(readme: Path, overview: str) -> str | None:
    """The project's README with the overview between its markers; ``None`` if it has none."""
    page = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if BEGIN not in page or END not in page:
        return None
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{overview}\n{END}{rest.split(END, 1)[1]}"
