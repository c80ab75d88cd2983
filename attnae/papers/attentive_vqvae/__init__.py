"""Attentive VQ-VAE: can pixel attention replace a hierarchy of codebooks?

The networks are plain torch. The task needs Lightning and is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attnae.papers.attentive_vqvae.discriminator import PatchDiscriminator
from attnae.papers.attentive_vqvae.net import AttentiveVQVAE

if TYPE_CHECKING:
    from attnae.papers.attentive_vqvae.task import AttentiveVQVAETask as AttentiveVQVAETask

__all__ = ["AttentiveVQVAE", "AttentiveVQVAETask", "PatchDiscriminator"]


def __getattr__(name: str) -> Any:
    if name != "AttentiveVQVAETask":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.task"), name)
