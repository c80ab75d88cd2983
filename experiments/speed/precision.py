"""Compares runs in bf16 with the same runs in fp32: ``python experiments/speed/precision.py FP32_RUNS BF16_RUNS``.

Both are folders with records of ``attnae-bench run``: runs, or the ``runs`` folder of a report. Runs of the same benchmark,
variant and seed are pairs, in which only the precision differs. ``run --precision fp32`` and ``run --precision bf16`` make them.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from scipy import stats

from attnae.errors import UserError
from attnae.result import Result, read_result

Runs = dict[tuple[str, str], dict[int, Result]]
"""Complete runs by benchmark and variant, then by seed."""


def runs_below(folder: Path, precision: str) -> Runs:
    """Complete runs of a folder in one precision."""
    found: Runs = defaultdict(dict)
    for path in sorted(folder.rglob("*.json")):
        try:
            record = read_result(path)
        except UserError:
            continue  # another JSON file
        if record.status == "complete" and record.precision == precision:
            found[record.benchmark, record.variant][record.seed] = record
    return found


def interval(differences: np.ndarray) -> tuple[float, float]:
    """95% confidence interval of the mean."""
    low, high = stats.ttest_1samp(differences, 0).confidence_interval()
    return float(low), float(high)


def row(name: str, fp32: Mapping[int, float], bf16: Mapping[int, float]) -> str:
    """Compares values by seed."""
    seeds = sorted(fp32.keys() & bf16.keys())
    one, other = (np.array([values[seed] for seed in seeds]) for values in (fp32, bf16))
    low, high = (100 * bound / abs(one.mean()) for bound in interval(other - one))
    return (
        f"{name:38}{len(seeds):>4}{one.mean():>12.5g}{100 * one.std(ddof=1) / abs(one.mean()):>11.2f}%"
        f"{100 * (other - one).mean() / abs(one.mean()):>+10.2f}% [{low:+.2f}, {high:+.2f}]"
    )


def effect(one: Mapping[int, float], other: Mapping[int, float]) -> str:
    """Mean difference of two variants and its interval, in percent of the first."""
    seeds = sorted(one.keys() & other.keys())
    differences = np.array([other[seed] - one[seed] for seed in seeds])
    scale = 100 / np.mean([one[seed] for seed in seeds])
    low, high = (scale * bound for bound in interval(differences))
    return f"{scale * differences.mean():+.2f}% [{low:+.2f}, {high:+.2f}]"


def largest_gap(fp32: Mapping[int, Result], bf16: Mapping[int, Result], curve: str) -> tuple[float, float]:
    """Largest difference between the mean curves over epochs, and the spread over fp32's seeds in that epoch, in percent."""
    seeds = sorted(fp32.keys() & bf16.keys())
    one, other = (np.array([runs[seed].curves[curve] for seed in seeds]) for runs in (fp32, bf16))
    gaps = 100 * (other.mean(0) - one.mean(0)) / one.mean(0)
    epoch = int(np.abs(gaps).argmax())
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
    pairs = [
        name
        for name in fp32
        if len(fp32[name].keys() & bf16[name].keys()) > 1
        and all(arguments.curve in run.curves for run in fp32[name].values())  # those that train
        and (not arguments.variants or name[1] in arguments.variants)
    ]
    if not pairs:
        sys.exit(f"No variant has two seeds in fp32 below {arguments.fp32} and in bf16 below {arguments.bf16}.")
    if arguments.variants:
        pairs.sort(key=lambda name: arguments.variants.index(name[1]))

    def values(runs: Runs, name: tuple[str, str]) -> dict[int, float]:
        shared = fp32[name].keys() & bf16[name].keys()
        return {seed: run.metrics[arguments.metric] for seed, run in runs[name].items() if seed in shared}

    print(f"{arguments.metric:38}{'n':>4}{'fp32':>12}{'of seeds':>12}{'bf16 - fp32 [95%]':>30}")
    for name in pairs:
        print(row("/".join(name), values(fp32, name), values(bf16, name)))
    print("\ndifference from the first variant of a benchmark, in each precision")
    for benchmark, group in groupby(sorted(pairs, key=itemgetter(0)), itemgetter(0)):
        first, *others = group
        for second in others:
            told = (
                f"{precision} {effect(values(runs, first), values(runs, second))}"
                for precision, runs in (("fp32", fp32), ("bf16", bf16))
            )
            print(f"{benchmark}: {second[1]} - {first[1]}: {', '.join(told)}")
    print(f"\nlargest difference of {arguments.curve} over the epochs")
    for name in pairs:
        gap, spread = largest_gap(fp32[name], bf16[name], arguments.curve)
        print(f"{'/'.join(name):38}{gap:+.2f}%, over seeds in fp32 {spread:.2f}%")


if __name__ == "__main__":
    main()
