"""Finds and reads benchmark files and resolves variants that are shared between them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from attnae.bench.catalog.benchmark import Benchmark, Variant
from attnae.bench.catalog.configuration import merge
from attnae.bench.catalog.typed import Place, build, convert, suggestion
from attnae.bench.catalog.validation import check
from attnae.errors import UserError
from attnae.files import read_yaml, shipped
from attnae.metrics import columns
from attnae.paths import absolute, shown

ENDINGS = (".yaml", ".yml")

GENERIC = "benchmark"
"""A file of this name is called by its folder: ``my_idea/benchmark.yaml`` is the benchmark ``my_idea``."""


_others: dict[str, Benchmark] = {}
"""Benchmarks that are not shipped, by name."""


def names() -> list[str]:
    """Names of the benchmarks of the package, and of others that were registered."""
    return sorted([*shipped_names(), *_others])


def shipped_names() -> list[str]:
    """Names of the benchmarks of the package."""
    return sorted(path.stem for path in shipped("benchmarks").glob("*.yaml"))


def register(benchmark: Benchmark) -> None:
    """Makes a benchmark that is not shipped known by its name in this process, and its metrics by theirs.

    Raises:
        UserError: One of its metrics is defined differently by another benchmark.
    """
    try:
        columns.define(benchmark.name, [metric.column for metric in benchmark.metrics.values()])
    except ValueError as error:
        raise Place(_shown(benchmark.file or Path(benchmark.name))).error(f"metrics.{error}.") from error
    _others[benchmark.name] = benchmark


def find(text: str) -> Benchmark:
    """Finds a benchmark by its name or by the path of its file.

    Raises:
        UserError: The benchmark does not exist, its file is invalid, or it has the name of a shipped one.
    """
    if text.endswith(ENDINGS):
        found = read(absolute(text))
        if found.file and found.name in shipped_names():
            what = "folder" if found.file.stem == GENERIC else "file"
            raise UserError(f"{text}: {found.name} is the name of a shipped benchmark. Rename the {what}.")
        return found
    if text not in names() and (file := Path(text, f"{GENERIC}.yaml")).is_file():
        raise UserError(f"There is no benchmark {text!r}. To run your own, name its file: {file}")
    return load(text)


def load(name: str) -> Benchmark:
    """Reads a benchmark of the package, or returns a registered one.

    Raises:
        UserError: The benchmark does not exist, or its file is invalid.
    """
    choose("benchmark", name, names())
    return _others[name] if name in _others else read(shipped("benchmarks", f"{name}.yaml"))


def read(path: Path) -> Benchmark:
    """Reads and validates a benchmark file.

    Raises:
        UserError: A key, name or value is invalid; the message gives the file, the location and the closest valid name.
    """
    stated, place = _Variants(), Place(_shown(path))
    raw = stated.content(path)
    for key in ("variants", "base"):
        if key not in raw:
            raise place.error(f"missing key {key!r}")
    base = _base(raw["base"], path, place)
    variants = {name: stated.resolved(path, name) for name in stated.stated(path)}
    rest = {key: value for key, value in raw.items() if key != "variants"}
    own = path.absolute().parent != shipped("benchmarks")
    name = path.absolute().parent.name if own and path.stem == GENERIC else path.stem
    given: dict[str, Any] = {"name": name, "variants": variants, "base_configuration": base}
    given |= {"file": None, "content": {}}
    if own:
        whole = {name: asdict(variant) for name, variant in variants.items()}
        for one in whole.values():
            del one["name"]
        given |= {"file": path, "content": {**rest, "base": base, "variants": whole}}
        rest = {key: _without_html(value) for key, value in rest.items()}
        rest["base"] = raw["base"] if isinstance(raw["base"], str) else ""  # a mapping is read above
    benchmark = build(Benchmark, rest, place, **given)
    check(benchmark, place)
    return benchmark


def choose(kind: str, name: str, options: Iterable[str]) -> str:
    """Returns ``name`` if it is one of the options.

    Raises:
        UserError: It is not; the message gives the closest option and lists all options.
    """
    options = list(options)
    if name not in options:
        guess = suggestion(name, options)
        available = "" if guess.startswith(" Available") else f" Available: {', '.join(options)}."
        raise UserError(f"Unknown {kind} {name!r}.{guess}{available}")
    return name


@dataclass(frozen=True)
class _Stated:
    """A variant as written in the file; missing fields are inherited from the variant in ``from``."""

    name: str
    title: str | None = None
    about: str | None = None
    default: bool = False
    trains: bool | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    origin: str | None = field(default=None, metadata={"key": "from"})


class _Variants:
    """Variants of benchmark files; each file is read once."""

    def __init__(self) -> None:
        self.contents: dict[Path, dict[str, Any]] = {}
        self.files: dict[Path, dict[str, _Stated]] = {}

    def content(self, path: Path) -> dict[str, Any]:
        """Content of a file."""
        if path not in self.contents:
            self.contents[path] = read_yaml(path)
        return self.contents[path]

    def stated(self, path: Path) -> dict[str, _Stated]:
        """Variants as written in the file."""
        if path not in self.files:
            raw = self.content(path).get("variants")
            self.files[path] = convert(dict[str, _Stated], raw, Place(_shown(path), "variants"))
        return self.files[path]

    def resolved(self, path: Path, name: str, seen: tuple[tuple[Path, str], ...] = ()) -> Variant:
        """Resolves a variant and everything it inherits, possibly from other files.

        Args:
            path: The benchmark file.
            name: Name of a variant in the file.
            seen: Variants already visited, to detect cycles.

        Raises:
            UserError: The variant inherits from itself or from an unknown variant, or lacks a title or a description.
        """
        stated, place = self.stated(path)[name], Place(_shown(path), f"variants.{name}")
        if stated.origin is None:
            for key, text in (("title", stated.title), ("about", stated.about)):
                if text is None:
                    raise place.error(f"missing key {key!r}")
            parent = Variant(name, "", "")
        else:
            circle = (*seen, (path, name))
            origin = self._origin(path, stated.origin, place.at("from"))
            if origin in circle:
                told = " -> ".join(one for _, one in (*circle, origin))
                raise place.at("from").error(f"variants inherit from each other in a cycle: {told}")
            parent = self.resolved(*origin, circle)
        return Variant(
            name,
            parent.title if stated.title is None else stated.title,
            parent.about if stated.about is None else stated.about,
            stated.default,
            parent.trains if stated.trains is None else stated.trains,
            merge(parent.changes, stated.changes),
        )

    def _origin(self, path: Path, text: str, place: Place) -> tuple[Path, str]:
        """Resolves ``from: VARIANT`` or ``from: BENCHMARK/VARIANT`` to a file and the name of a variant."""
        source, slash, name = text.rpartition("/")
        if slash:
            place.choose("benchmark", source, names())
            other = shipped("benchmarks", f"{source}.yaml")
            bases = [self.content(file).get("base") for file in (path, other)]
            if bases[0] != bases[1]:
                raise place.error(f"{source} has a different base configuration, {bases[1]}")
            path = other
        place.choose("variant", name, self.stated(path))
        return path, name


def _base(stated: Any, path: Path, place: Place) -> dict[str, Any]:
    """Reads the base configuration: in place, a file in the folder of the benchmark, or one shipped with the package."""
    if isinstance(stated, dict):
        return stated
    name = convert(str, stated, place.at("base"))
    for file in (path.parent / name, shipped(name)):
        if file.is_file():
            return read_yaml(file)
    bases = [f"configs/{file.name}" for file in sorted(shipped("configs").glob("*.yaml"))]
    raise place.at("base").error(f"file not found: {name!r}.{suggestion(name, bases)}")


def _without_html(value: Any) -> Any:
    """Text without HTML tags: notes may be Markdown, and a kept file may be another person's."""
    if isinstance(value, str):
        return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", value)
    if isinstance(value, dict):
        return {key: _without_html(inner) for key, inner in value.items()}
    return [_without_html(inner) for inner in value] if isinstance(value, list) else value


def _shown(path: Path) -> str:
    """A file name for display; shipped files are shown by their path in the package."""
    if path.absolute().parent == shipped("benchmarks"):
        return f"benchmarks/{path.name}"
    return shown(path)
