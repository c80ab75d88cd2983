"""Losses of the two opponents, from the discriminator's logits. Pure torch."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AdversarialLoss = Literal["hinge", "bce"]
"""Hinge loss as VQGANs use it, or binary cross-entropy on logits."""


def discriminator_loss(kind: AdversarialLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Mean of the loss on real images and the loss on reconstructions, scalar; lower when they are told apart.

    Args:
        kind: ``hinge`` or ``bce``.
        real: Logits of real images, any shape; positive means real.
        fake: Logits of reconstructions, any shape.
    """
    if kind == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def generator_loss(kind: AdversarialLoss, fake: Tensor) -> Tensor:
    """Loss of the generator from logits of its images, scalar; lower when they are taken for real."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


@torch.no_grad()
def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Share of patches that are judged right, real and fake ones counting alike, scalar in [0, 1]; 0.5 is guessing.

    A logit of exactly 0 is half right.
    """
    signs = torch.cat([real.sign().flatten(), -fake.sign().flatten()])
    return (signs.mean() + 1) / 2
