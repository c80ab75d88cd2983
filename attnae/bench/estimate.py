"""Estimates time, disk and memory of a plan from earlier runs on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


@dataclass(frozen=True)
class Cost:
    """What one run costs.

    Attributes:
        seconds: From its start to its end; ``None`` if unknown.
        parameters: Trained values of the network; ``None`` if unknown.
        memory: Peak memory of the training in bytes; ``None`` if unknown.
    """

    seconds: float | None = None
    parameters: float | None = None
    memory: float | None = None


def cost(
    run: Run, images: int | None, done: Iterable[Result], threads: int | None, others: Iterable[Result] = ()
) -> Cost:
    """The cost of a run by earlier ones.

    A run takes images x epochs / speed, plus what an earlier run needed per epoch for validation and tests. Earlier runs
    count if they trained the same network with the same precision, image size, processor and threads.

    Args:
        run: The run.
        images: Training images per epoch; ``None`` if unknown.
        done: Earlier results of this machine.
        threads: CPU threads; ``None`` on a GPU.
        others: Results of any machine, which tell the size of a network.
    """
    alike, elsewhere = (
        [
            one
            for one in found
            if one.status == "complete" and _network(one.configuration) == _network(run.id.configuration)
        ]
        for found in (done, others)
    )
    counted = [one.efficiency["params_total"] for one in [*alike, *elsewhere] if "params_total" in one.efficiency]
    parameters = counted[0] if counted else None
    counting = [one for one in alike if _alike(one, run, threads)]
    if not counting:
        return Cost(parameters=parameters)
    closest = min(counting, key=lambda one: _distance(one, run))
    same = (closest.benchmark, closest.profile) == (run.id.benchmark, run.id.profile)
    count = images or (closest.data.get("train") if same else None)
    if run.trains and not count:
        return Cost(parameters=parameters)
    memory = closest.efficiency.get("peak_memory_mb")
    return Cost(_seconds(closest, run.epochs, count or 0), parameters, memory and 1e6 * memory)


def estimate(runs: Sequence[Run], costs: Mapping[str, Cost], jobs: int) -> Estimate:
    """Sums up the costs of runs, some at a time.

    Args:
        runs: Runs that are left.
        costs: Cost of a run of each variant.
        jobs: Number of runs at a time.
    """
    seconds = [each * _left(run, each) for run in runs if (each := costs[run.id.variant].seconds) is not None]
    weights = {variant: BYTES * (one.parameters or 0.0) for variant, one in costs.items()}
    memory = sorted((costs[run.id.variant].memory or 0.0 for run in runs), reverse=True)
    return Estimate(
        max(sum(seconds) / jobs, max(seconds)) if seconds else None,
        [variant for variant in dict.fromkeys(run.id.variant for run in runs) if costs[variant].seconds is None],
        sum(weights[run.id.variant] * (1 + CHECKPOINTS / 2 * run.keep_checkpoints) + PICTURES for run in runs),
        CHECKPOINTS * max(weights[run.id.variant] for run in runs) * min(jobs, len(runs)),
        sum(memory[:jobs]) or None,
    )


def _left(run: Run, seconds: float) -> float:
    """Share of the seconds of a whole run that are left of one that starts from a checkpoint."""
    if run.checkpoint is None:
        return 1.0
    try:
        with (run.checkpoint.parents[1] / "metrics.csv").open(encoding="utf-8") as stream:
            done = max(0, sum(1 for _ in stream) - 1)
    except OSError:
        return 1.0
    return max(1 - done / run.epochs, min(STARTUP / seconds, 1.0)) if seconds else 1.0


def _network(configuration: dict[str, Any]) -> Any:
    """What the speed depends on: task and network with its settings."""
    model = section(configuration, "model")
    inner = section(configuration, "model", "init_args")
    return model.get("class_path"), inner.get("net"), inner.get("discriminator"), inner.get("method")


def timed(one: Result, threads: int | None) -> bool:
    """Whether an earlier run tells the speed of this machine.

    Args:
        one: The earlier run; it may come from elsewhere and lack numbers.
        threads: CPU threads; ``None`` on a GPU.
    """
    return _here(one, threads) and _has_speed(one)


def _here(one: Result, threads: int | None) -> bool:
    """Whether a run is complete and was made on this processor with as many threads, or on its GPU."""
    hardware = one.hardware
    same = hardware.get("threads") == threads if hardware.get("device") == "CPU" else threads is None
    return one.status == "complete" and hardware.get("processor") == processor() and same


def _has_speed(one: Result) -> bool:
    return all(one.efficiency.get(name, 0.0) > 0 for name in ("images_per_second", "seconds_per_epoch"))


def _alike(one: Result, run: Run, threads: int | None) -> bool:
    """Whether an earlier run of the same network tells the time of a run."""
    return (
        one.precision == run.id.precision
        and _image_size(one.configuration) == _image_size(run.id.configuration)
        and (timed(one, threads) if run.trains else _here(one, threads))
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
    if not (trained and _has_speed(one)):
        return one.wall_seconds
    training = trained * one.efficiency["seconds_per_epoch"]
    rest = max(0.0, one.wall_seconds - training)
    fixed = min(rest, STARTUP)
    return images * epochs / one.efficiency["images_per_second"] + fixed + (rest - fixed) * epochs / trained
