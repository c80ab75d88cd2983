"""One report: a benchmark, its runs with one label, and everything derived from them."""

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

Folders = Mapping[tuple[str, int], Path]
"""Folders of results by variant and seed: of runs, or ``runs/`` of a report."""


@dataclass(frozen=True)
class Report:
    """All content of a report is a pure function of this.

    Attributes:
        benchmark: The benchmark.
        label: Name of the report's folder.
        results: Runs in the order of the benchmark's variants, as recorded.
        folder: Folder of the report with figures and per-image metrics; ``None`` if there is none.
        beside: Labels of reports with results of the same label that cannot be in this report, and the reason.
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
        """Means over the last epochs, if the benchmark file specifies them."""
        return average(self.results) if self.benchmark.average == "last_epochs" else None

    @cached_property
    def compared(self) -> list[Result]:
        """All runs, with the metrics that are compared: those of the last epoch, or their means over the last epochs."""
        return self.averaged.results if self.averaged else self.results

    @cached_property
    def done(self) -> list[Result]:
        """Complete runs, with the metrics that are compared."""
        return [r for r in self.compared if r.status == "complete"]

    @cached_property
    def rows(self) -> dict[str, list[Result]]:
        """Complete runs by variant; an empty list if all runs of a variant failed."""
        names = dict.fromkeys(r.variant for r in self.results)
        return {name: [r for r in self.done if r.variant == name] for name in names}

    @cached_property
    def departures(self) -> tuple[Departure, ...]:
        """Differences between the conditions of the runs and the published ones."""
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
        """Largest number of seeds of any variant."""
        return max((len(runs) for runs in self.rows.values()), default=0)

    @property
    def demonstration(self) -> bool:
        """Whether the runs are not evidence: on embedded images, or of a profile that only demonstrates."""
        if not self.done:
            return False
        profile = self.benchmark.profiles.get(self.done[0].profile)
        return self.done[0].data.get("kind") == "embedded" or (
            profile is not None and profile.evidence == "demonstration"
        )

    def title(self, variant: str) -> str:
        """Title of a variant; its name if it is not in the benchmark file."""
        return title_of(self.benchmark, variant)


Loaded = tuple[Report, Folders]
"""A report, and where its results were read."""
