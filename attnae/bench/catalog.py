"""What can be compared: benchmark files and the configurations that they name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from attnae.errors import UserError
from attnae.files import read_yaml, shipped


@dataclass(frozen=True)
class Variant:
    """One row of a comparison.

    Attributes:
        name: Name on the command line and of the file ``configs/<benchmark>/<name>.yaml``.
        title: Heading in tables.
        about: One line: what it is and which question it answers.
        default: Whether ``run`` includes it unless told otherwise.
        trains: Whether there is anything to train.
    """

    name: str
    title: str
    about: str
    default: bool = False
    trains: bool = True


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

    def fits(self, variants: dict[str, Any]) -> None:
        """Checks the benchmark file.

        Raises:
            UserError: A variant is unknown, a relation is none, or an equality has no margin.
        """
        for side in (self.left, self.right):
            if isinstance(side, str) and side not in variants:
                raise UserError(f"claim {self.claim!r}: there is no variant {side!r}")
        if self.relation not in ("higher", "lower", "equal"):
            raise UserError(f"claim {self.claim!r}: relation must be higher, lower or equal, got {self.relation!r}")
        if self.relation == "equal" and self.margin <= 0:
            raise UserError(f"claim {self.claim!r}: equality needs a margin")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark file, see ``benchmarks/``.

    Attributes:
        name: Name of the file.
        title: Heading of the report.
        question: What the comparison answers.
        paper: ``title``, ``url`` and ``notes`` about the published numbers.
        dataset: Published dataset.
        embedded: Images that ship with the package and stand in for it.
        baseline: Variant that differences refer to.
        variants: All variants by name.
        tables: Each with ``title``, ``protocol``, ``columns`` and ``note``.
        published: Variant to ``"<protocol>/<name>"`` to number.
        curves: Each with ``key``, ``title``, ``scale`` and ``published``: variant to epoch to number.
        sweeps: Each with ``title``, ``x`` (what is swept), ``name`` (a metric), ``protocols`` (value of x to protocol) and
            ``published``: variant to value of x to number.
        figures: Each with ``file`` (a picture that runs draw), ``variants`` and ``caption``.
        claims: What the paper claims.
        findings: What to know when reading the published numbers.
    """

    name: str
    title: str
    question: str
    paper: dict[str, str]
    dataset: str
    embedded: str
    baseline: str
    variants: dict[str, Variant]
    tables: list[dict[str, Any]]
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    sweeps: list[dict[str, Any]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def profiles(self) -> dict[str, str]:
        """Profile names to their one-line description, the comment in the file's first line; ``quick`` first."""
        files = shipped("configs", self.name, "profiles").glob("*.yaml")
        order = {"quick": 0, "short": 1, "paper": 2}
        chosen = sorted(files, key=lambda file: (order.get(file.stem, 9), file.stem))
        return {file.stem: file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for file in chosen}

    @property
    def leading(self) -> list[str]:
        """Keys of the numbers to look at first: the leading columns of every table."""
        return [
            f"{spec['protocol']}/{name}" for spec in self.tables for name in spec["columns"][: spec.get("leading", 2)]
        ]

    def configs(self, variant: str, profile: str) -> list[str]:
        """Configuration files of a run from general to special, as typed on the command line."""
        folder = f"configs/{self.name}"
        files = [
            f"{folder}/{variant}.yaml",
            f"{folder}/profiles/{profile}.yaml",
            f"{folder}/profiles/{profile}/{variant}.yaml",
        ]
        return [file for file in files if shipped(file).exists()]


def names() -> list[str]:
    """All benchmarks."""
    return sorted(path.stem for path in shipped("benchmarks").glob("*.yaml"))


def load(name: str) -> Benchmark:
    """Reads a benchmark file.

    Raises:
        UserError: There is none of that name.
    """
    choose("benchmark", name, names())
    raw = read_yaml(shipped("benchmarks", f"{name}.yaml"))
    variants = {key: Variant(key, **value) for key, value in raw.pop("variants").items()}
    claims = [Claim(**claim) for claim in raw.pop("claims", [])]
    for claim in claims:
        claim.fits(variants)
    return Benchmark(name=name, variants=variants, claims=claims, **raw)


def choose(kind: str, name: str, options: Iterable[str]) -> str:
    """``name`` if it is one of the options.

    Raises:
        UserError: It is not; names the options and the closest one.
    """
    options = list(options)
    if name not in options:
        close = difflib.get_close_matches(name, options, 1)
        guess = f" Did you mean {close[0]}?" if close else ""
        raise UserError(f"Unknown {kind} {name!r}.{guess} There are: {', '.join(options)}.")
    return name
