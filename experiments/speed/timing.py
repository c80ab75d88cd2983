"""Timers and precisions shared by the speed scripts."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch

from attnae.bench.precision import TRAINER


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median wall-clock seconds of a call, after one call for warm-up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return median(times)


def add_precisions(parser: argparse.ArgumentParser) -> None:
    """Adds ``--precisions``: by default fp32, and bf16 if this CPU has instructions for it."""
    from attnae.training.bfloat16 import has_kernels  # imports Lightning, whose memory moe_scaling.py would measure

    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=TRAINER,
        default=["fp32", "bf16"] if has_kernels() else ["fp32"],
        help="precisions to time; bf16 is left out by default if this CPU has no instructions for it",
    )


def autocast(precision: str) -> torch.autocast:
    """The context of a forward pass on a CPU."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def rounded(action: Callable[[], object], precision: str) -> Callable[[], object]:
    """The action as ``attnae fit`` computes it: without instructions for bf16, products are rounded results of fp32."""
    from attnae.training.bfloat16 import RoundedProducts, has_kernels

    def run() -> object:
        with RoundedProducts():
            return action()

    return run if precision == "bf16" and not has_kernels() else action


PRODUCT = 2 * 2048**3
"""Operations of :func:`product`."""


def product(precision: str) -> Callable[[], object]:
    """A product of two matrices of 2,048 x 2,048, whose rate the speed of a step is compared with."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return rounded(partial(torch.mm, torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)), precision)


def epoch_overhead(task: Any, data: Any, precision: str, epochs: int = 2, clip: float | None = None) -> float:
    """Time of training epochs outside their steps, as a fraction of the time of the steps.

    A step is the forward pass, the backward pass and the optimizer. The rest is overhead: batching, corruption, the hooks
    between steps, and the progress file that is written once per second.

    Args:
        task: The task; with automatic optimization, its ``optimizer_step`` is timed, otherwise its ``training_step``.
        data: Its DataModule.
        precision: ``fp32`` or ``bf16``.
        epochs: Number of timed epochs, after one for warm-up.
        clip: Maximum norm of the gradients, for tasks with automatic optimization.
    """
    import lightning as L

    from attnae.training.bfloat16 import PortableBFloat16
    from attnae.training.memory import keep_freed_memory
    from attnae.training.progress import Progress

    keep_freed_memory()  # as attnae fit does
    name = "optimizer_step" if task.automatic_optimization else "training_step"
    step, inside = getattr(task, name), list[float]()

    def timed(*arguments: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        result = step(*arguments, **keywords)
        inside.append(time.perf_counter() - start)
        return result

    setattr(task, name, timed)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        progress = Progress()
        trainer = L.Trainer(
            default_root_dir=folder, accelerator="cpu", devices=1, max_epochs=epochs + 1, precision=TRAINER[precision],
            gradient_clip_val=clip, logger=False, callbacks=[PortableBFloat16(), progress], enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(task, data)
    steps = len(inside) // (epochs + 1)
    return sum(float(row["epoch_seconds"] or 0) for row in progress.rows[1:]) / sum(inside[steps:]) - 1
