"""Finds benchmark files and reads them, with the variants that they take from each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnae.bench.catalog.benchmark import Benchmark, Variant
from attnae.bench.catalog.configuration import merge
from attnae.bench.catalog.typed import Place, build, convert, suggestion
from attnae.bench.catalog.validation import check
from attnae.errors import UserError
from attnae.files import read_yaml, shipped

ENDINGS = (".yaml", ".yml")


def names() -> list[str]:
    """All benchmarks that ship with the package."""
    return sorted(path.stem for path in shipped("benchmarks").glob("*.yaml"))


def find(text: str) -> Benchmark:
    """The benchmark that a person names: one that ships, or the path of a file.

    Raises:
        UserError: There is none, or its file is wrong.
    """
    return read(Path(text).expanduser()) if text.endswith(ENDINGS) else load(text)


def load(name: str) -> Benchmark:
    """Reads a benchmark that ships with the package.

    Raises:
        UserError: There is none of that name, or its file is wrong.
    """
    choose("benchmark", name, names())
    return read(shipped("benchmarks", f"{name}.yaml"))


def read(path: Path) -> Benchmark:
    """Reads and validates a benchmark file.

    Raises:
        UserError: A key, name or value in it is wrong; the message names file, place and the nearest name.
    """
    raw, place = read_yaml(path), Place(_shown(path))
    for key in ("variants", "base"):
        if key not in raw:
            raise place.error(f"the key {key!r} is missing")
    base, stated = _base(raw["base"], path, place), _Variants()
    variants = {name: stated.resolved(path, name) for name in stated.stated(path)}
    rest = {key: value for key, value in raw.items() if key != "variants"}
    given: dict[str, Any] = {"name": path.stem, "variants": variants, "base_configuration": base}
    benchmark = build(Benchmark, rest, place, **given)
    check(benchmark, place)
    return benchmark


def choose(kind: str, name: str, options: Iterable[str]) -> str:
    """``name`` if it is one of the options.

    Raises:
        UserError: It is not; names the closest option, and all of them.
    """
    options = list(options)
    if name not in options:
        guess = suggestion(name, options)
        available = "" if guess.startswith(" Available") else f" Available: {', '.join(options)}."
        raise UserError(f"Unknown {kind} {name!r}.{guess}{available}")
    return name


@dataclass(frozen=True)
class _Stated:
    """A variant as a file states it: what it does not say is as in the variant that it comes from."""

    name: str
    title: str | None = None
    about: str | None = None
    default: bool = False
    trains: bool | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    origin: str | None = field(default=None, metadata={"key": "from"})


class _Variants:
    """The variants of benchmark files, each file read once."""

    def __init__(self) -> None:
        self.files: dict[Path, dict[str, _Stated]] = {}

    def stated(self, path: Path) -> dict[str, _Stated]:
        """As the file states them."""
        if path not in self.files:
            raw = read_yaml(path).get("variants")
            self.files[path] = convert(dict[str, _Stated], raw, Place(_shown(path), "variants"))
        return self.files[path]

    def resolved(self, path: Path, name: str, seen: tuple[tuple[Path, str], ...] = ()) -> Variant:
        """A variant with all that it takes from others, which may be in other files.

        Args:
            path: The benchmark file.
            name: A variant in it.
            seen: The variants that led here.

        Raises:
            UserError: It comes from itself, from an unknown variant, or lacks a title or a description.
        """
        stated, place = self.stated(path)[name], Place(_shown(path), f"variants.{name}")
        if stated.origin is None:
            for key, text in (("title", stated.title), ("about", stated.about)):
                if text is None:
                    raise place.error(f"the key {key!r} is missing")
            parent = Variant(name, "", "")
        else:
            circle = (*seen, (path, name))
            origin = self._origin(path, stated.origin, place.at("from"))
            if origin in circle:
                told = " -> ".join(one for _, one in (*circle, origin))
                raise place.at("from").error(f"the variants come from each other in a circle: {told}")
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
        """File and name of the variant that ``from: VARIANT`` or ``from: BENCHMARK/VARIANT`` means."""
        source, slash, name = text.rpartition("/")
        if slash:
            place.choose("benchmark", source, names())
            other = shipped("benchmarks", f"{source}.yaml")
            bases = [read_yaml(file).get("base") for file in (path, other)]
            if bases[0] != bases[1]:
                raise place.error(f"{source} changes another base configuration, {bases[1]}")
            path = other
        place.choose("variant", name, self.stated(path))
        return path, name


def _base(text: Any, path: Path, place: Place) -> dict[str, Any]:
    """What the base configuration holds: a file beside the benchmark's, or one that ships with the package."""
    name = convert(str, text, place.at("base"))
    for file in (path.parent / name, shipped(name)):
        if file.is_file():
            return read_yaml(file)
    bases = [f"configs/{file.name}" for file in sorted(shipped("configs").glob("*.yaml"))]
    raise place.at("base").error(f"there is no file {name!r}.{suggestion(name, bases)}")


def _shown(path: Path) -> str:
    """A file as a person knows it: those that ship by their name in the package."""
    if path.parent == shipped("benchmarks"):
        return f"benchmarks/{path.name}"
    return str(path)
