"""VAE vs SAAAE: does anchoring the posterior noise by self-attention help to inpaint masked images?

The networks are plain torch. The tasks need Lightning and are imported on first use.
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
