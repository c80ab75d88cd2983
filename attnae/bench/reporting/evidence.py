"""Ranks the reports of a benchmark by the strength of their evidence; verdicts come from the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attnae.bench.catalog.benchmark import Benchmark, Claim
from attnae.bench.reporting.cells import settings_of
from attnae.bench.reporting.claims import Judged
from attnae.bench.reporting.conditions import complete_schedule
from attnae.bench.reporting.judgment import NOT_RUN, Judgment
from attnae.bench.reporting.material import Report
from attnae.bench.reporting.statistics import epochs_of


class Verdict(NamedTuple):
    """A claim with its verdict and the report it comes from; no report if no run tests the claim."""

    judged: Judged
    report: Report | None


def ranked(benchmark: Benchmark, reports: Sequence[Report]) -> list[Report]:
    """Reports of a benchmark, strongest evidence first.

    Sort order: official data; at least half of the profile's epochs and images; the profile's place in the benchmark file,
    which lists the strongest last; results of the current format, because profiles have changed since the former one; fewer
    modified settings, apart from precision; more epochs; more seeds.

    Demonstrations are excluded: embedded images, and profiles with ``evidence: demonstration``.
    """
    places = {name: place for place, name in enumerate(benchmark.profiles)}

    def weight(report: Report) -> tuple[bool, bool, int, bool, int, int, int]:
        run = report.done[0]
        official, seeds = run.data.get("kind") == "official", len({r.seed for r in report.done})
        modified = len(set(settings_of(run)) - {run.precision})
        whole, place = complete_schedule(benchmark, report.done), places.get(run.profile, -1)
        return official, whole, place, not run.reconstructed, -modified, epochs_of(report.done), seeds

    own = [one for one in reports if one.benchmark.name == benchmark.name and one.done and not one.demonstration]
    return sorted(own, key=weight, reverse=True)


def verdicts(benchmark: Benchmark, reports: Sequence[Report]) -> list[Verdict]:
    """Every claim with the verdict of the first report that has runs for it, even if that verdict is undecided."""
    order = ranked(benchmark, reports)
    return [_first(place, claim, order) for place, claim in enumerate(benchmark.claims)]


def _first(place: int, claim: Claim, order: list[Report]) -> Verdict:
    for report in order:
        if (judged := report.judged[place]).judgment.estimate is not None:
            return Verdict(judged, report)
    return Verdict(Judged(place + 1, claim, Judgment(NOT_RUN, published=claim.effect)), None)
