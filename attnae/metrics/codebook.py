"""Codebook usage over a set of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class CodebookUsage(NamedTuple):
    """Usage of one level's codebook.

    Attributes:
        active_codes: Codes used at least once.
        perplexity: exp(entropy) of the usage, in [1, codes]: the effective number of codes.
        entropy: Entropy of the usage in bits per code, in [0, log2(codes)].
        counts: Usage count of each code, int64 (codes,) on the CPU.
    """

    active_codes: int
    perplexity: float
    entropy: float
    counts: Tensor


def bits_per_pixel(levels: Sequence[CodebookUsage], pixels: int) -> float:
    """Bit rate of the codes with an entropy coder that knows the code frequencies.

    Args:
        levels: Usage of each level's codebook over the set.
        pixels: Height times width, summed over the images of the set.

    Returns:
        Sum over the levels of entropy x codes, divided by the pixels; in bits per pixel, at least 0. An upper bound: it
        treats neighboring codes and levels as independent.
    """
    return sum(level.entropy * int(level.counts.sum()) for level in levels) / pixels


class CodebookUse(Metric):
    """Counts code usage of one level over a set of images. Metrics are defined in ``attnae.metrics.columns``.

    Paper: Attentive VQ-VAE, active codes over the whole test set. The mean perplexity over batches would be smaller.

    Args:
        codes: Size of the codebook.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, codes: int):
        super().__init__()
        self.add_state("counts", default=torch.zeros(codes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, indices: Tensor) -> None:
        """Adds a batch.

        Args:
            indices: Code indices in [0, codes), int64 of any shape.
        """
        self.counts += torch.bincount(indices.flatten(), minlength=len(self.counts))

    def compute(self) -> CodebookUsage:
        """Usage so far, over all processes. Perplexity and entropy are NaN without codes."""
        counts = self.counts.cpu()
        used = counts[counts > 0].double()
        share = used / used.sum()
        entropy = abs(float((share * share.log()).sum())) if len(used) else math.nan  # in nats
        return CodebookUsage(len(used), math.exp(entropy), entropy / math.log(2), counts)
