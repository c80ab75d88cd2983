"""Validation of benchmark files beyond keys and types: every name must be defined."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from attnae.bench.catalog.benchmark import WEIGHT, Benchmark, Claim, Curve, Metric, Relation, Sweep
from attnae.bench.catalog.typed import Place
from attnae.metrics.columns import COLUMNS, PROTOCOLS, Column, defined, is_protocol

NAME = re.compile(r"[A-Za-z0-9]\w{0,99}", re.ASCII)
"""Valid names of benchmarks, variants and profiles; they appear in folder names and comma-separated options."""

FILE = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
"""Valid names of figures, which are joined to the folders of runs and reports."""

MOST_DIGITS = 12
"""Maximum number of digits after the decimal point."""

METRIC = re.compile(r"[a-z][a-z0-9_]{0,49}")
"""Valid names of a benchmark's own metrics; they are keys of result files and columns of tables."""

PLAIN = re.compile(r"[\w \-+/().%^]{1,40}")
"""Valid titles and units of a benchmark's own metrics: nothing that Markdown, LaTeX or a figure would interpret."""

MOST_PRIMARY = 3
"""Maximum number of primary claims; with more, some would hold by chance."""


def check(benchmark: Benchmark, place: Place) -> None:
    """Checks all names of a benchmark.

    Raises:
        UserError: A variant, metric, protocol or other name is undefined, or settings contradict each other.
    """
    _names(benchmark, place)
    _configurations(benchmark, place)
    if benchmark.average and not _last_epochs(benchmark):
        raise place.at("average").error("requires last_epochs above 0 in the configuration")
    levels = [WEIGHT[profile.evidence] for profile in benchmark.profiles.values()]
    if levels != sorted(levels):
        raise place.at("profiles").error("must be ordered by evidence: demonstrations first, published last")
    for metric in benchmark.metrics.values():
        _own_metric(metric, place.at("metrics").at(metric.name))
    for index, table in enumerate(benchmark.tables):
        here = place.at("tables").at(index)
        _protocol(table.protocol, here.at("protocol"))
        for position, name in enumerate(table.columns):
            _quality(name, benchmark, here.at("columns").at(position))
        if table.leading < 0:
            raise here.at("leading").error("must not be negative")
    for index, curve in enumerate(benchmark.curves):
        _curve(curve, benchmark, place.at("curves").at(index))
    for index, sweep in enumerate(benchmark.sweeps):
        _sweep(sweep, benchmark, place.at("sweeps").at(index))
    for index, relation in enumerate(benchmark.relations):
        _relation(relation, benchmark, place.at("relations").at(index))
    for index, figure in enumerate(benchmark.figures):
        if not FILE.fullmatch(figure.file):
            raise place.at("figures").at(index).at("file").error(f"{figure.file!r:.60} must be the name of a picture")
        for position, name in enumerate(figure.variants):
            place.at("figures").at(index).at("variants").at(position).choose("variant", name, benchmark.variants)
    for index, published in enumerate(benchmark.published):
        here = place.at("published").at(index).at("values")
        _variants(published.values, benchmark, here)
        for name, values in published.values.items():
            for key in values:
                _metric(key, benchmark, here.at(name))
    for index, claim in enumerate(benchmark.claims):
        _claim(claim, benchmark, place.at("claims").at(index))
    primary = sum(claim.primary for claim in benchmark.claims)
    if primary > MOST_PRIMARY:
        raise place.at("claims").error(f"{primary} primary claims; at most {MOST_PRIMARY} are allowed")


def _names(benchmark: Benchmark, place: Place) -> None:
    if not NAME.fullmatch(benchmark.name):
        raise place.error(f"the name {benchmark.name!r} must consist of letters, digits and '_'")
    for kind, known in (("variants", list(benchmark.variants)), ("profiles", list(benchmark.profiles))):
        if not known:
            raise place.at(kind).error("must not be empty")
        for name in known:
            if not NAME.fullmatch(name):
                raise place.at(kind).error(f"the name {name!r} must consist of letters, digits and '_'")
    place.at("baseline").choose("variant", benchmark.baseline, benchmark.variants)
    if not any(variant.default for variant in benchmark.variants.values()):
        raise place.at("variants").error("at least one variant must have `default: true`")
    if benchmark.revision < 1:
        raise place.at("revision").error("must be 1 or more")
    for name, profile in benchmark.profiles.items():
        here = place.at("profiles").at(name)
        _variants(profile.variants, benchmark, here.at("variants"))
        if profile.threads is not None and profile.threads < 1:
            raise here.at("threads").error("must be 1 or more")


def _configurations(benchmark: Benchmark, place: Place) -> None:
    _configuration(benchmark.base_configuration, place.at("base"))
    _configuration(benchmark.changes, place.at("changes"))
    for name, variant in benchmark.variants.items():
        _configuration(variant.changes, place.at("variants").at(name).at("changes"))
    for name, profile in benchmark.profiles.items():
        here = place.at("profiles").at(name)
        _configuration(profile.changes, here.at("changes"))
        for variant_name, changes in profile.variants.items():
            _configuration(changes, here.at("variants").at(variant_name))


def _configuration(value: Any, place: Place) -> None:
    """Checks that keys are strings at every level and that ``class_path`` is a string."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            _configuration(each, place.at(index))
    for key, inner in value.items() if isinstance(value, dict) else ():
        if not isinstance(key, str):
            raise place.error(f"the key {key!r} must be a string")
        if key == "class_path" and not isinstance(inner, str):
            raise place.at(key).error(f"must be a class path, got {inner!r:.60}")
        _configuration(inner, place.at(key))


def _last_epochs(benchmark: Benchmark) -> bool:
    count = benchmark.changes.get("last_epochs", benchmark.base_configuration.get("last_epochs", 0))
    return isinstance(count, int) and count > 0


def _variants(named: Iterable[str], benchmark: Benchmark, place: Place) -> None:
    for name in named:
        place.choose("variant", name, benchmark.variants)


def _protocol(name: str, place: Place) -> None:
    if not is_protocol(name):
        place.choose("protocol", name, PROTOCOLS)


def _own_metric(metric: Metric, place: Place) -> None:
    if not METRIC.fullmatch(metric.name):
        raise place.error(f"the name {metric.name!r} must consist of lowercase letters, digits and '_'")
    if defined(metric.name):
        raise place.error("is a metric of the package; choose another name")
    for key, text in (("title", metric.title), ("unit", metric.unit)):
        if "_" in text or not PLAIN.fullmatch(text):
            raise place.at(key).error(f"must be 1 to 40 letters, digits, spaces and -+/().%^, got {text!r:.60}")
    if not metric.definition.strip():
        raise place.at("definition").error("must not be empty")
    if not 0 <= metric.digits <= MOST_DIGITS:
        raise place.at("digits").error(f"must be from 0 to {MOST_DIGITS}")


def _known(benchmark: Benchmark) -> dict[str, Column]:
    """Metrics of the package and of the benchmark."""
    return {**COLUMNS, **{name: metric.column for name, metric in benchmark.metrics.items()}}


def _column(name: str, benchmark: Benchmark) -> Column | None:
    """Definition of a metric of the benchmark or the package; ``None`` if there is none."""
    return benchmark.metrics[name].column if name in benchmark.metrics else defined(name)


def _quality(name: str, benchmark: Benchmark, place: Place) -> None:
    """Checks the name of an image quality metric, given without its protocol."""
    known = _known(benchmark)
    found = _column(name, benchmark)
    if found is None or found.kind != "quality":
        place.choose("metric", name, [column.name for column in known.values() if column.kind == "quality"])


def _metric(key: str, benchmark: Benchmark, place: Place) -> None:
    """Checks a key: ``"<protocol>/<name>"``, or the bare name of a cost."""
    protocol, slash, name = key.rpartition("/")
    if slash:
        _protocol(protocol, place)
        _quality(name, benchmark, place)
        return
    known = _known(benchmark)
    found = _column(name, benchmark)
    if found is not None and not found.cost:
        raise place.error(f"{key!r} requires a protocol, such as heldout/{key}")
    if found is None:
        place.choose("metric", key, [f"heldout/{c.name}" if c.kind == "quality" else c.name for c in known.values()])


def _curve(curve: Curve, benchmark: Benchmark, place: Place) -> None:
    _variants(curve.published, benchmark, place.at("published"))
    known = _known(benchmark)
    logged = [f"{split}/{c.name}" for split in ("train", "val") for c in known.values() if not c.cost]
    if not 0 <= curve.digits <= MOST_DIGITS:
        raise place.at("digits").error(f"must be from 0 to {MOST_DIGITS}")
    split, _, name = curve.key.partition("/")
    found = _column(name, benchmark)
    if split not in ("train", "val") or found is None or found.cost:
        place.at("key").choose("curve", curve.key, logged)


def _sweep(sweep: Sweep, benchmark: Benchmark, place: Place) -> None:
    _quality(sweep.metric, benchmark, place.at("metric"))
    if not sweep.protocols:
        raise place.at("protocols").error("must not be empty")
    for x, protocol in sweep.protocols.items():
        _protocol(protocol, Place(place.file, f"{place.path}.protocols.{x}"))
    _variants(sweep.published, benchmark, place.at("published"))
    for name, values in sweep.published.items():
        for x in values:
            place.at("published").at(name).choose(f"value of {sweep.x}", str(x), map(str, sweep.protocols))


def _relation(relation: Relation, benchmark: Benchmark, place: Place) -> None:
    for axis, key in (("x", relation.x), ("y", relation.y), ("slope", relation.slope)):
        if key is not None:
            _metric(key, benchmark, place.at(axis))
    for position, name in enumerate(relation.variants):
        place.at("variants").at(position).choose("variant", name, benchmark.variants)
    if relation.per <= 0:
        raise place.at("per").error("must be above 0")


def _claim(claim: Claim, benchmark: Benchmark, place: Place) -> None:
    for key, side in (("left", claim.left), ("right", claim.right)):
        if isinstance(side, str):
            place.at(key).choose("variant", side, benchmark.variants)
    if not claim.keys:
        raise place.at("metric").error("must name at least one metric")
    for metric in claim.keys:
        _metric(metric, benchmark, place.at("metric"))
    if len({metric.rpartition("/")[2] for metric in claim.keys}) > 1:
        raise place.at("metric").error("must name one metric under several protocols, because their mean is compared")
    if claim.left == claim.right:
        raise place.at("right").error(f"{claim.right} cannot be compared with itself")
    if claim.margin < 0 or (claim.relation == "equal" and not (claim.margin or claim.relative_margin)):
        raise place.at("margin").error("must be above 0 if relation is equal, and must not be negative")
    if claim.relative_margin and (claim.margin or not 0 < claim.relative_margin < 1):
        raise place.at("relative_margin").error("must be between 0 and 1, without margin")
    if isinstance(claim.published, list) and len(claim.published) != 2:
        raise place.at("published").error("must be one number or two numbers, [left, right]")
