"""What a benchmark file holds, as types; ``attnae.bench.catalog`` reads the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from attnae.bench.catalog import configuration

Evidence = Literal["demonstration", "partial", "published"]
"""How much a profile's runs say: nothing about the paper, something, or what its own protocol says."""

WEIGHT: dict[str, int] = {"demonstration": 0, "partial": 1, "published": 2}
"""Rank of each kind of evidence."""


@dataclass(frozen=True)
class Paper:
    """Where the published numbers come from.

    Attributes:
        title: Title, and where in it the numbers are.
        url: Address.
        notes: Data, schedule and whatever else is needed to read the numbers.
    """

    title: str
    url: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Variant:
    """One row of a comparison.

    Attributes:
        name: Name on the command line.
        title: Heading in tables.
        about: One line: what it is and which question it answers.
        default: Whether ``run`` includes it unless told otherwise.
        trains: Whether there is anything to train.
        changes: What it changes of the configuration.
    """

    name: str
    title: str
    about: str
    default: bool = False
    trains: bool = True
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """Data and schedule of all variants.

    Attributes:
        name: Name on the command line.
        about: One line: data, schedule, and how long it takes.
        evidence: How much its runs say about the paper.
        changes: What it changes of the configuration of every variant.
        variants: What it changes of single variants, after the variant's own changes.
    """

    name: str
    about: str
    evidence: Evidence
    changes: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Metrics of one protocol, a row for each variant.

    Attributes:
        title: Heading.
        protocol: Which images, and how; see ``attnae.metrics.columns.PROTOCOLS``.
        columns: Names of metrics.
        leading: How many of the first columns are also in overviews and differences.
        note: What to know when reading it.
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
    """A number that is followed during training.

    Attributes:
        key: ``"train/<name>"`` or ``"val/<name>"``, as it is logged.
        title: Heading.
        scale: Factor on our values.
        digits: Digits after the point.
        note: What to know when reading it.
        published: Variant to epoch to number.
    """

    key: str
    title: str
    scale: float = 1.0
    digits: int = 0
    note: str = ""
    published: dict[str, dict[int, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """One metric under several protocols that differ in one number.

    Attributes:
        title: Heading.
        x: What differs.
        metric: Name of the metric.
        protocols: Value of x to protocol.
        note: What to know when reading it.
        published: Variant to value of x to number.
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
    """A picture that runs draw and the report shows.

    Attributes:
        file: Name of the file in a run's ``images/``.
        variants: Variants that draw it.
        caption: What it shows; ``{data}`` becomes the title of the data.
    """

    file: str
    variants: list[str]
    caption: str


@dataclass(frozen=True)
class Published:
    """Numbers from one source.

    Attributes:
        source: Where they are published, or how they were measured.
        values: Variant to key (``"<protocol>/<name>"``, a bare name for a cost) to number.
    """

    source: str
    values: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper that numbers can support or refute.

    Attributes:
        claim: The sentence, in our words.
        where: Where the paper says so.
        left: Variant that it is about.
        metric: ``"<protocol>/<name>"``, a bare name for a cost, or a list whose mean counts.
        relation: ``higher`` or ``lower`` than the right side by more than ``margin``, or ``equal`` to within ``margin``.
        right: Variant that it is compared with, or a number.
        margin: In units of the metric.
        published: The paper's figures, ``[left, right]``, or one number; ``None`` where it has none.
        claimed: The difference that the paper reports, for a claim about the same under other conditions.
        primary: Whether it is one of the at most three claims that the benchmark is made to decide.
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

    @property
    def effect(self) -> float | None:
        """Size of the claimed difference between two variants; ``None`` where the paper gives none."""
        if isinstance(self.published, list) and self.relation != "equal":
            return self.published[0] - self.published[1]
        return self.claimed

    @property
    def keys(self) -> list[str]:
        """The metric's keys."""
        return [self.metric] if isinstance(self.metric, str) else self.metric


@dataclass(frozen=True)
class Benchmark:
    """A benchmark file, see ``benchmarks/``.

    Attributes:
        name: Name of the file without its ending.
        title: Heading of the report.
        question: What the comparison answers.
        paper: Where the published numbers come from.
        dataset: Published dataset.
        embedded: Images that ship with the package and stand in for it.
        baseline: Variant that differences refer to.
        base: Configuration that everything changes: a file beside the benchmark's, or one that ships, ``configs/...``.
        variants: All variants by name.
        profiles: All profiles by name; the first is the default.
        base_configuration: What the base file holds.
        revision: Raised by hand when code changes numbers without changing the configuration.
        changes: What the benchmark changes of the base for all variants.
        average: ``last_epochs`` if verdicts compare the mean over the test metrics of the last epochs; the configuration's
            ``last_epochs`` says of how many. ``None`` for those of the selected epoch.
        tables: Tables of the report.
        curves: Training curves of the report.
        sweeps: Sweeps of the report.
        relations: Scatter plots of two metrics.
        figures: Pictures of single variants.
        published: Published numbers, the paper's own first.
        claims: What the paper claims.
        findings: What to know when reading the published numbers.
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
    tables: list[Table] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def leading(self) -> list[str]:
        """Keys of the numbers to look at first: the leading columns of every table."""
        return [key for table in self.tables for key in table.keys[: table.leading]]

    def published_of(self, variant: str) -> dict[str, float]:
        """Published numbers of a variant by key; of several for one key the first source's."""
        found: dict[str, float] = {}
        for source in self.published:
            found = {**source.values.get(variant, {}), **found}
        return found

    def configuration(self, variant: str, profile: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The stated configuration of a run, as ``attnae fit -c`` takes it: without the defaults of the classes.

        Merged in the order base, benchmark, profile, variant, profile x variant, overrides.

        Args:
            variant: Name of a variant.
            profile: Name of a profile.
            overrides: Dotted keys of ``attnae fit`` to values.
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
