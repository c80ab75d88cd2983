"""Types of the contents of a benchmark file; ``attnae.bench.catalog`` reads the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from attnae.bench.catalog import configuration
from attnae.metrics.columns import Column

Evidence = Literal["demonstration", "partial", "published"]
"""How strongly the runs of a profile test the paper: not at all, under other conditions, or by its own protocol."""

WEIGHT: dict[str, int] = {"demonstration": 0, "partial": 1, "published": 2}
"""Rank of each evidence level."""


@dataclass(frozen=True)
class Paper:
    """The source of the published numbers.

    Attributes:
        title: Title, and the tables or sections with the numbers.
        url: URL.
        notes: Data, schedule and other context needed to interpret the numbers.
    """

    title: str
    url: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Variant:
    """One row of a comparison.

    Attributes:
        name: Name used on the command line.
        title: Name shown in tables.
        about: One line: what the variant is and which question it answers.
        default: Whether ``run`` includes the variant by default.
        trains: Whether the variant is trained.
        changes: Changes to the base configuration.
    """

    name: str
    title: str
    about: str
    default: bool = False
    trains: bool = True
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """Data and schedule for all variants.

    Attributes:
        name: Name used on the command line.
        about: One line: data, schedule and running time.
        evidence: How strongly runs of this profile test the paper.
        threads: CPU threads that a run makes good use of; without ``--jobs``, determines how many runs train at a time on a
            CPU. By default, one run at a time uses all.
        changes: Changes to the configuration of every variant.
        variants: Changes to individual variants, applied after the variant's own changes.
    """

    name: str
    about: str
    evidence: Evidence
    threads: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def usual_images(self) -> str:
        """Kind of the images that the profile is made for: ``embedded`` or ``official``."""
        return "embedded" if self.evidence == "demonstration" else "official"


@dataclass(frozen=True)
class Metric:
    """A metric that only this benchmark has: a value per image that its task returns with a prediction.

    Attributes:
        name: Name under which the task returns it.
        title: Heading in tables and figures.
        definition: What it is: a formula, or a sentence without its period.
        better: Direction; "-" if there is none.
        unit: Unit, or "-" for pure numbers.
        digits: Digits after the decimal point.
    """

    name: str
    title: str
    definition: str
    better: Literal["lower", "higher", "-"] = "-"
    unit: str = "-"
    digits: int = 4

    @property
    def column(self) -> Column:
        """The metric as a column of reports."""
        return Column(self.name, self.title, self.definition, self.unit, "-", self.better, self.digits)


@dataclass(frozen=True)
class Table:
    """Metrics of one protocol, with one row per variant.

    Attributes:
        title: Heading.
        protocol: The images and how they are evaluated; see ``attnae.metrics.columns.PROTOCOLS``.
        columns: Names of metrics.
        leading: How many of the first columns also appear in overviews and differences.
        note: How to read the table.
    """

    title: str
    protocol: str
    columns: list[str]
    leading: int = 2
    note: str = ""

    @property
    def keys(self) -> list[str]:
        """``"<protocol>/<name>"`` of each column."""
        return [f"{self.protocol}/{name}" for name in self.columns]


@dataclass(frozen=True)
class Curve:
    """A value logged during training.

    Attributes:
        key: Logged key, ``"train/<name>"`` or ``"val/<name>"``.
        title: Heading.
        scale: Factor applied to our values.
        digits: Digits after the decimal point.
        note: How to read the table.
        published: Published values by variant and epoch.
    """

    key: str
    title: str
    scale: float = 1.0
    digits: int = 0
    note: str = ""
    published: dict[str, dict[int, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """One metric over several protocols that differ in one parameter.

    Attributes:
        title: Heading.
        x: The parameter.
        metric: Name of the metric.
        protocols: Protocol for each value of x.
        note: How to read the table.
        published: Published values by variant and value of x.
    """

    title: str
    x: str
    metric: str
    protocols: dict[float, str]
    note: str = ""
    published: dict[str, dict[float, float]] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """``"<protocol>/<metric>"`` for each value of x."""
        return [f"{protocol}/{self.metric}" for protocol in self.protocols.values()]


@dataclass(frozen=True)
class Relation:
    """Two metrics of all runs, one over the other: a point for each run.

    Attributes:
        title: Heading.
        x: Key of the metric on the horizontal axis.
        y: Key of the metric on the vertical axis.
        variants: Variants whose runs are shown; empty for all.
        slope: Key of a metric that predicts the slope, for a line from the mean of y where x is 0; ``None`` for no line.
        per: Divides the metric of ``slope``.
        prediction: What the line is, in a legend.
        note: What to know when reading it.
    """

    title: str
    x: str
    y: str
    variants: list[str] = field(default_factory=list)
    slope: str | None = None
    per: float = 1.0
    prediction: str = "predicted"
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture that runs write and the report shows.

    Attributes:
        file: File name in the ``images/`` folder of a run.
        variants: Variants that write it.
        caption: Caption; ``{data}`` is replaced by the title of the data.
    """

    file: str
    variants: list[str]
    caption: str


@dataclass(frozen=True)
class Published:
    """Published numbers from one source.

    Attributes:
        source: Where the numbers are published, or how they were measured.
        values: Numbers by variant and key: ``"<protocol>/<name>"``, or a bare name for a cost.
    """

    source: str
    values: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Claim:
    """A statement of a paper that measurements can support or refute.

    Attributes:
        claim: The statement, paraphrased.
        where: Where in the paper it is made.
        left: The variant it is about.
        metric: ``"<protocol>/<name>"``, a bare name for a cost, or a list of metrics to average.
        relation: ``higher`` or ``lower`` than the right side, or ``equal`` to it to within ``margin``.
        right: The variant or number it is compared with.
        margin: Largest negligible difference, in units of the metric; a smaller one is *no difference*.
        published: Published values, ``[left, right]`` or one number; ``None`` if the paper gives none.
        claimed: The difference that the paper reports under other conditions.
        primary: Whether this is one of the (at most three) main claims that the benchmark tests.
        relative_margin: The margin as a fraction of the right side's mean, for metrics that depend on the size of images.
    """

    claim: str
    where: str
    left: str
    metric: str | list[str]
    relation: Literal["higher", "lower", "equal"]
    right: str | float
    margin: float = 0.0
    published: float | list[float] | None = None
    claimed: float | None = None
    primary: bool = False
    relative_margin: float = 0.0

    @property
    def effect(self) -> float | None:
        """The claimed difference between two variants; ``None`` if the paper gives none."""
        if isinstance(self.published, list) and self.relation != "equal":
            return self.published[0] - self.published[1]
        return self.claimed

    @property
    def keys(self) -> list[str]:
        """Keys of the metric."""
        return [self.metric] if isinstance(self.metric, str) else self.metric


@dataclass(frozen=True)
class Benchmark:
    """A benchmark file, see ``benchmarks/``.

    Attributes:
        name: File name without its extension.
        title: Heading of the report.
        question: The question that the comparison answers.
        paper: Source of the published numbers.
        dataset: The dataset used in the paper.
        embedded: Images shipped with the package that can replace the dataset.
        baseline: Variant that differences refer to.
        base: Base configuration: a file in the same folder, or one shipped with the package, ``configs/...``.
        variants: Variants by name.
        profiles: Profiles by name; the first is the default, the last is the strongest evidence.
        base_configuration: Content of the base file.
        revision: Incremented by hand when a code change alters results without a configuration change.
        changes: Changes to the base configuration for all variants.
        average: ``last_epochs`` if verdicts use test metrics averaged over the last epochs, whose number is set by the key
            ``last_epochs`` of the configuration; ``None`` if they use the selected epoch.
        metrics: Metrics that are not the package's, by name.
        tables: Tables in the report.
        curves: Training curves in the report.
        sweeps: Sweeps in the report.
        relations: Scatter plots of two metrics.
        figures: Pictures of individual variants.
        published: Published numbers; the paper's own come first.
        claims: Claims of the paper.
        findings: Notes on interpreting the published numbers.
        file: The benchmark file if it is not one of the package's.
        content: The file's content without references to other files.
    """

    name: str
    title: str
    question: str
    paper: Paper
    dataset: str
    embedded: Literal["photos", "faces"]
    baseline: str
    base: str
    variants: dict[str, Variant]
    profiles: dict[str, Profile]
    base_configuration: dict[str, Any] = field(repr=False)
    revision: int = 1
    changes: dict[str, Any] = field(default_factory=dict)
    average: Literal["last_epochs"] | None = None
    metrics: dict[str, Metric] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    file: Path | None = field(default=None, compare=False)
    content: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def code(self) -> Path | None:
        """Folder of the file if a class of the benchmark belongs to that folder, which then is a Python package."""
        if self.file is None:
            return None
        folder = self.file.absolute().parent
        layers = [self.base_configuration, self.changes, *(variant.changes for variant in self.variants.values())]
        layers += [one for p in self.profiles.values() for one in (p.changes, *p.variants.values())]
        own = any(path.startswith(f"{folder.name}.") for layer in layers for path in configuration.classes(layer))
        return folder if own else None

    @property
    def reproduces(self) -> bool:
        """Whether the claims are those of a publication: always in the package; elsewhere if the file has its numbers."""
        claimed = any(claim.published is not None or claim.claimed is not None for claim in self.claims)
        return self.file is None or bool(self.published) or claimed

    @property
    def leading(self) -> list[str]:
        """Keys of the most important metrics: the leading columns of every table."""
        return [key for table in self.tables for key in table.keys[: table.leading]]

    def published_of(self, variant: str) -> dict[str, float]:
        """Published numbers of a variant by key; the first source takes precedence."""
        found: dict[str, float] = {}
        for source in self.published:
            found = {**source.values.get(variant, {}), **found}
        return found

    def configuration(self, variant: str, profile: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The stated configuration of a run for ``attnae fit -c``, without class defaults.

        Layers are merged in this order: base, benchmark, profile, variant, profile x variant, overrides.

        Args:
            variant: Name of a variant.
            profile: Name of a profile.
            overrides: Maps dotted keys of ``attnae fit`` to values.
        """
        chosen = self.profiles[profile]
        stated = configuration.merge(
            self.base_configuration,
            self.changes,
            chosen.changes,
            self.variants[variant].changes,
            chosen.variants.get(variant, {}),
        )
        return configuration.changed(stated, overrides or {})
