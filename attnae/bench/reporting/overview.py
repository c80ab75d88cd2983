"""``reports/README.md``: the answer and claims of each benchmark; also the summary in the project's README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.markdown import escape, table
from attnae.bench.reporting import answer, evidence
from attnae.bench.reporting.cells import kind_of
from attnae.bench.reporting.evidence import Verdict
from attnae.bench.reporting.judgment import HOLDS, NO_DIFFERENCE, NOT_COMPARABLE, NOT_RUN, ONE_SEED, OPPOSITE, UNDECIDED
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.page import claim_cells

BEGIN, END = "<!-- results -->", "<!-- /results -->"

STATES = (HOLDS, OPPOSITE, NO_DIFFERENCE, UNDECIDED, ONE_SEED, NOT_COMPARABLE, NOT_RUN)


def brief(reports: Sequence[Report], benchmarks: Sequence[Benchmark], prefix: str) -> str:
    """One line for each benchmark with a report: its answer, the other primary claims, and a link.

    Args:
        reports: All reports; demonstrations are ignored.
        benchmarks: All benchmarks.
        prefix: Path of the reports folder relative to the file that contains the text.
    """
    lines = [
        f"- **[{escape(benchmark.title)}]({prefix}{_path(first)})**: {' '.join(answer.sentences(first)[:2])}"
        for benchmark in benchmarks
        for first in evidence.ranked(benchmark, reports)[:1]
    ]
    if not lines:
        return "No results yet."
    waiting = [f"`{benchmark.name}`" for benchmark in benchmarks if not evidence.ranked(benchmark, reports)]
    rest = f" Not run yet: {', '.join(waiting)}." if waiting else ""
    return "\n".join(lines) + f"\n\nAll verdicts: [reports]({prefix}README.md).{rest}"


def page(reports: Sequence[Report], benchmarks: Sequence[Benchmark]) -> str:
    """The overview: the number of claims by verdict, then each benchmark's answer, verdicts and reports.

    Args:
        reports: All reports; demonstrations are ignored.
        benchmarks: All benchmarks, including those without a report.
    """
    verdicts = {benchmark.name: evidence.verdicts(benchmark, reports) for benchmark in benchmarks}
    states = Counter(one.judged.judgment.direction for found in verdicts.values() for one in found)
    decided = ", ".join(f"{state} {states[state]}" for state in STATES if states[state])
    body = []
    for benchmark in benchmarks:
        counts = Counter(one.judged.judgment.direction for one in verdicts[benchmark.name])
        body.append(
            [f"[{escape(benchmark.title)}](#{benchmark.name})", *(str(counts[state] or "-") for state in STATES)]
        )
    note = (
        f"{sum(states.values())} claims in {len(benchmarks)} benchmarks; verdicts: {decided or 'none'}. "
        "Each verdict comes from the strongest report that tests the claim: official data first, then at least half of the "
        "schedule, the profile closest to the paper, records of the current format before converted ones, fewer modified "
        "settings (apart from the precision), more epochs, and more seeds. Demonstrations do not count."
    )
    blocks = ["# Results", note, table(["benchmark", *STATES], body)]
    for benchmark in benchmarks:
        blocks += _benchmark(benchmark, evidence.ranked(benchmark, reports), verdicts[benchmark.name])
    return "\n\n".join(blocks) + "\n"


def _benchmark(benchmark: Benchmark, ranked: list[Report], verdicts: list[Verdict]) -> list[str]:
    blocks = [f'<a id="{benchmark.name}"></a>', f"## {escape(benchmark.title)}"]
    if not ranked:
        return [*blocks, f"{escape(benchmark.question)} No runs yet. Start with `attnae-bench run {benchmark.name}`."]
    blocks.append(" ".join(answer.sentences(ranked[0])))
    places = {id(report): place for place, report in enumerate(ranked, 1)}
    body = [
        [f"{one.judged.number}. {escape(one.judged.claim.claim)}", *claim_cells(one.judged)[1:],
         str(places[id(one.report)]) if one.report else "-"]
        for one in verdicts
    ]  # fmt: skip
    blocks += [table(["claim", "ours", "n", "verdict", "report"], body)] if body else []
    blocks.append("\n".join(f"{place}. [{escape(report.label)}]({_path(report)}): {escape(kind_of(report.done))}."
                            for place, report in enumerate(ranked, 1)))  # fmt: skip
    return blocks


def _path(report: Report) -> str:
    return f"{report.benchmark.name}/{report.label}/README.md"


def insert(readme: Path, overview: str) -> str | None:
    """The project's README with the overview inserted between its markers; ``None`` if it has no markers, or is not UTF-8."""
    try:
        page = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    except UnicodeDecodeError:
        return None
    if not -1 < page.find(BEGIN) < page.find(END):
        return None
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{overview}\n{END}{rest.split(END, 1)[1]}"
