"""attnae: reproductions of papers on attention in autoencoders and denoisers.

Importing this package is fast: torch and lightning are imported only with a module that needs them, or when :func:`load`
opens a finished run or an exported model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnae._version import __version__

if TYPE_CHECKING:
    from attnae.inference.load import load as load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from attnae.inference.load import load

    return load
