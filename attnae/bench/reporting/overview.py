"""The leaderboard of all reports and every published figure, ``reports/README.md``; the former in the project's README, too."""

from __future__ import annotations

from pathlib import Path

from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.markdown import escape, table
from attnae.bench.reporting import evidence, statistics
from attnae.bench.reporting.cells import cell, heading, kind_of, title_of
from attnae.bench.reporting.evidence import Report
from attnae.bench.reporting.statistics import tolerance
from attnae.metrics.columns import COSTS
from attnae.result import Result

BEGIN, END = "<!-- results -->", "<!-- /results -->"


def text(reports: list[Report], prefix: str = "", brief: bool = False) -> str:
    """Leading numbers of every report that is evidence, each benchmark's best evidence first.

    Args:
        reports: Benchmark, label and results of each.
        prefix: Path of the reports' folder as seen from the file that holds the text.
        brief: Only links to a benchmark's further reports.
    """
    blocks = []
    for benchmark in {benchmark.name: benchmark for benchmark, _, _ in reports}.values():
        links = []
        for place, (label, runs) in enumerate(evidence.ranked(benchmark, reports)):
            link = f"[{escape(benchmark.title)}: {escape(kind_of(runs))}]({prefix}{benchmark.name}/{label}/README.md)"
            if brief and place:
                links.append(link)
            else:
                blocks.append(f"**{link}**\n\n{_leading(benchmark, runs)}")
        if links:
            blocks.append("Further: " + "; ".join(links) + ".")
    return "\n\n".join(blocks) or "No results yet."


def _leading(benchmark: Benchmark, runs: list[Result]) -> str:
    keys = [*benchmark.leading, *COSTS]
    rows = {name: [r for r in runs if r.variant == name] for name in dict.fromkeys(r.variant for r in runs)}
    body = [
        [title_of(benchmark, name), *(cell(statistics.summary(own, key), key) for key in keys)]
        for name, own in rows.items()
    ]
    return table(["variant", *(heading(key) for key in keys)], body)


def page(reports: list[Report], benchmarks: list[Benchmark]) -> str:
    """The overview as a file of its own: the leaderboard, and every published figure with its state.

    Args:
        reports: Benchmark, label and results of each.
        benchmarks: All benchmarks, also those without a report.
    """
    lead = "The leading numbers of every report, without demonstrations on embedded images. Written by `attnae-bench`."
    share = f"{evidence.SHARE:.0%} of it ({tolerance('psnr_mean', 0, evidence.SHARE):.2f} dB)"
    note = (
        "Every claim and every number of the papers beside the best of our reports that says something about it: official "
        "data before other data, the published schedule before a shorter one, no settings of our own before some, then the "
        "most seeds. The report's data and "
        "schedule are part of the verdict. Claims are decided by the 95% interval over seeds; a number without a claim is "
        f"reproduced where that whole interval is within {share}. Demonstrations on embedded images count as not run. "
        "Published training curves are in the reports."
    )
    return (
        f"# Results\n\n{lead}\n\n{text(reports)}\n\n"
        f"# Published figures\n\n{note}\n\n{evidence.text(benchmarks, reports)}\n"
    )


def insert(readme: Path, overview: str) -> str | None:
    """The project's README with the overview between its markers; ``None`` if it has none."""
    page = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if BEGIN not in page or END not in page:
        return None
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{overview}\n{END}{rest.split(END, 1)[1]}"
