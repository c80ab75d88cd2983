"""Adversarial losses, computed from the discriminator's logits. Pure torch."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

AdversarialLoss = Literal["hinge", "bce"]
"""Hinge loss as in VQGAN, or binary cross-entropy on logits."""


def discriminator_loss(kind: AdversarialLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Mean of the losses on real images and on reconstructions, scalar. Lower means the discriminator separates them better.

    Args:
        kind: ``hinge`` or ``bce``.
        real: Logits of real images, any shape; positive means real.
        fake: Logits of reconstructions, any shape.
    """
    if kind == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def generator_loss(kind: AdversarialLoss, fake: Tensor) -> Tensor:
    """Generator loss from the logits of its images, scalar. Lower means they are classified as real."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


@torch.no_grad()
def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Balanced accuracy over real and fake patches, scalar in [0, 1]; 0.5 is chance level.

    A logit of exactly 0 counts as half correct.
    """
    signs = torch.cat([real.sign().flatten(), -fake.sign().flatten()])
    return (signs.mean() + 1) / 2
