"""Resolves ``--precision`` from the hardware: 32-bit floating point or bfloat16."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from attnae.bench.running import resources

CHOICES = ("fp32", "bf16", "auto")

TRAINER = {"fp32": "32-true", "bf16": "bf16-mixed"}
"""``trainer.precision`` of each precision."""

FLAGS = {"avx512_bf16", "amx_bf16"}
"""Names of bfloat16 instruction sets in ``/proc/cpuinfo``."""

CAPABILITY = 8.0
"""Lowest CUDA compute capability with bfloat16 instructions."""


def resolved(wanted: str, accelerator: str = "auto") -> str:
    """Returns ``fp32`` or ``bf16``; ``auto`` selects bf16 if the hardware has instructions for it.

    Args:
        wanted: One of :data:`CHOICES`.
        accelerator: ``trainer.accelerator`` of the runs.
    """
    if wanted != "auto":
        return wanted
    gpus = [] if accelerator == "cpu" else resources.visible_gpus()
    capabilities = _capabilities(gpus) if gpus else []
    if capabilities:
        return "bf16" if min(capabilities) >= CAPABILITY else "fp32"
    return "bf16" if FLAGS & _flags() else "fp32"


def _capabilities(gpus: list[str]) -> list[float]:
    """Compute capabilities of GPUs, by index or UUID."""
    command = ["nvidia-smi", f"--id={','.join(gpus)}", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [float(line) for line in told.split() if re.fullmatch(r"\d+\.\d+", line)]


def _flags(file: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Names of the CPU's instruction sets."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next(
        (set(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))), set()
    )
