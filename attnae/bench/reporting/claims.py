"""The claims of a benchmark file, judged by the runs of one report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from attnae.bench.catalog.benchmark import Benchmark, Claim
from attnae.bench.reporting import images
from attnae.bench.reporting.images import ImageStatement
from attnae.bench.reporting.judgment import ONE_SEED, Departure, Judgment, Question, judge_all
from attnae.bench.reporting.seeds import shared
from attnae.bench.reporting.statistics import comparable, mean_by_seed
from attnae.metrics.columns import column
from attnae.result import Result

Rows = Mapping[str, list[Result]]
"""Complete runs by variant."""


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict.

    Attributes:
        number: Place in the benchmark file, from 1.
        claim: The claim.
        judgment: What the runs say.
        statement: For a single seed, the per-image comparison of its two networks; ``None`` without per-image metrics.
    """

    number: int
    claim: Claim
    judgment: Judgment
    statement: ImageStatement | None = None


def question(claim: Claim, rows: Rows, departures: tuple[Departure, ...]) -> Question:
    """A claim with our measurements.

    The published effect is used only if nothing but the images differs: with another schedule or network it is another quantity.
    """
    left, right = mean_by_seed(rows.get(claim.left, []), claim.keys), _right(claim, rows)
    if isinstance(claim.right, str) and not comparable(rows.get(claim.left, []), rows.get(claim.right, []), claim.keys):
        right = {}
    margin = claim.margin
    if claim.relative_margin:
        values = [right[seed] for seed in shared(left, right)] if isinstance(right, Mapping) else [right]
        margin = claim.relative_margin * abs(sum(values) / max(len(values), 1))
    sized = isinstance(claim.right, str) and not {"shorter schedule", "smaller network"} & set(departures)
    return Question(
        left=left,
        right=right,
        relation=claim.relation,
        margin=margin,
        published=claim.effect if sized else None,
        departures=departures,
        primary=claim.primary,
        exact=all(column(key).kind == "counted" for key in claim.keys),
    )


def _right(claim: Claim, rows: Rows) -> Mapping[int, float] | float:
    """The right side of a claim: values by seed, or a number."""
    return mean_by_seed(rows.get(claim.right, []), claim.keys) if isinstance(claim.right, str) else float(claim.right)


def judge(
    benchmark: Benchmark, rows: Rows, departures: tuple[Departure, ...], folder: Path | None, recorded: Rows
) -> list[Judged]:
    """Judges every claim.

    Args:
        benchmark: Benchmark with the claims.
        rows: Complete runs by variant, with the metrics that are compared.
        departures: Differences from the published conditions.
        folder: ``runs/`` of the report, with per-image metrics; ``None`` to skip them.
        recorded: The same runs without averaging over epochs; the per-image metrics belong to these.
    """
    judgments = judge_all(question(claim, rows, departures) for claim in benchmark.claims)
    found = [Judged(number, *pair) for number, pair in enumerate(zip(benchmark.claims, judgments, strict=True), 1)]
    if folder is None:
        return found
    return [replace(one, statement=_statement(one, recorded, folder)) if one.judgment.direction == ONE_SEED else one
            for one in found]  # fmt: skip


def single_seeds(benchmark: Benchmark, rows: Rows) -> dict[tuple[str, int], set[str]]:
    """Keys of claims that rest on one seed, by variant and seed; reports keep their per-image metrics."""
    found: dict[tuple[str, int], set[str]] = {}
    for claim, judgment in zip(
        benchmark.claims, judge_all(question(claim, rows, ()) for claim in benchmark.claims), strict=True
    ):
        if judgment.direction == ONE_SEED and isinstance(claim.right, str):
            for side in (claim.left, claim.right):
                found.setdefault((side, judgment.seeds[0]), set()).update(claim.keys)
    return found


def _statement(one: Judged, recorded: Rows, folder: Path) -> ImageStatement | None:
    claim, (seed, *_) = one.claim, one.judgment.seeds
    key, better = claim.keys[0], column(claim.keys[0]).better
    if not isinstance(claim.right, str) or len(claim.keys) > 1 or better == "-":
        return None
    sides = []
    for side in (claim.left, claim.right):
        run = next(run for run in recorded[side] if run.seed == seed)
        values = images.read(folder / images.per_image_name(side, seed), key, run.metrics.get(key))
        if values is None:
            return None
        sides.append(values)
    return images.compare(sides[0], sides[1], better)
