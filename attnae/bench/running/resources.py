"""Divides the machine between concurrent runs: each gets its own GPUs and a share of the CPU threads."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

from attnae.errors import UserError


def slots(
    jobs: int | None, devices: int = 1, accelerator: str = "auto", threads: int | None = None
) -> list[dict[str, str]]:
    """Environment variables of each concurrent run.

    Args:
        jobs: Number of concurrent runs; ``None`` for 1, or with ``threads`` on a CPU as many as there are cores for.
        devices: Devices of each run.
        accelerator: ``trainer.accelerator``; ``cpu`` assigns no GPUs.
        threads: CPU threads that each device of a run makes good use of; ``None`` for all.

    Raises:
        UserError: There are not enough GPUs.
    """
    gpus = [] if accelerator == "cpu" else visible_gpus()
    if jobs is None:
        # On a Mac, "auto" is its GPU, which no command lists.
        on_cpu = accelerator == "cpu" or (accelerator == "auto" and not gpus and sys.platform != "darwin")
        jobs = max(1, cores() // (threads * devices)) if threads and on_cpu else 1
    share_of_cpu = {"OMP_NUM_THREADS": str(max(1, cores() // (jobs * devices)))}
    shares = divide(gpus, jobs, devices) if gpus else [[]] * jobs
    return [{**share_of_cpu, "CUDA_VISIBLE_DEVICES": ",".join(share)} if share else share_of_cpu for share in shares]


def divide(gpus: list[str], jobs: int, devices: int) -> list[list[str]]:
    """Disjoint GPUs for each concurrent run.

    Raises:
        UserError: There are not enough GPUs.
    """
    if jobs * devices > len(gpus):
        most = len(gpus) // devices
        advice = f"Use at most --jobs {most}" if most else f"Use at most --devices {len(gpus)}"
        raise UserError(
            f"--jobs {jobs} with --devices {devices} needs {jobs * devices} GPUs, but {len(gpus)} are visible. "
            f"{advice}, or --set trainer.accelerator=cpu."
        )
    return [gpus[job * devices : (job + 1) * devices] for job in range(jobs)]


def visible_gpus() -> list[str]:
    """Names of the visible GPUs: from CUDA_VISIBLE_DEVICES if it is set, else all that the driver lists."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        ends = [not name or name.startswith("-") for name in names] + [True]
        return names[: ends.index(True)]  # CUDA ignores all names after an invalid one
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^GPU \d+:.*\(UUID: (.+?)\)", listed, re.MULTILINE)


def cores() -> int:
    """Number of CPU cores to use: those allocated by SLURM on this machine, else those available to this process."""
    allotted = os.environ.get("SLURM_CPUS_ON_NODE", "")
    if allotted.isdigit():
        return int(allotted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_priority(process: int) -> None:
    """Gives a process that leads a new session the priority of this session.

    On Linux with autogroups, every session has a priority of its own, so children would not inherit a lowered one.
    """
    with contextlib.suppress(OSError, IndexError):
        lowered = Path("/proc/self/autogroup").read_text(encoding="ascii").split()[-1]
        if lowered != "0":
            Path(f"/proc/{process}/autogroup").write_text(lowered, encoding="ascii")
