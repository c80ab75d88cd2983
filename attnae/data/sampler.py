"""Which images make a batch, in which order: by seed and epoch alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from attnae.data.decode import UInt8


class IndexedImages(Dataset[tuple[Tensor, Tensor]]):
    """uint8 images that are taken a whole batch at a time.

    Args:
        pixels: uint8 (N, H, W, 3).
        indices: Which images belong to this set; ``None`` for all.
    """

    def __init__(self, pixels: UInt8, indices: np.ndarray | None = None):
        self.pixels = pixels
        self.indices = np.arange(len(pixels)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        """uint8 (B, H, W, 3) and the images' indices, int64 (B,)."""
        chosen = self.indices[positions]
        return torch.from_numpy(self.pixels[chosen]), torch.from_numpy(chosen)


class EpochBatches(Sampler[list[int]]):
    """Batches of positions; the order depends on seed and epoch alone, so that a resumed run sees what it would have seen.

    Lightning calls :meth:`set_epoch` before every epoch. Under DDP every rank takes each ``world``-th position of the
    same order, which begins anew at its end so that all ranks make equally many steps.

    Args:
        length: Number of images.
        batch_size: Images per batch and rank.
        shuffle: A new order every epoch, or the stored one.
        seed: Seed of the order.
        rank: This process.
        world: Number of processes.
    """

    def __init__(self, length: int, batch_size: int, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1):
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.rank, self.world, self.epoch = rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.per_rank // self.batch_size)

    @property
    def per_rank(self) -> int:
        """Images that each rank sees per epoch."""
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
"""Seed of :func:`sample`. Results depend on it."""


def sample(length: int, shuffled: bool) -> np.ndarray:
    """Positions (length,) of images whose first ones stand for all: in order, or in a shuffle that is always the same.

    Args:
        length: Number of images.
        shuffled: Whether neighbors are alike, as in folders of classes.
    """
    return np.random.default_rng(SAMPLE_SEED).permutation(length) if shuffled else np.arange(length)


def run_seed() -> int:
    """The run's ``--seed_everything``, which Lightning leaves in the environment; 0 without one."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
