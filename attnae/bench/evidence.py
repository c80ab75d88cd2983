"""Every figure that the papers publish, with what our best runs say about it."""

from __future__ import annotations

from attnae.bench.catalog import Benchmark
from attnae.bench.claims import NOT_REPRODUCED, NOT_RUN, REPRODUCED, Claim, judge
from attnae.bench.markdown import escape, table
from attnae.bench.page import figures_of, kind_of, named, title_of
from attnae.bench.statistics import tolerance
from attnae.result import Result

SHARE = 0.05
"""A published number without a claim of its own is reproduced within 5%; of decibels, 5% of the ratio they stand for."""

Report = tuple[Benchmark, str, list[Result]]
"""Benchmark, label and results."""


def text(benchmarks: list[Benchmark], reports: list[Report]) -> str:
    """A table for each benchmark: what is published, what we find under which condition, and the verdict."""
    blocks = []
    for benchmark in benchmarks:
        ranked = _ranked([(label, results) for of, label, results in reports if of.name == benchmark.name])
        body = [_row(benchmark, claim, ranked) for claim in [*benchmark.claims, *_numbers(benchmark)]]
        if body:
            header = ["figure", "published", "ours", "report", "state"]
            blocks += [f"**{escape(benchmark.title)}** ({escape(benchmark.paper['title'])})", table(header, body)]
            links = {_link(benchmark, label): kind_of(runs) for label, runs in ranked}
            used = [f"- {link}: {escape(kind)}." for link, kind in links.items() if any(link in row[3] for row in body)]
            blocks += ["\n".join(used)] if used else []
    return "\n\n".join(blocks)


def _ranked(reports: list[tuple[str, list[Result]]]) -> list[tuple[str, list[Result]]]:
    """Complete runs by label, the best evidence first: official data, many epochs, the published profile, many seeds.

    A demonstration on embedded images is no evidence.
    """
    done = [(label, [r for r in results if r.status == "complete"]) for label, results in reports]
    usable = [(label, runs) for label, runs in done if runs and runs[0].data.get("kind") != "embedded"]

    def weight(report: tuple[str, list[Result]]) -> tuple[bool, float, int, int]:
        runs = report[1]
        schedule = {"paper": 2, "short": 1}.get(runs[0].profile, 0)
        epochs = max((r.curves["epoch"][-1] or 0 for r in runs if r.curves.get("epoch")), default=0)
        return runs[0].data.get("kind") == "official", epochs, schedule, len({r.seed for r in runs})

    return sorted(usable, key=weight, reverse=True)


def _numbers(benchmark: Benchmark) -> list[Claim]:
    """Published numbers that no claim repeats, those of sweeps included, as claims of equality."""
    numbers = {(name, key): value for name, values in benchmark.published.items() for key, value in values.items()}
    for spec in benchmark.sweeps:
        for name, values in spec.get("published", {}).items():
            numbers |= {(name, f"{spec['protocols'][x]}/{spec['name']}"): value for x, value in values.items()}
    claimed = {(claim.left, *claim.keys) for claim in benchmark.claims if not isinstance(claim.right, str)}
    return [
        Claim(
            f"{title_of(benchmark, name)}: {named(key)}",
            "",
            name,
            key,
            "equal",
            value,
            margin=tolerance(key, value, SHARE),
            published=value,
        )
        for (name, key), value in numbers.items()
        if (name, key) not in claimed
    ]


def _row(benchmark: Benchmark, claim: Claim, ranked: list[tuple[str, list[Result]]]) -> list[str]:
    """The claim by the best report that decides it, else by the best that says anything about it."""
    what = escape(claim.claim) + (f" ({escape(claim.where)})" if claim.where else "")
    said: list[str] = []
    for label, runs in ranked:
        if claim.keys[0].startswith("params_") and runs[0].profile != "paper":
            continue  # other profiles may have narrower networks
        rows = {
            side: [r for r in runs if r.variant == side] for side in (claim.left, claim.right) if isinstance(side, str)
        }
        verdict = judge(claim, rows)
        if verdict.difference is not None:
            report = f"{_link(benchmark, label)}, n = {verdict.difference.n}"
            row = [what, *figures_of(claim, verdict), report, verdict.state]
            if verdict.state in (REPRODUCED, NOT_REPRODUCED):
                return row
            said = said or row
    return said or [what, figures_of(claim, judge(claim, {}))[0], "-", "-", NOT_RUN]


def _link(benchmark: Benchmark, label: str) -> str:
    return f"[{label}]({benchmark.name}/{label}/README.md)"
