"""The content of a report as flat rows: for tables in other programs."""

from __future__ import annotations

from typing import Any

from attnae.bench.catalog.benchmark import Claim
from attnae.bench.reporting.material import Report


def runs(report: Report) -> list[dict[str, Any]]:
    """One row per run, see :meth:`attnae.bench.Results.rows`."""
    names = ("variant", "seed", "status", "reason", "profile", "precision", "data_digest")
    return [
        {**_report(report), **{name: getattr(one, name) for name in names}, **one.metrics, **one.efficiency}
        for one in report.compared
    ]


def claims(report: Report) -> list[dict[str, Any]]:
    """One row per claim, see :meth:`attnae.bench.Results.claims`."""
    return [
        {
            **_report(report),
            "number": one.number,
            "claim": one.claim.claim,
            "left": one.claim.left,
            "right": one.claim.right,
            "metrics": " ".join(one.claim.keys),
            "primary": one.claim.primary,
            "verdict": one.judgment.direction,
            "estimate": one.judgment.estimate.mean if one.judgment.estimate else None,
            "low": one.judgment.low,
            "high": one.judgment.high,
            "level": 1 - one.judgment.alpha,
            "n": one.judgment.estimate.n if one.judgment.estimate else 0,
            "published": _published(one.claim),
            "size": one.judgment.size_words or None,
            "condition": one.judgment.condition_words if one.judgment.estimate else None,
        }
        for one in report.judged
    ]


def _published(claim: Claim) -> float | None:
    """The published difference, or the published number that is compared with one of ours."""
    number = claim.effect if isinstance(claim.right, str) else claim.published
    return number if isinstance(number, int | float) else None


def _report(report: Report) -> dict[str, Any]:
    return {"benchmark": report.benchmark.name, "label": report.label}
