"""Compares runs in bf16 with the same runs in fp32: ``python experiments/speed/precision.py FP32_RUNS BF16_RUNS``.

Both are folders with records of ``attnae-bench run``: those of one label, or the ``runs`` folder of one report. Runs of the same
benchmark, variant and seed are pairs, in which only the precision differs. ``run --precision fp32`` and ``run --precision bf16``
make them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from attnae.bench.reporting.seeds import paired, shared
from attnae.bench.reporting.statistics import by_seed
from attnae.errors import UserError
from attnae.result import Result, read_result

Runs = dict[tuple[str, str], dict[int, Result]]
"""Complete runs by benchmark and variant, then by seed."""


def runs_below(folder: Path, precision: str) -> Runs:
    """Complete runs of a folder in one precision."""
    found: Runs = defaultdict(dict)
    paths: dict[tuple[str, str, int], Path] = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            record = read_result(path)
        except UserError:
            continue  # another JSON file
        if record.status != "complete" or record.precision != precision:
            continue
        key = record.benchmark, record.variant, record.seed
        if key in paths:
            sys.exit(f"{paths[key]} and {path} are the same run in two settings. Name the folder of one report.")
        paths[key] = path
        found[record.benchmark, record.variant][record.seed] = record
    return found


def settings_of(run: Result) -> tuple[object, ...]:
    """What must be equal in both precisions. Old records have no digest of their data."""
    return run.profile, json.dumps(run.overrides, sort_keys=True), run.revision


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> str:
    """Mean difference over shared seeds, other minus one, and its 95% interval, in percent of the mean of one."""
    estimate = paired(other, one)
    assert estimate is not None
    bounds = estimate.interval()
    assert bounds is not None, "fewer than two shared seeds"
    scale = 100 / abs(fmean(one[seed] for seed in shared(other, one)))
    low, high = (scale * bound for bound in bounds)
    return f"{scale * estimate.mean:+.2f}% [{low:+.2f}, {high:+.2f}]"


def row(name: str, fp32: Mapping[int, float], bf16: Mapping[int, float]) -> str:
    """Compares values by seed."""
    values = list(fp32.values())
    mean, spread = fmean(values), 100 * stdev(values) / abs(fmean(values))
    return f"{name:38}{len(values):>4}{mean:>12.5g}{spread:>11.2f}%    {difference(fp32, bf16)}"


def largest_gap(fp32: Mapping[int, Result], bf16: Mapping[int, Result], curve: str) -> tuple[float, float]:
    """Largest difference between the mean curves over epochs, and the spread over fp32's seeds in that epoch, in percent."""
    one, other = (
        np.array([runs[seed].curves[curve] for seed in sorted(fp32)], float) for runs in (fp32, bf16)
    )  # None, an epoch without validation, becomes NaN
    gaps = 100 * (other.mean(0) - one.mean(0)) / one.mean(0)
    epoch = int(np.nanargmax(np.abs(gaps)))
    return float(gaps[epoch]), float(100 * one[:, epoch].std(ddof=1) / one[:, epoch].mean())


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="Runs in bf16 against the same runs in fp32.")
    parser.add_argument("fp32", type=Path, help="folder with runs in fp32")
    parser.add_argument("bf16", type=Path, help="folder with runs in bf16")
    parser.add_argument("--metric", default="heldout/mse", help="metric to compare (default: %(default)s)")
    parser.add_argument("--variants", nargs="+", help="variants to compare (default: all); the first is the baseline")
    parser.add_argument("--curve", default="val/mse", help="curve over the epochs to compare (default: %(default)s)")
    arguments = parser.parse_args()
    fp32, bf16 = runs_below(arguments.fp32, "fp32"), runs_below(arguments.bf16, "bf16")
    pairs: list[tuple[str, str]] = []
    for name in fp32:
        seeds = fp32[name].keys() & bf16[name].keys()
        trained = all("epoch" in runs[name][seed].curves for runs in (fp32, bf16) for seed in seeds)
        if len(seeds) < 2 or not trained or (arguments.variants and name[1] not in arguments.variants):
            continue
        for seed in seeds:
            one, other = fp32[name][seed], bf16[name][seed]
            if settings_of(one) != settings_of(other):
                sys.exit(f"{'/'.join(name)}: profile, overrides or revision of seed {seed} differ. Compare one report.")
            for kind, place in (("metric", "metrics"), ("curve", "curves")):
                wanted, found = getattr(arguments, kind), getattr(one, place).keys() & getattr(other, place).keys()
                if wanted not in found:
                    sys.exit(f"{'/'.join(name)} has no {kind} {wanted}. Available: {', '.join(sorted(found))}.")
        for runs in (fp32, bf16):
            runs[name] = {seed: runs[name][seed] for seed in seeds}
        pairs.append(name)
    missing = [variant for variant in arguments.variants or [] if variant not in {name[1] for name in pairs}]
    if not pairs or missing:
        sys.exit(
            f"{', '.join(missing) or 'No variant'}: fewer than two seeds in fp32 below {arguments.fp32} and in bf16 below "
            f"{arguments.bf16}."
        )
    if arguments.variants:
        pairs.sort(key=lambda name: arguments.variants.index(name[1]))

    def values(runs: Runs, name: tuple[str, str]) -> dict[int, float]:
        return by_seed([*runs[name].values()], arguments.metric)

    print(f"{arguments.metric:38}{'n':>4}{'fp32':>12}{'of seeds':>12}{'bf16 - fp32 [95%]':>30}")
    for name in pairs:
        print(row("/".join(name), values(fp32, name), values(bf16, name)))
    print("\ndifference from the first variant of a benchmark, in each precision")
    for benchmark, group in groupby(sorted(pairs, key=itemgetter(0)), itemgetter(0)):
        first, *others = group
        for second in others:
            if len(fp32[first].keys() & fp32[second].keys()) < 2:
                continue
            told = (
                f"{precision} {difference(values(runs, first), values(runs, second))}"
                for precision, runs in (("fp32", fp32), ("bf16", bf16))
            )
            print(f"{benchmark}: {second[1]} - {first[1]}: {', '.join(told)}")
    print(f"\nlargest difference of {arguments.curve} over the epochs")
    for name in pairs:
        gap, spread = largest_gap(fp32[name], bf16[name], arguments.curve)
        print(f"{'/'.join(name):38}{gap:+.2f}%, over seeds in fp32 {spread:.2f}%")


if __name__ == "__main__":
    main()
