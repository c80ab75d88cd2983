"""Every figure that the papers publish, with what our best runs say about it."""

from __future__ import annotations

from typing import NamedTuple

from attnae.bench.catalog.benchmark import WEIGHT, Benchmark, Claim
from attnae.bench.markdown import escape, table
from attnae.bench.reporting.cells import evidence_of, figures_of, kind_of, named, settings_of, title_of
from attnae.bench.reporting.statistics import epochs_of, tolerance
from attnae.bench.reporting.verdicts import NOT_REPRODUCED, NOT_RUN, REPRODUCED, Verdict, judge
from attnae.metrics.columns import column
from attnae.result import Result

SHARE = 0.05
"""A published number without a claim of its own is reproduced within 5%; of decibels, 5% of the ratio they stand for."""

Report = tuple[Benchmark, str, list[Result]]
"""Benchmark, label and results."""


def text(benchmarks: list[Benchmark], reports: list[Report]) -> str:
    """A table for each benchmark: what is published, what we find under which condition, and the verdict."""
    blocks = []
    for benchmark in benchmarks:
        evidence = ranked(benchmark, reports)
        body = [_row(benchmark, claim, evidence) for claim in [*benchmark.claims, *_numbers(benchmark)]]
        if body:
            header = ["figure", "published", "ours", "report", "state"]
            blocks += [f"**{escape(benchmark.title)}** ({escape(benchmark.paper.title)})", table(header, body)]
            links = {_link(benchmark, label): kind_of(runs) for label, runs in evidence}
            used = [f"- {link}: {escape(kind)}." for link, kind in links.items() if any(link in row[3] for row in body)]
            blocks += ["\n".join(used)] if used else []
    return "\n\n".join(blocks)


class Best(NamedTuple):
    """The report that says most about a claim.

    Attributes:
        label: Its label.
        runs: Its complete runs.
        verdict: What they say.
    """

    label: str
    runs: list[Result]
    verdict: Verdict


def ranked(benchmark: Benchmark, reports: list[Report]) -> list[tuple[str, list[Result]]]:
    """Complete runs by label, the best evidence first.

    Official data before other data, then many epochs, the published profile, no other settings than the profile's, many seeds.

    A demonstration on embedded images is no evidence.
    """
    own = [(label, results) for of, label, results in reports if of.name == benchmark.name]
    done = [(label, [r for r in results if r.status == "complete"]) for label, results in own]
    usable = [(label, runs) for label, runs in done if runs and runs[0].data.get("kind") != "embedded"]

    def weight(report: tuple[str, list[Result]]) -> tuple[bool, int, int, int, int]:
        runs = report[1]
        schedule = WEIGHT[evidence_of(benchmark, runs)]
        official, seeds = runs[0].data.get("kind") == "official", len({r.seed for r in runs})
        return official, epochs_of(runs), schedule, -len(settings_of(runs[0])), seeds

    return sorted(usable, key=weight, reverse=True)


def best(benchmark: Benchmark, claim: Claim, ranked: list[tuple[str, list[Result]]]) -> Best | None:
    """The first report that decides the claim, else the first that says anything about it."""
    said = None
    for label, runs in ranked:
        if column(claim.keys[0]).kind == "counted" and evidence_of(benchmark, runs) != "published":
            continue  # other profiles may have narrower networks
        rows = {
            side: [r for r in runs if r.variant == side] for side in (claim.left, claim.right) if isinstance(side, str)
        }
        verdict = judge(claim, rows)
        if verdict.state in (REPRODUCED, NOT_REPRODUCED):
            return Best(label, runs, verdict)
        if verdict.difference is not None:
            said = said or Best(label, runs, verdict)
    return said


def _numbers(benchmark: Benchmark) -> list[Claim]:
    """Published numbers that no claim repeats, those of sweeps included, as claims of equality."""
    numbers = [
        (name, key, value, published.source if place else "")
        for place, published in enumerate(benchmark.published)
        for name, values in published.values.items()
        for key, value in values.items()
    ]
    for sweep in benchmark.sweeps:
        for name, values_of_x in sweep.published.items():
            numbers += [(name, f"{sweep.protocols[x]}/{sweep.metric}", y, "") for x, y in values_of_x.items()]
    claimed = {(claim.left, *claim.keys) for claim in benchmark.claims if not isinstance(claim.right, str)}
    found = {
        (name, key, source): Claim(
            f"{title_of(benchmark, name)}: {named(key)}",
            source,
            name,
            key,
            "equal",
            value,
            margin=tolerance(key, value, SHARE),
            published=value,
        )
        for name, key, value, source in numbers
        if source or (name, key) not in claimed
    }
    return list(found.values())


def _row(benchmark: Benchmark, claim: Claim, ranked: list[tuple[str, list[Result]]]) -> list[str]:
    what = escape(claim.claim) + (f" ({escape(claim.where)})" if claim.where else "")
    found = best(benchmark, claim, ranked)
    if not found or not found.verdict.difference:
        return [what, figures_of(claim, judge(claim, {}))[0], "-", "-", NOT_RUN]
    report = f"{_link(benchmark, found.label)}, n = {found.verdict.difference.n}"
    return [what, *figures_of(claim, found.verdict), report, found.verdict.state]


def _link(benchmark: Benchmark, label: str) -> str:
    return f"[{label}]({benchmark.name}/{label}/README.md)"
