"""Shell completion of benchmarks, variants, profiles and keys."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from attnae.bench import catalog
from attnae.bench.catalog.benchmark import Benchmark
from attnae.bench.keys.catalog import Argument, known
from attnae.bench.keys.check import CANNOT_WORK, OPTIONS


def offer(parser: argparse.ArgumentParser) -> None:
    """Sets the completion choices of a parser. Do not parse arguments with it afterwards: the choices are not complete."""
    benchmarks = [catalog.load(name) for name in catalog.names()]
    offered = {
        "benchmark": [one.name for one in benchmarks],
        "profile": list(dict.fromkeys(profile for one in benchmarks for profile in one.profiles)),
        "variants": list(dict.fromkeys(variant for one in benchmarks for variant in one.variants)),
        "overrides": [f"{key}=" for key in keys()],
    }
    for action in _actions(parser):
        if action.dest in offered:
            action.choices = offered[action.dest]


def configurable(benchmark: Benchmark) -> dict[str, tuple[Argument, list[str]]]:
    """All keys that ``--set`` accepts for a benchmark, sorted, with the variants that have each key."""
    found: dict[str, tuple[Argument, list[str]]] = {}
    profile = next(iter(benchmark.profiles))
    for variant in benchmark.variants:
        for key, argument in known(benchmark.configuration(variant, profile)).items():
            if key not in CANNOT_WORK and key not in OPTIONS:
                found.setdefault(key, (argument, []))[1].append(variant)
    return dict(sorted(found.items()))


def keys() -> list[str]:
    """All keys that ``--set`` accepts for any benchmark, sorted."""
    return sorted({key for name in catalog.names() for key in configurable(catalog.load(name))})


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
