"""The time, disk space and memory that ``attnae-bench run`` expects."""

from __future__ import annotations

import argparse
import sys

from attnae.bench import estimate, plan, store
from attnae.bench.identity import Run
from attnae.bench.running import resources, trial
from attnae.bench.running.launch import duration
from attnae.bench.terminal import size


def expected(options: argparse.Namespace, made: plan.Plan, runs: list[Run]) -> str:
    """The estimated time, disk space and memory of runs in a sentence."""
    jobs = min(options.jobs or 1, len(runs))
    slots = resources.slots(jobs, options.devices, made.accelerator)
    threads = None if "CUDA_VISIBLE_DEVICES" in slots[0] else int(slots[0]["OMP_NUM_THREADS"])
    done = [one for root in (options.out, options.reports) for _, one in store.scan(root)[0]]
    cost = estimate.estimate(runs, made.images, done, jobs, threads)
    if options.estimate and cost.unknown:
        first = {run.id.variant: run for run in reversed(runs) if run.trains}
        for name in cost.unknown:
            if name in first:
                print(f"timing {name}", file=sys.stderr)
                done.append(trial.timed(first[name], slots[0], estimate.STARTUP))
        cost = estimate.estimate(runs, made.images, done, jobs, threads)
    told = f"Estimated: {duration(cost.seconds)}" if cost.seconds is not None else "Estimated: unknown time"
    if cost.unknown:
        more = "plus " if cost.seconds is not None else ""
        told += f" ({more}{', '.join(cost.unknown)}: not run on this machine yet)"
    told += f", {size(cost.disk)} on disk, up to {size(cost.extra)} more during training"
    return told + (f", {size(cost.memory)} of memory" if cost.memory else "")
