"""DataModules with a shared pipeline: image file -> decoded and resized once -> uint8 -> batch by index -> device.

``location`` (where the images are) is plain Python and shared with ``attnae-bench``. The names below need torch and are
imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnae.data.base import ImageDataModule as ImageDataModule
    from attnae.data.batch import Batch as Batch
    from attnae.data.celeba_hq import CelebAHQDataModule as CelebAHQDataModule
    from attnae.data.cifar10 import CIFAR10DataModule as CIFAR10DataModule
    from attnae.data.faces import Eyes as Eyes
    from attnae.data.faces import eyes as eyes
    from attnae.data.faces import portraits as portraits
    from attnae.data.masks import CenterMask as CenterMask
    from attnae.data.masks import ColorNoiseMask as ColorNoiseMask
    from attnae.data.masks import PatchMask as PatchMask
    from attnae.data.masks import PixelMask as PixelMask
    from attnae.data.noise import GaussianNoise as GaussianNoise
    from attnae.data.noise import Uncorrupted as Uncorrupted
    from attnae.data.stl10 import STL10DataModule as STL10DataModule

_HOMES = {
    "CIFAR10DataModule": "cifar10",
    "CelebAHQDataModule": "celeba_hq",
    "CenterMask": "masks",
    "ColorNoiseMask": "masks",
    "Eyes": "faces",
    "GaussianNoise": "noise",
    "ImageDataModule": "base",
    "Batch": "batch",
    "PatchMask": "masks",
    "PixelMask": "masks",
    "STL10DataModule": "stl10",
    "Uncorrupted": "noise",
    "eyes": "faces",
    "portraits": "faces",
}

__all__ = [
    "Batch",
    "CIFAR10DataModule",
    "CelebAHQDataModule",
    "CenterMask",
    "ColorNoiseMask",
    "Eyes",
    "GaussianNoise",
    "ImageDataModule",
    "PatchMask",
    "PixelMask",
    "STL10DataModule",
    "Uncorrupted",
    "eyes",
    "portraits",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
