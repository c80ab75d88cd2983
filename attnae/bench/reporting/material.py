"""One report: a benchmark, its runs under one label, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.reporting import claims, conditions
from attnae.bench.reporting.averages import Averaged, average
from attnae.bench.reporting.cells import title_of
from attnae.bench.reporting.claims import Judged
from attnae.bench.reporting.judgment import Departure
from attnae.result import Result


@dataclass(frozen=True)
class Report:
    """Everything that a report shows is a pure function of this.

    Attributes:
        benchmark: What was compared.
        label: Name of the report's folder.
        results: Runs in the order of the benchmark's variants, as they were recorded.
        folder: Folder of the report with figures and with the numbers of single images; ``None`` if there is none.
        beside: Label of each report that holds results of the same label which cannot stand in this one, and why.
    """

    benchmark: Benchmark
    label: str
    results: list[Result]
    folder: Path | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def figures(self) -> list[str]:
        """Names of the figures that exist."""
        return sorted(path.name for path in (self.folder / "figures").glob("*.png")) if self.folder else []

    @cached_property
    def averaged(self) -> Averaged | None:
        """Means over the last epochs, where the benchmark file asks for them."""
        return average(self.results) if self.benchmark.average == "last_epochs" else None

    @cached_property
    def done(self) -> list[Result]:
        """Complete runs, with the numbers that are compared."""
        return [r for r in (self.averaged.results if self.averaged else self.results) if r.status == "complete"]

    @cached_property
    def rows(self) -> dict[str, list[Result]]:
        """Complete runs by variant; a variant whose runs all failed has none."""
        names = dict.fromkeys(r.variant for r in self.results)
        return {name: [r for r in self.done if r.variant == name] for name in names}

    @cached_property
    def departures(self) -> tuple[Departure, ...]:
        """How the condition of the runs departs from the published one."""
        return conditions.departures(self.benchmark, self.done)

    @cached_property
    def judged(self) -> list[Judged]:
        """The benchmark's claims with their verdicts."""
        recorded = {
            name: [r for r in self.results if r.variant == name and r.status == "complete"] for name in self.rows
        }
        folder = self.folder / "runs" if self.folder else None
        return claims.judge(self.benchmark, self.rows, self.departures, folder, recorded)

    @cached_property
    def most_seeds(self) -> int:
        """Seeds of the variant that has most."""
        return max((len(runs) for runs in self.rows.values()), default=0)

    @property
    def demonstration(self) -> bool:
        """Whether the runs are on embedded images, which are no evidence."""
        return bool(self.done) and self.done[0].data.get("kind") == "embedded"

    def title(self, variant: str) -> str:
        """Heading of a variant, its bare name if the benchmark file does not know it."""
        return title_of(self.benchmark, variant)
