"""Which results may stand in one table: the one rule for ``run``, ``report``, ``compare``, ``--retest`` and ``merge``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from attnae.bench.run import RunId, short_hash
from attnae.result import Record, Result

MOST_NAMED = 3
"""Keys that a reason names."""


def apart(one: Result | RunId, other: Result | RunId) -> str:
    """Why two runs cannot stand in one table, in a few words; empty where they can.

    They can if benchmark, revision, profile, overrides, precision, devices and data are equal, and the configuration is
    if they are of the same variant. Seeds and package versions may differ.
    """
    if one.benchmark != other.benchmark:
        return f"another benchmark, {one.benchmark} and {other.benchmark}"
    if one.reconstructed != other.reconstructed:
        return "one was migrated from format 1, and its identity is reconstructed"
    for name in ("revision", "profile", "precision", "devices", "nodes"):
        if (a := getattr(one, name)) != (b := getattr(other, name)):
            return f"{name} {a} and {b}"
    if one.overrides != other.overrides:
        return f"other settings: {_differences(one.overrides, other.overrides)}"
    if (a := _images(one)) != (b := _images(other)):
        return f"other images, digests {a or 'unknown'} and {b or 'unknown'}"
    if one.variant == other.variant and one.configuration != other.configuration:
        flat = (dict(_flat(side.configuration)) for side in (one, other))
        return f"another configuration of {one.variant}: {_differences(*flat)}"
    return ""


def _images(one: Result | RunId) -> str:
    """The digest; of a migrated result without one what format 1 knew, which is better than nothing."""
    if isinstance(one, Result) and one.reconstructed and not one.data_digest:
        return str(one.data.get("windows", ""))
    return one.data_digest


def _differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The first keys that differ, with both values."""
    absent = object()
    keys = [key for key in sorted(one.keys() | other.keys()) if one.get(key, absent) != other.get(key, absent)]
    told = [
        f"{key} {' and '.join(str(side[key]) if key in side else 'not set' for side in (one, other))}" for key in keys
    ]
    more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
    return ", ".join(told[:MOST_NAMED]) + more


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


@dataclass
class Table:
    """Results that stand together.

    Attributes:
        benchmark: Name of the benchmark.
        label: Folder of the report: the results' own label, with a suffix for all but the first table of a label.
        records: One for each variant and seed: the one that finished last.
        superseded: Earlier results of the same variants and seeds.
        beside: Label of each other table of the same benchmark and label, and why it stands apart.
    """

    benchmark: str
    label: str
    records: list[Record]
    superseded: list[Record] = field(default_factory=list)
    beside: dict[str, str] = field(default_factory=dict)


def tables(found: Iterable[Record]) -> list[Table]:
    """Divides results into tables: as few as :func:`apart` allows.

    The table with the earliest result of a label has the bare label, so that later results never move a report.

    Args:
        found: Folders and results; of equal results the first folder counts.
    """
    labels: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(_once(found), key=lambda record: began(record[1])):
        labels.setdefault((record[1].benchmark, record[1].label), []).append(record)
    made = []
    for (benchmark, label), records in sorted(labels.items()):
        groups: list[list[Record]] = []
        for record in records:
            fitting = (group for group in groups if not any(apart(record[1], other) for _, other in group))
            group = next(fitting, None)
            if group is None:
                groups.append(group := [])
            group.append(record)
        own = [_table(benchmark, label if not place else suffixed(label, group[0][1]), group)
               for place, group in enumerate(groups)]  # fmt: skip
        for table, other in product(own, own):
            if table is not other:
                table.beside[other.label] = reason(table.records, other.records)
        made += own
    return made


def _once(found: Iterable[Record]) -> list[Record]:
    seen: dict[str, Record] = {}
    for folder, one in found:
        seen.setdefault(json.dumps(asdict(one), sort_keys=True, default=str), (folder, one))
    return [seen[text] for text in sorted(seen)]


def began(one: Result) -> str:
    """When a result was there first: a later test of the same training changes ``finished_at`` alone."""
    tested = one.git.get("tested")
    first = tested.get("first_finished_at") if isinstance(tested, dict) else None
    return first if isinstance(first, str) else one.finished_at


def suffixed(label: str, first: Result) -> str:
    """Label of a further table, the same whatever else is in it."""
    suffix = short_hash([RunId.of(first).config8, first.data_digest], 6)
    return f"{label[:190]}-{suffix}"


def _table(benchmark: str, label: str, group: list[Record]) -> Table:
    last: dict[tuple[str, int], Record] = {}
    superseded = []
    for record in sorted(group, key=lambda record: record[1].finished_at):
        name = record[1].variant, record[1].seed
        if name in last:
            superseded.append(last[name])
        last[name] = record
    return Table(benchmark, label, list(last.values()), superseded)


def reason(some: list[Record], others: list[Record]) -> str:
    """Why two sets of results stand apart; empty where they need not."""
    return next((why for a, b in product(some, others) if (why := apart(a[1], b[1]))), "")
