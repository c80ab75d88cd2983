"""VAE vs SAAAE: does self-attention that anchors the posterior's noise help to fill masked images in?

The networks are plain torch; the task, which needs Lightning, is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnae.papers.saaae.net import SAAAE, VAE

if TYPE_CHECKING:
    from attnae.papers.saaae.task import SAAAETask as SAAAETask

__all__ = ["SAAAE", "VAE", "SAAAETask"]


def __getattr__(name: str) -> Any:
    if name != "SAAAETask":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from attnae.papers.saaae.task import SAAAETask

    return SAAAETask
