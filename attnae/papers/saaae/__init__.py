"""VAE vs SAAAE: does self-attention that anchors the posterior's noise help to fill masked images in?

The networks are plain torch; the tasks, which need Lightning, are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attnae.papers.saaae.net import SAAAE, VAE

if TYPE_CHECKING:
    from attnae.papers.saaae.baselines import BiharmonicTask as BiharmonicTask
    from attnae.papers.saaae.task import SAAAETask as SAAAETask

__all__ = ["SAAAE", "VAE", "BiharmonicTask", "SAAAETask"]

_TASKS = {"SAAAETask": "task", "BiharmonicTask": "baselines"}


def __getattr__(name: str) -> Any:
    if name not in _TASKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_TASKS[name]}"), name)
