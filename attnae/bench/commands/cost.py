"""The time, disk space and memory that ``attnae-bench run`` and ``show`` expect."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from attnae.bench import estimate, plan, store
from attnae.bench.estimate import Cost
from attnae.bench.identity import Run
from attnae.bench.running import resources, trial
from attnae.bench.running.launch import duration
from attnae.bench.terminal import size
from attnae.result import Result


class Earlier:
    """Earlier results by which costs are estimated.

    Args:
        out: Folder of the runs, which were made on this machine.
        reports: Folder of the reports, whose runs may be from any machine.
    """

    def __init__(self, out: Path, reports: Path):
        self.done, self.others = ([one for _, one in store.scan(root)[0]] for root in (out, reports))

    def costs(
        self, runs: Sequence[Run], images: dict[str, int | None], slot: dict[str, str], measure: bool = False
    ) -> dict[str, Cost]:
        """Cost of a run of each variant; seeds of a variant cost the same.

        Args:
            runs: Runs of one plan.
            images: Training images per epoch by variant.
            slot: Environment of a run.
            measure: Whether to time a few steps of variants without earlier runs; their images must be there.
        """
        found: dict[str, Cost] = {}
        for run in runs:
            variant = run.id.variant
            if variant in found:
                continue
            one = estimate.cost(run, images.get(variant), self.done, _threads(slot), self.others)
            if measure and run.trains and one.seconds is None:
                print(f"timing {variant}", file=sys.stderr)
                self.done.append(trial.timed(run, slot, estimate.STARTUP))
                one = estimate.cost(run, images.get(variant), self.done, _threads(slot), self.others)
            found[variant] = one
        return found

    def timed(self, slots: Iterable[dict[str, str]]) -> list[Result]:
        """Results that tell the speed of this machine with as many threads as one of the slots has."""
        threads = {_threads(slot) for slot in slots}
        return [one for one in self.done if any(estimate.timed(one, each) for each in threads)]


def _threads(slot: dict[str, str]) -> int | None:
    return None if "CUDA_VISIBLE_DEVICES" in slot else int(slot["OMP_NUM_THREADS"])


def expected(options: argparse.Namespace, made: plan.Plan, runs: list[Run]) -> str:
    """The estimated time, disk space and memory of runs in a sentence."""
    slots = resources.slots(options.jobs, options.devices, made.accelerator, made.threads)
    costs = Earlier(options.out, options.reports).costs(runs, made.images, slots[0], options.estimate)
    cost = estimate.estimate(runs, costs, min(len(slots), len(runs)))
    told = f"Estimated: {duration(cost.seconds)}" if cost.seconds is not None else "Estimated: unknown time"
    if cost.unknown:
        more = "without " if cost.seconds is not None else ""
        told += f" ({more}{', '.join(cost.unknown)}: not run on this machine yet)"
    told += f", {size(cost.disk)} on disk" + (f", up to {size(cost.extra)} more during training" if cost.extra else "")
    return told + (f", {size(cost.memory)} of memory" if cost.memory else "")
