"""Estimates time, disk and memory of a plan from earlier runs on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from attnae.bench.catalog.configuration import section
from attnae.bench.identity import Run
from attnae.result import Result, processor

STARTUP = 15.0
"""Seconds of a run that depend on neither its epochs nor its images, at most: imports and the first batch."""

BYTES = 4
"""Bytes per parameter in ``weights.safetensors``."""

CHECKPOINTS = 6
"""Size of a run's checkpoints relative to the weights: weights and two Adam moments, twice while one replaces the other."""

PICTURES = 1e6
"""Approximate size in bytes of the other files of a run: pictures, per-image metrics and log."""


@dataclass(frozen=True)
class Estimate:
    """What a plan costs.

    Attributes:
        seconds: Until all runs have ended, with the given number at a time; ``None`` if unknown for all variants.
        unknown: Variants without an earlier run of the same network at the same image size and precision.
        disk: Bytes of the finished runs.
        extra: Further bytes of the checkpoints during training.
        memory: Bytes of memory of the runs at a time; ``None`` if unknown.
    """

    seconds: float | None
    unknown: list[str]
    disk: float
    extra: float
    memory: float | None


def estimate(
    runs: Sequence[Run], images: dict[str, int | None], done: Iterable[Result], jobs: int, threads: int | None
) -> Estimate:
    """Estimates the remaining work of a plan.

    A run takes images x epochs / speed, plus what an earlier run needed per epoch for validation and tests. Earlier runs
    count if they trained the same network with the same precision, image size, processor and threads.

    Args:
        runs: Runs that are left.
        images: Training images per epoch by variant; ``None`` if unknown.
        done: Earlier results.
        jobs: Number of runs at a time.
        threads: CPU threads of each; ``None`` for runs on GPUs.
    """
    here = processor()
    earlier = [one for one in done if one.status == "complete"]
    costs: dict[str, float | None] = {}
    weights: dict[str, float] = {}
    memories: dict[str, float] = {}
    for run in {run.id.variant: run for run in reversed(runs)}.values():  # seeds of a variant cost the same
        alike = [one for one in earlier if _network(one.configuration) == _network(run.id.configuration)]
        timed = [one for one in alike if _timed(one, run, threads, here)]
        counted = [one.efficiency["params_total"] for one in alike if "params_total" in one.efficiency]
        weights[run.id.variant] = BYTES * counted[0] if counted else 0.0
        costs[run.id.variant] = None
        if not timed:
            continue
        closest = min(timed, key=lambda one: _distance(one, run))
        same = (closest.benchmark, closest.profile) == (run.id.benchmark, run.id.profile)
        count = images.get(run.id.variant) or (closest.data.get("train") if same else None)
        if count or not run.trains:
            costs[run.id.variant] = _seconds(closest, run.epochs, count or 0)
            memories[run.id.variant] = 1e6 * closest.efficiency.get("peak_memory_mb", 0.0)
    seconds = [cost for run in runs if (cost := costs[run.id.variant]) is not None]
    memory = sorted((memories.get(run.id.variant, 0.0) for run in runs), reverse=True)
    return Estimate(
        max(sum(seconds) / jobs, max(seconds)) if seconds else None,
        [variant for variant in dict.fromkeys(run.id.variant for run in runs) if costs[variant] is None],
        sum(weights[run.id.variant] + PICTURES for run in runs),
        CHECKPOINTS * max(weights.values()) * min(jobs, len(runs)),
        sum(memory[:jobs]) or None,
    )


def _network(configuration: dict[str, Any]) -> Any:
    """What the speed depends on: task and network with its settings."""
    model = section(configuration, "model")
    inner = section(configuration, "model", "init_args")
    return model.get("class_path"), inner.get("net"), inner.get("discriminator"), inner.get("method")


def _timed(one: Result, run: Run, threads: int | None, here: str) -> bool:
    hardware, on_cpu = one.hardware, one.hardware.get("device") == "CPU"
    return (
        one.precision == run.id.precision
        and _image_size(one.configuration) == _image_size(run.id.configuration)
        and hardware.get("processor") == here
        and (hardware.get("threads") == threads if on_cpu else threads is None)
        and ("images_per_second" in one.efficiency or not run.trains)
    )


def _image_size(configuration: dict[str, Any]) -> Any:
    """Edge of the images as configured; ``None`` for the default of the data module."""
    return section(configuration, "data", "init_args").get("image_size")


def _distance(one: Result, run: Run) -> tuple[bool, bool, int]:
    """How far the conditions of an earlier run are from those of a run."""
    return one.benchmark != run.id.benchmark, one.profile != run.id.profile, abs(_epochs(one) - run.epochs)


def _epochs(one: Result) -> int:
    return len(one.curves.get("epoch", []))


def _seconds(one: Result, epochs: int, images: int) -> float:
    """Seconds of a run with these epochs and training images, from an earlier one."""
    trained = _epochs(one)
    if not trained:
        return one.wall_seconds
    training = trained * one.efficiency["seconds_per_epoch"]
    rest = max(0.0, one.wall_seconds - training)
    fixed = min(rest, STARTUP)
    return images * epochs / one.efficiency["images_per_second"] + fixed + (rest - fixed) * epochs / trained
