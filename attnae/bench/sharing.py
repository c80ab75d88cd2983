"""Decides which results may share a table, for ``run``, ``report``, ``compare``, ``--retest`` and ``merge``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from attnae.bench.identity import RunId, short_hash
from attnae.result import Record, Result

MOST_NAMED = 3
"""Maximum number of keys that a reason lists."""


def apart(one: Result | RunId, other: Result | RunId) -> str:
    """Explains in a few words why two runs cannot share a table; empty if they can.

    Runs share a table if benchmark, revision, profile, overrides, precision, devices and data are equal. Runs of the
    same variant must also have equal configurations. Seeds and package versions may differ.
    """
    if one.benchmark != other.benchmark:
        return f"different benchmarks: {one.benchmark} and {other.benchmark}"
    if one.reconstructed != other.reconstructed:
        return "one result was migrated from format 1, so its identity is reconstructed"
    for name in ("revision", "profile", "precision", "devices", "nodes"):
        if (a := getattr(one, name)) != (b := getattr(other, name)):
            return f"different {name}: {a} and {b}"
    if one.overrides != other.overrides:
        return f"different settings: {_differences(one.overrides, other.overrides)}"
    if (a := _images(one)) != (b := _images(other)):
        return f"different images: digests {a or 'unknown'} and {b or 'unknown'}"
    if one.variant == other.variant and one.configuration != other.configuration:
        flat = (dict(_flat(side.configuration)) for side in (one, other))
        return f"different configurations of {one.variant}: {_differences(*flat)}"
    return ""


def _images(one: Result | RunId) -> str:
    """The data digest; for a migrated result without one, the partial digest stored in format 1."""
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
    """Results that share a table.

    Attributes:
        benchmark: Name of the benchmark.
        label: Folder of the report: the label of the results, with a suffix for all but the first table of that label.
        records: The latest complete result for each variant and seed, else the latest failure.
        superseded: Other results of the same variants and seeds.
        beside: Labels of the other tables with the same benchmark and label, and why each is separate.
    """

    benchmark: str
    label: str
    records: list[Record]
    superseded: list[Record] = field(default_factory=list)
    beside: dict[str, str] = field(default_factory=dict)


def tables(found: Iterable[Record]) -> list[Table]:
    """Divides results into as few tables as :func:`apart` allows.

    The table with the earliest result of a label keeps the label without a suffix, so that later results never move a
    report. The others also hold the latest results of variants that they lack, where these fit: controls that were not
    trained again when a network of one's own had changed.

    Args:
        found: Folders and results; the first folder counts for duplicate results.
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
        for group in groups[1:]:
            _complete(group, records)
        own = [_table(benchmark, label if not place else suffixed(label, group[0][1]), group)
               for place, group in enumerate(groups)]  # fmt: skip
        for table, other in product(own, sorted(own, key=lambda table: table.label)):  # as on the disk
            if table is not other:
                table.beside[other.label] = reason(table.records, other.records)
        made += own
    return made


def _complete(group: list[Record], records: list[Record]) -> None:
    """Adds results of variants that a group lacks, if they can share its table."""
    present = {one.variant for _, one in group}
    for record in reversed(records):
        if record[1].variant not in present and not any(apart(record[1], other) for _, other in group):
            group.append(record)


def _once(found: Iterable[Record]) -> list[Record]:
    seen: dict[str, Record] = {}
    for folder, one in found:
        seen.setdefault(json.dumps(asdict(one), sort_keys=True, default=str), (folder, one))
    return [seen[text] for text in sorted(seen)]


def began(one: Result) -> str:
    """When a result was first written; a later test of the same run updates only ``finished_at``."""
    tested = one.git.get("tested")
    first = tested.get("first_finished_at") if isinstance(tested, dict) else None
    return first if isinstance(first, str) else one.finished_at


def suffixed(label: str, first: Result) -> str:
    """Label of an additional table; depends only on the first result in it."""
    suffix = short_hash([RunId.of(first).config8, first.data_digest], 6)
    return f"{label[:190]}-{suffix}"


def rank(one: Result) -> tuple[bool, str]:
    """Order of the results of one run, of which the last counts: a failure never hides a complete result."""
    return one.status == "complete", one.finished_at


def _table(benchmark: str, label: str, group: list[Record]) -> Table:
    last: dict[tuple[str, int], Record] = {}
    superseded = []
    for record in sorted(group, key=lambda record: rank(record[1])):
        name = record[1].variant, record[1].seed
        if name in last:
            superseded.append(last[name])
        last[name] = record
    return Table(benchmark, label, list(last.values()), superseded)


def reason(some: list[Record], others: list[Record]) -> str:
    """Explains why two sets of results cannot share a table; empty if they can."""
    return next((why for a, b in product(some, others) if (why := apart(a[1], b[1]))), "")
