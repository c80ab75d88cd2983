"""How much of a codebook is used, over a whole set of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class CodebookUsage(NamedTuple):
    """Use of one level's codebook.

    Attributes:
        active_codes: Codes used at least once.
        perplexity: exp(entropy) of the usage, in [1, codes]: as many codes used equally often are as uncertain.
        entropy: Entropy of the usage in bits per code, in [0, log2(codes)]: the logarithm of the perplexity.
        counts: How often each code was used, int64 (codes,) on the CPU.
    """

    active_codes: int
    perplexity: float
    entropy: float
    counts: Tensor


def bits_per_pixel(levels: Sequence[CodebookUsage], pixels: int) -> float:
    """What the codes of a set of images cost when an entropy coder knows how often each is used.

    Args:
        levels: Use of each level's codebook over the set.
        pixels: Height times width, summed over the images of the set.

    Returns:
        Sum over the levels of entropy x codes, divided by the pixels; in bits per pixel, at least 0. An upper bound: it
        takes neighboring codes, and levels, as independent.
    """
    return sum(level.entropy * int(level.counts.sum()) for level in levels) / pixels


class CodebookUse(Metric):
    """Counts the codes of one level over a set of images; every number is defined in ``attnae.metrics.columns``.

    Paper: Attentive VQ-VAE, active codes over the whole test set. A mean of batches' perplexities would be smaller.

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
            indices: Chosen codes in [0, codes), int64 of any shape.
        """
        self.counts += torch.bincount(indices.flatten(), minlength=len(self.counts))

    def compute(self) -> CodebookUsage:
        """The use so far, over all processes; the perplexity of nothing is not a number."""
        counts = self.counts.cpu()
        used = counts[counts > 0].double()
        share = used / used.sum()
        entropy = abs(float((share * share.log()).sum())) if len(used) else math.nan  # in nats
        return CodebookUsage(len(used), math.exp(entropy), entropy / math.log(2), counts)
