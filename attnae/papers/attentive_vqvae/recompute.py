"""Running statistics of BatchNorm, computed anew from training images before a test."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from attnae.data.base import ImageDataModule
from attnae.papers.attentive_vqvae.blocks import Affine

Net = TypeVar("Net", bound=nn.Module)


def has_batchnorm(net: nn.Module) -> bool:
    """Whether a network normalizes by statistics of its training batches."""
    return any(_learns(layer) for layer in net.modules())


@torch.no_grad()
def with_recomputed_batchnorm(net: Net, data: ImageDataModule, images: int) -> Net:
    """A copy of a network whose BatchNorm statistics are plain means over training batches; everything else is equal.

    As ``torch.optim.swa_utils.update_bn``, but codebooks do not learn on the way. The images are the first training images
    in their order, in batches of the training's size, corrupted as in evaluation; a last, smaller batch is left out.

    Args:
        net: Network; it is not changed.
        data: Where the training images come from.
        images: Number of training images; all of them where there are fewer.
    """
    net = copy.deepcopy(net).eval()
    for layer in net.modules():
        if _learns(layer):
            layer.reset_running_stats()  # type: ignore[operator]
            layer.momentum = None  # type: ignore[assignment]  # torch's word for the cumulative mean
            layer.train()
    train, device = data.sets()["train"], next(net.parameters()).device
    count, size = min(images, len(train)), data.batch_size
    for start in range(0, count - size + 1 if count >= size else 1, size):
        pixels, index = train[list(range(start, min(start + size, count)))]
        target = pixels.to(device).permute(0, 3, 1, 2).float().div_(255)
        net(data.corruption(target, index.to(device), False).input)
    return net.eval()


def _learns(layer: nn.Module) -> bool:
    return isinstance(layer, _BatchNorm) and not isinstance(layer, Affine)
