"""``reports/<benchmark>/grid-<label>-<keys>.md``: whether the conclusions change over the values of a grid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from attnae.bench import labels, sharing
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.identity import RunId, short_hash
from attnae.bench.markdown import escape, table
from attnae.bench.reporting.judgment import NOT_RUN
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.page import claim_cells
from attnae.errors import UserError
from attnae.files import write_text
from attnae.paths import shown
from attnae.result import label_part

BEGIN, END = "<!-- grid ", " -->"
"""Around the keys and the labels of the reports by point: JSON in the first line, from which the page can be rewritten."""

PATTERN = "*/grid-*.md"

PIXELS = ("data.class_path", *(f"data.init_args.{name}" for name in ("root", "source", "image_size")))
"""Keys that change the pixels of all images, and so their digest."""

MOST_BYTES = 200
"""Maximum length of a page's name without its ending: file systems allow 255 bytes."""


def record(benchmark: Benchmark, base: str, keys: Sequence[str], found: Mapping[str, str], reports: Path) -> Path:
    """Notes the reports of a grid in its page, together with those of earlier points.

    Args:
        benchmark: The benchmark.
        base: Label of the points without the keys of the grid, such as ``short`` or ``short-photos-bf16``.
        keys: The keys of the grid.
        found: Labels of reports by point, such as ``{"lr=0.001": "short-lr=0.001"}``.
        reports: Folder of all reports.

    Returns:
        The page; :func:`refreshed` fills it.
    """
    name = label_part("-".join(["grid", base, *map(labels.short, keys)]))
    if len(name.encode()) > MOST_BYTES:
        name = f"{name.encode()[: MOST_BYTES - 9].decode(errors='ignore')}-{short_hash(name)}"
    path = reports / benchmark.name / f"{name}.md"
    known = _head(path.read_text(encoding="utf-8"), path)[1] if path.is_file() else {}
    points = {point: label for point, label in known.items() if point not in found} | dict(found)
    write_text(path, f"{BEGIN}{json.dumps({'keys': list(keys), 'points': points})}{END}\n")
    return path


def refreshed(path: Path, stored: Sequence[Report]) -> str:
    """The page as it follows from the reports that exist.

    It compares the point that was run last with those that differ from it in nothing but the keys of the grid.

    Raises:
        UserError: Its first line is damaged.
    """
    text = path.read_text(encoding="utf-8")
    head, (keys, points) = text.split("\n", 1)[0], _head(text, path)
    by_label = {report.label: report for report in stored if report.benchmark.name == path.parent.name}
    found = {point: by_label[label] for point, label in points.items() if label in by_label}
    if not found:
        return f"{head}\n"
    *_, last = found.values()
    apart = {point: why for point, report in found.items() if keys and (why := _apart(report, last, keys))}
    found = {point: report for point, report in found.items() if point not in apart}
    benchmark = last.benchmark
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
    lines = [
        f"- {escape(benchmark.claims[claim].claim)}: {_conclusion(known, list(found))}."
        for claim, known in verdicts.items()
    ]
    blocks = [
        f"{head}\n\n# {escape(benchmark.title)}: does the conclusion change?",
        "\n".join(lines) or "No claim was tested.",
        table(["claim", "at", "ours", "n", "verdict"], rows) if rows else "",
        "\n".join(
            f"Not compared: [{escape(point)}]({points[point]}/README.md), {escape(why)}."
            for point, why in apart.items()
        ),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _apart(report: Report, last: Report, keys: Sequence[str]) -> str:
    """Why two points cannot be compared: they differ in more than the keys of the grid; empty if they can."""
    pixels = any(f"{one}.".startswith(f"{key}.") for key in keys for one in PIXELS)

    def shared(one: RunId) -> RunId:
        return replace(
            one,
            overrides={key: value for key, value in one.overrides.items() if key not in keys},
            configuration={"code": one.configuration.get("code")},
            data_digest="" if pixels else one.data_digest,
        )

    some, others = ([shared(RunId.of(one)) for one in side.results] for side in (report, last))
    return next((why for a, b in product(some, others) if (why := sharing.apart(a, b))), "")


def conclusions(path: Path) -> list[str]:
    """One sentence per claim from a page, for the terminal."""
    return [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("- ")]


def _conclusion(verdicts: Mapping[str, str], points: Sequence[str]) -> str:
    """``holds at all 3 points``, or ``holds at lr=0.001; undecided at lr=0.002``; then the points without runs."""
    groups: dict[str, list[str]] = {}
    for point, verdict in verdicts.items():
        groups.setdefault(verdict, []).append(escape(point))
    missing = [escape(point) for point in points if point not in verdicts]
    rest = f"; {NOT_RUN} at {', '.join(missing)}" if missing else ""
    if len(groups) == 1:
        count = f"{len(verdicts)} of {len(points)}" if missing else f"{'all ' if len(points) > 1 else ''}{len(points)}"
        return f"{next(iter(groups))} at {count} point{'s' * (len(points) > 1)}{rest}"
    told = "; ".join(f"{verdict} at {', '.join(group)}" for verdict, group in groups.items())
    return f"**changes**: {told}{rest}"


def _head(text: str, path: Path) -> tuple[list[str], dict[str, str]]:
    """The keys of a grid and the labels of its points; pages of earlier versions have no keys."""
    head = text.split("\n", 1)[0]
    try:
        found = json.loads(head.removeprefix(BEGIN).removesuffix(END))
        keys, points = (found["keys"], found["points"]) if isinstance(found.get("points"), dict) else ([], found)
        words = [*keys, *(word for pair in points.items() for word in pair)]
        if head.startswith(BEGIN) and isinstance(keys, list) and all(isinstance(word, str) for word in words):
            return keys, dict(points)
    except (ValueError, AttributeError, KeyError, TypeError):
        pass
    raise UserError(
        f"{shown(path)}: the first line is damaged. Delete the file and rerun `attnae-bench run` with --grid."
    )
