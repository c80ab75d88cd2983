"""Compares the conditions of runs with the published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from attnae.bench.catalog.benchmark import Benchmark, Evidence
from attnae.bench.reporting.judgment import Departure
from attnae.bench.reporting.statistics import epochs_of
from attnae.result import Result

BUSY = 0.8
"""CPU seconds per wall-clock second and thread below which other processes slowed the epoch down."""

BUSY_GPU = 0.93
"""The same for training on a GPU, where the thread that launches kernels also spins while it waits for them."""


def evidence_of(benchmark: Benchmark, runs: list[Result]) -> Evidence:
    """How strongly runs of a profile test the paper; ``demonstration`` if the profile is not in the benchmark file."""
    profile = benchmark.profiles.get(runs[0].profile) if runs else None
    return profile.evidence if profile else "demonstration"


def departures(benchmark: Benchmark, runs: list[Result]) -> tuple[Departure, ...]:
    """Differences from the published conditions: images, schedule (epochs or images per epoch), size of the network.

    Args:
        benchmark: Its profile with ``evidence: published`` defines the published conditions.
        runs: Complete runs of one report.
    """
    if not runs:
        return ()
    found: list[Departure] = []
    if runs[0].data.get("kind") != "official":
        found.append("other images")
    data, published = runs[0].data, next((p for p in benchmark.profiles.values() if p.evidence == "published"), None)
    if (
        evidence_of(benchmark, runs) != "published"
        or published is None
        or _less(epochs_of(runs), _inside(published.changes, "trainer", "max_epochs"))  # epochs trained, not planned
        or _less(data.get("train"), _inside(published.changes, "data", "init_args", "train_images"))
        or "train_of" in data
        or "data.init_args.train_images" in runs[0].overrides
    ):
        found.append("shorter schedule")
    first = {run.variant: run for run in runs if run.variant in benchmark.variants}
    if published and any(_smaller(benchmark, run, published.name) for run in first.values()):
        found.append("smaller network")
    return tuple(found)


def complete_schedule(benchmark: Benchmark, runs: list[Result]) -> bool:
    """Whether runs cover at least half of the epochs of their profile, on at least half of its training images."""
    run = runs[0]
    if run.profile not in benchmark.profiles or run.variant not in benchmark.variants:
        return False
    planned = benchmark.configuration(run.variant, run.profile)
    epochs, images = _inside(planned, "trainer", "max_epochs"), _inside(planned, "data", "init_args", "train_images")
    ours = run.overrides.get("data.init_args.train_images")
    shortened = _less(2 * epochs_of(runs), epochs) and bool(run.curves)
    return not shortened and not (isinstance(ours, int) and _less(2 * ours, images or run.data.get("train_of")))


def _smaller(benchmark: Benchmark, run: Result, published: str) -> bool:
    """Whether any width, depth or size of a run's network is smaller than in the published profile.

    Sizes that the published profile does not set are at full size; another profile that sets them is taken to reduce them.
    """
    full, ours = (
        dict(_numbers(_inside(stated, "model", "init_args", "net")))
        for stated in (benchmark.configuration(run.variant, published), run.configuration)
    )
    profile = benchmark.profiles.get(run.profile)
    stated = dict(_numbers(_inside(profile.changes, "model", "init_args", "net"))) if profile else {}
    return any(_less(ours[key], full[key]) for key in ours.keys() & full.keys()) or bool(stated.keys() - full.keys())


def _inside(value: Any, *keys: str) -> Any:
    """Value at a path of keys in nested mappings; ``None`` if missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _less(ours: Any, published: Any) -> bool:
    return isinstance(ours, int | float) and isinstance(published, int | float) and ours < published


def _numbers(value: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Whole numbers of a network's configuration by dotted key: widths, depths, sizes."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{prefix}.{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _numbers(inner, f"{prefix}.{place}")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield prefix, value


def undisturbed(run: Result) -> bool:
    """Whether the machine was otherwise idle while a run trained, so that its times can be compared.

    On a CPU, the training then uses almost all of its threads. On a GPU, one thread is busy launching kernels.
    """
    wall, cpu = (run.efficiency.get(name) for name in ("seconds_per_epoch", "cpu_seconds_per_epoch"))
    if not wall or cpu is None:
        return False
    if run.hardware.get("device") != "CPU":
        return bool(cpu / wall >= BUSY_GPU)
    threads = run.hardware.get("threads", 1)
    return isinstance(threads, int) and cpu / wall >= BUSY * threads


def machine(run: Result) -> tuple[str, ...]:
    """What the times of a run depend on besides its code: device, number of devices, processor and threads."""
    return tuple(str(run.hardware.get(name)) for name in ("device", "devices", "processor", "threads"))


def counting(runs: list[Result], key: str, compared: list[Result]) -> list[Result]:
    """The runs whose value of a column counts.

    All, but for seconds only undisturbed ones on the machine of most of them. Memory only if all are of one kind of device,
    because it is that allocated on a GPU, but that of the process on a CPU.

    Args:
        runs: Runs of a variant.
        key: The column.
        compared: All runs that are compared.
    """
    if key == "peak_memory_mb":
        return runs if len({str(r.hardware.get("device")) for r in compared}) < 2 else []
    if key != "seconds_per_epoch":
        return runs
    most = Counter(machine(r) for r in compared if undisturbed(r)).most_common(1)
    return [r for r in runs if undisturbed(r) and machine(r) == most[0][0]]
