"""Recomputes the running statistics of BatchNorm from training images before a test."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from attnae.data.base import ImageDataModule
from attnae.data.sampler import IndexedImages

Net = TypeVar("Net", bound=nn.Module)


def has_batchnorm(net: nn.Module) -> bool:
    """Whether a network uses running statistics of BatchNorm."""
    return any(_learns(layer) for layer in net.modules())


@torch.no_grad()
def with_recomputed_batchnorm(net: Net, data: ImageDataModule, images: int) -> Net:
    """Returns a copy of a network whose BatchNorm statistics are averages over training batches.

    Like ``torch.optim.swa_utils.update_bn``, but without updating the codebooks. Uses the first training images, see
    :meth:`ImageDataModule.limited`, with the training batch size, corrupted as in evaluation. Drops a last, smaller batch.

    Args:
        net: Network; not modified.
        data: Provides the training images.
        images: Maximum number of training images.
    """
    net = copy.deepcopy(net).eval()
    for layer in net.modules():
        if _learns(layer):
            layer.reset_running_stats()  # type: ignore[operator]
            layer.momentum = None  # type: ignore[assignment]  # cumulative mean
            layer.train()
    train, device = data.sets()["train"], next(net.parameters()).device
    train = IndexedImages(train.pixels, data.limited("train", data.train_images, images))  # of all classes
    count, size = len(train), data.batch_size
    for start in range(0, count - size + 1 if count >= size else 1, size):
        pixels, index = train[list(range(start, min(start + size, count)))]
        target = pixels.to(device).permute(0, 3, 1, 2).float().div_(255)
        net(data.corruption(target, index.to(device), False).input)
    return net.eval()


def _learns(layer: nn.Module) -> bool:
    return isinstance(layer, _BatchNorm)
