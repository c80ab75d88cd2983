"""``reports/<benchmark>/grid-<profile>-<keys>.md``: whether the conclusions change over the values of a grid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from attnae.bench import labels
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.markdown import escape, table
from attnae.bench.reporting.judgment import NOT_RUN
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.page import claim_cells
from attnae.errors import UserError
from attnae.files import write_text
from attnae.result import label_part

BEGIN, END = "<!-- grid ", " -->"
"""Around the labels of the reports by point, as JSON in the first line, from which the page can be written again."""

PATTERN = "*/grid-*.md"


def record(benchmark: Benchmark, profile: str, keys: Sequence[str], found: Mapping[str, str], reports: Path) -> Path:
    """Notes the reports of a grid in its page, together with those of earlier points.

    Args:
        benchmark: The benchmark.
        profile: The profile.
        keys: The keys of the grid.
        found: Labels of reports by point, such as ``{"lr=0.001": "short-lr=0.001"}``.
        reports: Folder of all reports.

    Returns:
        The page; :func:`refreshed` fills it.
    """
    name = label_part("-".join(["grid", profile, *map(labels.short, keys)]))
    path = reports / benchmark.name / f"{name}.md"
    known = _points(path.read_text(encoding="utf-8"), path) if path.is_file() else {}
    write_text(path, f"{BEGIN}{json.dumps(known | dict(found))}{END}\n")
    return path


def refreshed(path: Path, stored: Sequence[Report]) -> str:
    """The page as it follows from the reports that exist.

    Raises:
        UserError: Its first line is damaged.
    """
    text = path.read_text(encoding="utf-8")
    head, points = text.split("\n", 1)[0], _points(text, path)
    by_label = {report.label: report for report in stored if report.benchmark.name == path.parent.name}
    found = {point: by_label[label] for point, label in points.items() if label in by_label}
    if not found:
        return f"{head}\n"
    benchmark = next(iter(found.values())).benchmark
    verdicts: dict[int, dict[str, str]] = {}
    rows = []
    for claim in range(len(benchmark.claims)):
        title = f"{claim + 1}. {escape(benchmark.claims[claim].claim)}"
        for point, report in found.items():
            one = report.judged[claim]
            if one.judgment.direction == NOT_RUN:
                continue
            verdicts.setdefault(claim, {})[point] = one.judgment.direction
            rows.append([title, f"[{escape(point)}]({report.label}/README.md)", *claim_cells(one)[1:]])
            title = ""
    lines = [f"- {escape(benchmark.claims[claim].claim)}: {_conclusion(known)}." for claim, known in verdicts.items()]
    blocks = [
        f"{head}\n\n# {escape(benchmark.title)}: does the conclusion change?",
        "\n".join(lines) or "No claim was tested.",
        table(["claim", "at", "ours", "n", "verdict"], rows) if rows else "",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def conclusions(path: Path) -> list[str]:
    """One sentence per claim from a page, for the terminal."""
    return [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("- ")]


def _conclusion(verdicts: Mapping[str, str]) -> str:
    """``holds at all 3 points``, or ``holds at lr=0.001; undecided at lr=0.002``."""
    groups: dict[str, list[str]] = {}
    for point, verdict in verdicts.items():
        groups.setdefault(verdict, []).append(escape(point))
    if len(groups) == 1:
        return f"{next(iter(groups))} at {'all ' if len(verdicts) > 1 else ''}{len(verdicts)} point{'s' * (len(verdicts) > 1)}"
    return "**changes**: " + "; ".join(f"{verdict} at {', '.join(points)}" for verdict, points in groups.items())


def _points(text: str, path: Path) -> dict[str, str]:
    head = text.split("\n", 1)[0]
    try:
        found = json.loads(head.removeprefix(BEGIN).removesuffix(END))
        if head.startswith(BEGIN) and all(isinstance(word, str) for pair in found.items() for word in pair):
            return dict(found)
    except (ValueError, AttributeError):
        pass
    raise UserError(f"{path}: the first line is damaged. Delete the file and rerun `attnae-bench run` with --grid.")
