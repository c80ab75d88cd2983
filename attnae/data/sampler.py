"""Batch sampling, determined by seed and epoch only."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from attnae.data.decode import UInt8


class IndexedImages(Dataset[tuple[Tensor, Tensor]]):
    """Dataset of uint8 images, indexed by whole batches.

    Args:
        pixels: uint8 (N, H, W, 3).
        indices: Indices of the images in this set; ``None`` for all.
    """

    def __init__(self, pixels: UInt8, indices: np.ndarray | None = None):
        self.pixels = pixels
        self.indices = np.arange(len(pixels)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        """Images, uint8 (B, H, W, 3), and their indices, int64 (B,)."""
        chosen = self.indices[positions]
        return torch.from_numpy(self.pixels[chosen]), torch.from_numpy(chosen)


class EpochBatches(Sampler[list[int]]):
    """Batches of positions. The order depends only on seed and epoch, so a resumed run sees the same batches.

    Lightning calls :meth:`set_epoch` before every epoch. Under DDP, each rank takes every ``world``-th position of the same
    order, which wraps around so that all ranks have the same number of steps.

    Args:
        length: Number of images.
        batch_size: Images per batch and rank.
        shuffle: Shuffle in every epoch; otherwise use the stored order.
        seed: Seed of the order.
        rank: Rank of this process.
        world: Number of processes.
    """

    def __init__(self, length: int, batch_size: int, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1):
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.rank, self.world, self.epoch = rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, which determines the order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.per_rank // self.batch_size)

    @property
    def per_rank(self) -> int:
        """Number of images per rank and epoch."""
        return -(-self.length // self.world)

    def __iter__(self) -> Iterator[list[int]]:
        order = (
            np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
            if self.shuffle
            else np.arange(self.length)
        )
        order = np.resize(order, self.per_rank * self.world)[self.rank :: self.world]
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size].tolist()


SAMPLE_SEED = 256
"""Seed of :func:`sample`. Results depend on it; do not change it."""


def sample(length: int, shuffled: bool) -> np.ndarray:
    """Positions (length,) in an order whose first images are representative: as stored, or in a fixed shuffle.

    Args:
        length: Number of images.
        shuffled: Whether to shuffle; required if neighboring images are similar, as in class folders.
    """
    return np.random.default_rng(SAMPLE_SEED).permutation(length) if shuffled else np.arange(length)


def run_seed() -> int:
    """The run's ``--seed_everything``, which Lightning stores in the environment; 0 if not set."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
