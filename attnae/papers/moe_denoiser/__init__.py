"""Adaptive sparse attention MoE denoiser: do attention experts with different budgets denoise better than one?

The networks are plain torch. The tasks need Lightning and are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attnae.papers.moe_denoiser.baselines import ClassicalDenoiser, DnCNN, choose_strength
from attnae.papers.moe_denoiser.net import MoEDenoiser, load_balance_loss

if TYPE_CHECKING:
    from attnae.papers.moe_denoiser.task import ClassicalTask as ClassicalTask
    from attnae.papers.moe_denoiser.task import MoEDenoiserTask as MoEDenoiserTask

__all__ = [
    "ClassicalDenoiser",
    "ClassicalTask",
    "DnCNN",
    "MoEDenoiser",
    "MoEDenoiserTask",
    "choose_strength",
    "load_balance_loss",
]


def __getattr__(name: str) -> Any:
    if name not in ("ClassicalTask", "MoEDenoiserTask"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.task"), name)
