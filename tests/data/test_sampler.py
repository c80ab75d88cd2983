"""Epochs: every image once, in an order that depends only on seed and epoch."""

from collections.abc import Iterable
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnae.data.sampler import EpochBatches, IndexedImages, run_seed

sizes = {"length": st.integers(1, 120), "batch": st.integers(1, 40)}


def epoch(
    length: int, batch: int, number: int = 0, shuffle: bool = True, seed: int = 0, rank: int = 0, world: int = 1
) -> list[list[int]]:
    sampler = EpochBatches(length, batch, shuffle, seed, rank, world)
    sampler.set_epoch(number)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    return batches


def flat(batches: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


@given(**sizes, number=st.integers(0, 50), seed=st.integers(0, 2**32 - 1), shuffle=st.booleans())
def test_every_image_comes_exactly_once(length: int, batch: int, number: int, seed: int, shuffle: bool) -> None:
    batches = epoch(length, batch, number, shuffle, seed)
    assert sorted(flat(batches)) == list(range(length))
    assert all(len(one) == batch for one in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch


@given(**sizes, world=st.integers(1, 9), number=st.integers(0, 5), shuffle=st.booleans())
def test_ranks_share_an_epoch(length: int, batch: int, world: int, number: int, shuffle: bool) -> None:
    ranks = [epoch(length, batch, number, shuffle, 3, rank, world) for rank in range(world)]
    shapes = {tuple(len(one) for one in batches) for batches in ranks}
    assert len(shapes) == 1  # equally many steps of equal size, or the ranks would wait for each other for ever
    seen = flat(flat(batches) for batches in ranks)
    repeated = len(seen) - length
    assert set(seen) == set(range(length))
    assert 0 <= repeated < world  # a few are repeated to fill up, no more
    if not repeated:
        assert len(set(seen)) == len(seen)


@given(length=st.integers(2, 60), world=st.integers(2, 4), number=st.integers(0, 3))
def test_all_ranks_follow_the_order_of_one(length: int, world: int, number: int) -> None:
    order = flat(epoch(length, 7, number, seed=5))
    for rank in range(world):
        mine = flat(epoch(length, 7, number, seed=5, rank=rank, world=world))
        assert mine[: len(order[rank::world])] == order[rank::world]


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = {tuple(flat(epoch(40, 8, number, seed=seed))) for number in range(4) for seed in range(4)}
    assert len(orders) == 16
    assert tuple(range(40)) not in orders


@given(batch=st.integers(1, 40), noise=st.integers(0, 100))
@settings(deadline=None)
def test_the_order_does_not_depend_on_the_global_seed(batch: int, noise: int) -> None:
    expected = flat(epoch(40, 8, 2, seed=1))
    torch.manual_seed(noise)
    np.random.seed(noise)  # noqa: NPY002
    assert flat(epoch(40, batch, 2, seed=1)) == expected
    sampler = EpochBatches(40, batch, True, 1)
    list(sampler)
    sampler.set_epoch(2)  # a resumed run starts here without having seen the epochs before
    assert flat(sampler) == flat(sampler) == expected


def test_the_stored_order_is_kept_without_shuffling() -> None:
    assert epoch(7, 3, number=5, shuffle=False) == [[0, 1, 2], [3, 4, 5], [6]]


def test_each_position_is_equally_likely() -> None:
    firsts = np.array([epoch(8, 8, number)[0] for number in range(1200)])
    counts = np.stack([(firsts == image).sum(0) for image in range(8)])  # image x place, 150 expected
    assert np.abs(counts - 150).max() < 60  # over 5 standard deviations


def test_images_are_taken_by_position() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    taken, index = IndexedImages(pixels)[[7, 2, 2]]
    assert taken.dtype == torch.uint8
    np.testing.assert_array_equal(taken.numpy(), pixels[[7, 2, 2]])
    assert index.tolist() == [7, 2, 2]


def test_a_subset_keeps_the_indices_of_the_whole() -> None:
    pixels = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1).repeat(3, 3)
    some = IndexedImages(pixels, np.array([8, 5, 1]))
    assert len(some) == 3
    taken, index = some[[2, 0]]
    assert taken[:, 0, 0, 0].tolist() == index.tolist() == [1, 8]


def test_taking_images_copies_them() -> None:
    pixels = np.zeros((3, 2, 2, 3), np.uint8)
    IndexedImages(pixels)[[0, 1, 2]][0].fill_(9)
    assert pixels.max() == 0


def test_the_seed_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert run_seed() == 17
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert run_seed() == 0
