"""``attnae-bench config BENCHMARK --variant V``: prints the configuration of a run for ``attnae fit -c``."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from attnae.bench import catalog
from attnae.bench.commands.arguments import Subparsers, add_overrides
from attnae.bench.markdown import one_line
from attnae.bench.request import overrides
from attnae.files import dump_yaml


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("config", help="print the configuration of a variant for attnae fit -c FILE")
    parser.add_argument(
        "benchmark", metavar="BENCHMARK", help="name (see attnae-bench list) or path of a benchmark file"
    )
    parser.add_argument("--variant", required=True, metavar="V", help="name of a variant")
    parser.add_argument("--profile", metavar="P", help="data and schedule; default: the first profile")
    add_overrides(parser)
    parser.set_defaults(handler=config)


def config(options: argparse.Namespace) -> int:
    """Prints the stated configuration as YAML."""
    benchmark = catalog.find(options.benchmark)
    variant = catalog.choose("variant", options.variant, benchmark.variants)
    profile = catalog.choose("profile", options.profile or next(iter(benchmark.profiles)), benchmark.profiles)
    stated = overrides(options.overrides)
    words = [
        "--variant",
        variant,
        "--profile",
        profile,
        *(word for text in options.overrides for word in ("--set", text)),
    ]
    print("#", one_line(shlex.join(["attnae-bench", "config", options.benchmark, *words])))
    print(dump_yaml(benchmark.configuration(variant, profile, stated)), end="")
    return 0
