"""Masks: ratio of hidden pixels, seeding, and unchanged visible pixels."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attnae.data import PatchMask


def images_of(count: int, side: int = 64) -> Tensor:
    """Random images that never have the value of a hidden pixel."""
    images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    return torch.where(images == 0.5, 0.25, images)


def masks_of(corruption: PatchMask, index: Tensor, training: bool = False, side: int = 64) -> Tensor:
    mask = corruption(torch.zeros(1, 1, 1, 1).expand(len(index), 3, side, side), index, training).mask
    assert mask is not None
    return mask


# -- how much is hidden -----------------------------------------------------------------------------------------


def simulated_fraction(images: int = 4000) -> float:
    """Hidden fraction of 16 patches of 8x8 on 64x64, painted one by one."""
    generator, hidden = np.random.default_rng(99), 0
    for _ in range(images):
        canvas = np.zeros((64, 64), dtype=bool)
        for _ in range(16):
            top, left = generator.integers(0, 56), generator.integers(0, 56)
            canvas[top : top + 8, left : left + 8] = True
        hidden += int(canvas.sum())
    return hidden / (images * 64 * 64)


@pytest.mark.parametrize("training", [True, False])
def test_hidden_fraction_is_that_of_an_independent_simulation(training: bool) -> None:
    torch.manual_seed(0)
    masks = masks_of(PatchMask(per="image"), torch.arange(2000), training)
    # Standard deviation of one image's fraction is 0.018, so of both means' difference about 0.0005.
    assert abs(masks.float().mean().item() - simulated_fraction()) < 0.0025


@pytest.mark.parametrize("training", [True, False])
def test_corners_are_uniform_but_never_the_last(training: bool) -> None:
    """Released: integers in [0, 64 - 8), so that pixels of the last row and column stay visible."""
    torch.manual_seed(0)
    masks = masks_of(PatchMask(patches=1, per="image"), torch.arange(5000), training)[:, 0]
    rows, columns = masks.any(2).float().argmax(1), masks.any(1).float().argmax(1)
    for corners in (rows, columns):
        counts = np.bincount(corners.numpy(), minlength=56)
        assert len(counts) == 56
        assert ((counts - 5000 / 56) ** 2 / (5000 / 56)).sum() < 55 + 6 * (2 * 55) ** 0.5  # chi-squared, 6 sigma
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.08
    assert not masks[:, -1].any()
    assert not masks[:, :, -1].any()


@given(
    patches=st.integers(1, 20),
    size=st.integers(1, 15),
    more=st.integers(1, 20),
    count=st.integers(1, 4),
    fill=st.sampled_from([0.0, 0.5, 1.0]),
    per=st.sampled_from(["batch", "image"]),
    training=st.booleans(),
    first=st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=60)
def test_a_mask_hides_exactly_the_masked_pixels(
    patches: int, size: int, more: int, count: int, fill: float, per: Any, training: bool, first: int
) -> None:
    side = size + more
    images = images_of(count, side) * 0.98 + 0.01  # never 0, 0.5 or 1 unless hidden
    images = torch.where(images == 0.5, 0.25, images)
    index = torch.arange(first, first + count)
    batch = PatchMask(patches, size, per, fill)(images.clone(), index, training)
    assert batch.mask is not None
    assert batch.mask.shape == (count, 1, side, side)
    assert batch.mask.dtype == torch.bool
    hidden = batch.mask.expand_as(images)
    assert batch.input[hidden].eq(fill).all()
    assert torch.equal(batch.input[~hidden], images[~hidden])
    assert torch.equal(batch.target, images)
    assert torch.equal(batch.index, index)
    pixels = batch.mask.flatten(1).sum(1)
    assert (pixels >= size**2).all()
    assert (pixels <= min(patches * size**2, side**2)).all()
    if patches == 1:
        assert (pixels == size**2).all()


# -- what it depends on -----------------------------------------------------------------------------------------


def test_training_masks_are_shared_per_batch() -> None:
    masks = masks_of(PatchMask(), torch.arange(8), training=True)
    assert masks.eq(masks[:1]).all()


def test_training_masks_differ_per_image() -> None:
    masks = masks_of(PatchMask(per="image"), torch.arange(8), training=True)
    assert len(torch.unique(masks.flatten(1), dim=0)) == 8


@pytest.mark.parametrize("per", ["batch", "image"])
def test_training_masks_follow_the_global_seed_and_change_with_every_step(per: Any) -> None:
    corruption, index = PatchMask(per=per), torch.arange(3)
    torch.manual_seed(4)
    first, second = masks_of(corruption, index, True), masks_of(corruption, index, True)
    torch.manual_seed(4)
    np.random.seed(1)  # noqa: NPY002
    assert torch.equal(masks_of(corruption, index, True), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("per", ["batch", "image"])
@given(order=st.permutations(range(8)), cuts=st.sets(st.integers(1, 7)), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=12)
def test_evaluation_masks_depend_only_on_the_index(per: Any, order: list[int], cuts: set[int], seed: int) -> None:
    whole = masks_of(PatchMask(), torch.arange(8))
    torch.manual_seed(seed)
    before = torch.random.get_rng_state()
    for part in np.split(np.array(order), sorted(cuts)):
        assert torch.equal(masks_of(PatchMask(per=per), torch.from_numpy(part)), whole[part])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_evaluation_masks_differ_between_images() -> None:
    masks = masks_of(PatchMask(), torch.arange(50))
    assert len(torch.unique(masks.flatten(1), dim=0)) == 50


# -- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"patches": 0}, {"patches": -1}, {"size": 0}, {"fill": -0.1}, {"fill": 1.1}, {"fill": float("nan")}]
)
def test_invalid_settings_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"PatchMask: .* must be"):
        PatchMask(**wrong)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("side", [4, 8])
def test_patches_must_fit_into_the_image(side: int, training: bool) -> None:
    with pytest.raises(ValueError, match=rf"patches of 8 pixels are larger than the images \({side} pixels\)"):
        PatchMask()(images_of(2, side), torch.arange(2), training)
