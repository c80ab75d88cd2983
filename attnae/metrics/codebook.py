"""How much of a codebook is used, over a whole set of images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class CodebookUsage(NamedTuple):
    """Use of one level's codebook.

    Attributes:
        active_codes: Codes used at least once.
        perplexity: exp(entropy) of the usage, in [1, codes]: as many codes used equally often are as uncertain.
        counts: How often each code was used, int64 (codes,) on the CPU.
    """

    active_codes: int
    perplexity: float
    counts: Tensor


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
        perplexity = (-(share * share.log()).sum()).exp().item() if len(used) else float("nan")
        return CodebookUsage(len(used), perplexity, counts)
