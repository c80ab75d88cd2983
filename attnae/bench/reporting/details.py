"""Collapsed sections of a report: epoch tables, variants, commands, environment, definitions."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterable
from typing import Any

from attnae.bench.catalog.benchmark import Curve
from attnae.bench.identity import RunId
from attnae.bench.markdown import escape, number, one_line, table
from attnae.bench.reporting import statistics
from attnae.bench.reporting.cells import cell, commit_of, seeds_text
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.statistics import Summary
from attnae.metrics.columns import COSTS, column
from attnae.result import Result

MOST_FAILED = 20
"""Maximum number of failed runs in a report; ``results.csv`` has all of them."""

MOST_EPOCHS = 8
"""Maximum number of rows in an epoch table, if the paper publishes no values for the epochs trained."""

MOST_COLUMNS = 6
"""Maximum number of variants in an epoch table; the curves show more."""

MOST_FACTS = 6
"""Maximum number of different environments, datasets or commands in a report."""


def fold(title: str, text: str) -> str:
    """A collapsible section."""
    return f"<details>\n<summary>{escape(title)}</summary>\n\n{text}\n\n</details>"


def failed(report: Report) -> str:
    """Failed runs with their reasons."""
    runs = [r for r in report.results if r.status != "complete"]
    if not runs:
        return ""
    body = [[r.variant, str(r.seed), escape(r.reason)] for r in runs[:MOST_FAILED]]
    more = "\n\nAll are in [results.csv](results.csv)." if len(runs) > MOST_FAILED else ""
    return "## Failed runs\n\n" + table(["variant", "seed", "reason"], body) + more


def folded(report: Report) -> list[str]:
    """All collapsed sections, in order."""
    parts = [(spec.title, _curve(report, spec)) for spec in report.benchmark.curves]
    parts += [("Variants", _variants(report)), ("How these numbers were made", _provenance(report))]
    parts += [("What the columns mean", _legend(report))]
    return [fold(title, text) for title, text in parts if text]


def _curve(report: Report, spec: Curve) -> str:
    """Our training curve at the epochs for which the paper publishes values."""
    key, published = spec.key, spec.published
    names = [name for name, runs in report.rows.items() if any(key in r.curves for r in runs)]
    names = names[: MOST_COLUMNS - len(published.keys() & set(names))]
    epochs = sorted(
        {
            int(epoch or 0)
            for name in names
            for r in report.rows[name]
            for epoch, value in zip(r.curves.get("epoch", []), r.curves.get(key, []), strict=False)
            if value is not None  # many are, where not every epoch was validated
        }
    )
    known = {epoch for values in published.values() for epoch in values} & set(epochs)
    # From the last epoch backward, at equal distances: the last one is evaluated.
    wanted = sorted(known) or epochs[:: -max(1, -(-len(epochs) // MOST_EPOCHS))][::-1]
    if not names or not wanted:
        return ""
    body = [[str(epoch)] for epoch in wanted]
    header = ["epoch"]
    for name in names:
        found = []
        for epoch in wanted:
            values = [statistics.at_epoch(r, key, epoch) for r in report.rows[name]]
            found.append(Summary.of([value * spec.scale for value in values if value is not None]))
        counts = {one.n for one in found if one}
        same = len(counts) == 1  # then the header says it, and not every cell
        few = f" (n = {min(counts)})" if same and counts != {report.most_seeds} else ""
        header += [escape(report.title(name)) + few] + (["published"] if name in published else [])
        for cells, epoch, one in zip(body, wanted, found, strict=True):
            cells.append(cell(one, "", digits=spec.digits, most=None if same else report.most_seeds))
            if name in published:
                cells.append(number(published[name].get(epoch), spec.digits))
    return f"{spec.note}\n\n" + table(header, body)


def _variants(report: Report) -> str:
    known = report.benchmark.variants
    return "\n".join(
        f"- **{escape(report.title(name))}** (`{name}`): {escape(known[name].about)}"
        for name in report.rows
        if name in known
    )


def _provenance(report: Report) -> str:
    """Environment, data, the command for the whole plan, and the commands of one run."""
    results = report.results
    lines = [f"- {title}: {', '.join(facts)}" for title, facts in _environment(results)]
    data = {json.dumps(r.data, sort_keys=True, default=str): r.data for r in results if r.data}
    lines += [
        f"- data: {escape(d.get('title'))}, {escape(d.get('train'))} train / {escape(d.get('test'))} held-out images, "
        + (f"digest of all pixels `{escape(d['digest'])}`" if d.get("digest") else "no pixel digest")
        for d in list(data.values())[:MOST_FACTS]
    ]
    lines += _runs(results)
    commands = _plan(report)
    if first := next((r for r in results if r.commands), None):
        commands += [f"# commands that this runs for {first.variant}, seed {first.seed}:", *first.commands]
    commands = [one_line(line) for line in commands]
    longest = max((len(ticks) for line in commands for ticks in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)  # longer than any run of backticks in a command
    return "\n".join([*lines, "", f"{fence}bash", *commands, fence])


def _environment(results: list[Result]) -> Iterable[tuple[str, list[str]]]:
    """Versions and hardware, without duplicates."""
    for title, every in (("versions", [r.versions for r in results]), ("hardware", [r.hardware for r in results])):
        different = {json.dumps(facts, sort_keys=True, default=str): facts for facts in every if facts}
        for facts in list(different.values())[:MOST_FACTS]:
            yield title, [f"{escape(key)} {escape(value)}" for key, value in facts.items()]
        if len(different) > MOST_FACTS:
            yield title, [f"{len(different) - MOST_FACTS:,} more sets, see runs/*.json"]


def _runs(results: list[Result]) -> list[str]:
    """Configuration, commit, selection and time, with equal runs grouped."""
    groups: dict[str, list[Result]] = {}
    for r in results:
        config = f"config {RunId.of(r).config8}" + (" (reconstructed)" if r.reconstructed else "")
        commit, again = commit_of(r.git), commit_of(r.git.get("tested"))
        told = [config, commit and f"commit {commit}", again and f"retested with commit {again}", r.selection]
        groups.setdefault(f"{r.variant}: " + ", ".join(escape(text) for text in told if text), []).append(r)
    lines = [f"- {text}; {seeds_text(r.seed for r in runs)}{_seconds(runs)}" for text, runs in groups.items()]
    most = 5 * MOST_FACTS
    return lines[:most] + ([f"- {len(lines) - most:,} more, see runs/*.json"] if len(lines) > most else [])


def _seconds(runs: list[Result]) -> str:
    """Time of runs on the same hardware, where it is known."""
    total = sum(r.wall_seconds for r in runs)
    if not total or any(r.hardware != runs[0].hardware for r in runs):
        return ""
    return f", {total:,.0f} s{' in total' * (len(runs) > 1)}"


def _plan(report: Report) -> list[str]:
    """The ``attnae-bench`` commands that reproduce these runs: one for each set of seeds."""
    results = report.results
    if not results:
        return []
    first = results[0]
    seeds: dict[str, set[int]] = {}
    for r in results:
        seeds.setdefault(r.variant, set()).add(r.seed)
    groups: dict[tuple[int, ...], list[str]] = {}
    for variant, own in seeds.items():
        groups.setdefault(tuple(sorted(own)), []).append(variant)
    further = [word for key, value in sorted(first.overrides.items()) for word in ("--set", f"{key}={_typed(value)}")]
    further += ["--precision", first.precision] if first.precision != "fp32" else []
    further += ["--devices", str(first.devices)] if first.devices > 1 else []
    further += ["--nodes", str(first.nodes)] if first.nodes > 1 else []
    profile = report.benchmark.profiles.get(first.profile)
    kind = next((r.data["kind"] for r in results if r.data.get("kind")), None)  # a run that failed early has none
    usual = profile.usual_images if profile else None
    if kind == "embedded" and usual == "official":
        further += ["--set", "data.init_args.source=embedded"]
    elif kind not in (None, usual) and (usual or kind not in ("official", "embedded")):
        further += ["--data-root", "DIR"]
    return [
        shlex.join(["attnae-bench", "run", _named(first), "--profile", first.profile, "--variants", ",".join(variants),
                    "--seeds", _seeds(own), *further])
        for own, variants in groups.items()
    ]  # fmt: skip


def _named(one: Result) -> str:
    """The benchmark as the run's own command named it: by its name, or by the path of its file."""
    with contextlib.suppress(IndexError, ValueError):
        words = shlex.split(one.commands[0].partition(" > ")[0])
        if words[:2] == ["attnae-bench", "config"] and words[2].endswith((".yaml", ".yml")):
            return words[2]
    return one.benchmark


def _seeds(seeds: tuple[int, ...]) -> str:
    if seeds == tuple(range(1, len(seeds) + 1)):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _legend(report: Report) -> str:
    benchmark = report.benchmark
    used = [*benchmark.metrics, *(name for spec in benchmark.tables for name in spec.columns)]
    used += [
        key.split("/")[-1] for source in benchmark.published for values in source.values.values() for key in values
    ]
    defined = {c.formula: c for c in map(column, reversed(dict.fromkeys([*used, *COSTS])))}  # route_prob_0_0, _0_1: one
    return "\n".join(
        f"- **{re.sub(r' [0-9.]+$', '', c.title)}** [{c.unit}]"
        f"{'' if c.better == '-' else f', {c.better} is better'}: {c.formula}."
        for c in reversed(defined.values())
    )
