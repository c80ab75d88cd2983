"""Masks other than the paper's patches: ratio and position of hidden pixels, and seeding."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attnae.data import CenterMask, ColorNoiseMask, PatchMask, PixelMask
from attnae.data.masks import Color, Mask

COLORS: tuple[Color, ...] = ("red", "green", "blue", "purple")
RANDOM: list[PixelMask] = [PixelMask(), *(ColorNoiseMask(color) for color in COLORS)]


def masks_of(corruption: Mask, index: Tensor, training: bool = False, side: int = 64) -> Tensor:
    mask = corruption(torch.zeros(len(index), 3, side, side), index, training).mask
    assert mask is not None
    assert mask.dtype == torch.bool
    assert mask.shape == (len(index), 1, side, side)
    return mask


def named(mask: Mask) -> str:
    return getattr(mask, "color", type(mask).__name__)


# -- how much, and where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("side", [16, 33, 64])
def test_every_random_mask_hides_its_ratio(ratio: float, side: int, training: bool) -> None:
    for mask in [PixelMask(ratio, "image"), *(ColorNoiseMask(color, ratio, per="image") for color in COLORS)]:
        hidden = masks_of(mask, torch.arange(5), training, side).flatten(1).sum(1)
        assert hidden.eq(round(ratio * side**2)).all(), named(mask)


@pytest.mark.parametrize("mask", [*RANDOM, CenterMask(), PatchMask()], ids=named)
@pytest.mark.parametrize("training", [True, False])
def test_a_mask_hides_exactly_the_masked_pixels(mask: Mask, training: bool) -> None:
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.4
    batch = mask(images.clone(), torch.tensor([7, 0, 3]), training)
    assert batch.mask is not None
    hidden = batch.mask.expand_as(images)
    assert batch.input[hidden].eq(0.5).all()
    assert torch.equal(batch.input[~hidden], images[~hidden])
    assert torch.equal(batch.target, images)
    assert batch.index.tolist() == [7, 0, 3]


@pytest.mark.parametrize(("size", "side", "first"), [(32, 64, 16), (5, 9, 2), (5, 10, 2), (64, 64, 0)])
def test_the_center_mask_is_centered(size: int, side: int, first: int) -> None:
    expected = np.pad(np.ones((size, size), bool), (first, side - size - first))
    for training in (True, False):
        masks = masks_of(CenterMask(size), torch.arange(2), training, side)
        assert np.array_equal(masks[:, 0].numpy(), [expected, expected])


def test_pixels_are_hidden_uniformly() -> None:
    """Every pixel is equally likely, and neighbors are independent."""
    masks = masks_of(PixelMask(0.25), torch.arange(4000), side=16)[:, 0].double()
    # 4,000 draws: standard deviation 0.0068 for each of 256 pixels.
    assert (masks.mean(0) - 0.25).abs().max() < 5 * 0.0068
    centered = masks - masks.mean()
    assert abs((centered[:, 1:] * centered[:, :-1]).mean() / centered.square().mean() + 1 / 255) < 0.01


def power(mask: Mask) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Mean power of masks by frequency in cycles per pixel, relative to that of white noise."""
    masks = masks_of(mask, torch.arange(300))[:, 0].numpy().astype(float)
    spectrum = np.abs(np.fft.fft2(masks - masks.mean((1, 2), keepdims=True))) ** 2
    relative = spectrum.mean(0) / spectrum.mean(0).sum() * 64**2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    edges = np.arange(0, 0.5, 0.025)
    rings = [relative[(frequency > low) & (frequency <= low + 0.025)].mean() for low in edges]
    return edges + 0.0125, np.array(rings)


def test_each_color_has_its_band() -> None:
    """Half power of Gaussians of 1 and 4 pixels is at 0.13 and 0.033 cycles per pixel; thresholding leaks, but not that far."""
    rings = {color: power(ColorNoiseMask(color, 0.5)) for color in COLORS}
    places = rings["red"][0]
    low, middle, high = (places < 0.03), (places > 0.05) & (places < 0.1), places > 0.2
    of = {color: [values[1][band].mean() for band in (low, middle, high)] for color, values in rings.items()}
    assert of["red"][0] > 5 * of["red"][1] > 25 * of["red"][2]
    assert of["green"][1] > 2 * of["green"][0]
    assert of["green"][1] > 5 * of["green"][2]
    assert of["blue"][2] > 2 * of["blue"][1]
    assert of["blue"][2] > 2 * of["blue"][0]
    assert of["purple"][0] > 2 * of["purple"][1]
    assert of["purple"][2] > 2 * of["purple"][1]
    assert np.abs(power(PixelMask(0.5))[1] - 1).max() < 0.15


def test_the_filter_is_the_gaussian_blur_of_scipy() -> None:
    from scipy.ndimage import gaussian_filter

    noise = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    blurred = [
        torch.from_numpy(gaussian_filter(noise.double().numpy(), s, mode="wrap", truncate=8)).float() for s in (1, 4)
    ]
    expected = {
        "red": blurred[1],
        "green": blurred[0] - blurred[1],
        "blue": noise - blurred[0],
        "purple": noise - blurred[0] + blurred[1],
    }
    for color in COLORS:
        # The sampled Gaussian of one pixel differs from the one by frequencies by up to 1%.
        torch.testing.assert_close(ColorNoiseMask(color).filtered(noise[None])[0], expected[color], rtol=0, atol=0.03)


# -- what they depend on ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", RANDOM, ids=named)
def test_evaluation_masks_depend_only_on_the_index(mask: PixelMask) -> None:
    whole = masks_of(mask, torch.arange(8))
    assert len(torch.unique(whole.flatten(1), dim=0)) == 8
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    for part in ([7, 2], [0], [5, 3, 1]):
        assert torch.equal(masks_of(mask, torch.tensor(part)), whole[part])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("mask", RANDOM, ids=named)
def test_training_masks_follow_the_global_seed_and_are_shared_per_batch(mask: PixelMask) -> None:
    torch.manual_seed(4)
    first, second = masks_of(mask, torch.arange(3), True), masks_of(mask, torch.arange(3), True)
    torch.manual_seed(4)
    assert torch.equal(masks_of(mask, torch.arange(3), True), first)
    assert not torch.equal(first, second)
    assert first.eq(first[:1]).all()
    own = masks_of(PixelMask(per="image"), torch.arange(3), True)
    assert len(torch.unique(own.flatten(1), dim=0)) == 3


def test_the_paper_s_masks_at_evaluation_never_change() -> None:
    """Committed results depend on them."""
    corners = np.random.default_rng([42, 3]).integers(0, 56, (16, 2))
    expected = np.zeros((64, 64), bool)
    for top, left in corners:
        expected[top : top + 8, left : left + 8] = True
    assert np.array_equal(masks_of(PatchMask(), torch.tensor([3]))[0, 0].numpy(), expected)


# -- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (CenterMask, {"size": 0}),
        (CenterMask, {"fill": 2.0}),
        (PixelMask, {"ratio": 0.0}),
        (PixelMask, {"ratio": 1.0}),
        (PixelMask, {"fill": float("nan")}),
        (ColorNoiseMask, {"color": "pink"}),
        (ColorNoiseMask, {"ratio": float("nan")}),
        (ColorNoiseMask, {"sigma": (2.0, 2.0)}),
        (ColorNoiseMask, {"sigma": (0.0, 2.0)}),
    ],
)
def test_invalid_settings_are_rejected(kind: type[Mask], wrong: dict[str, Any]) -> None:
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=rf"^{kind.__name__}: {name} must be .*, got {re.escape(repr(value))}$"):
        kind(**wrong)


def test_a_square_must_fit_into_the_image() -> None:
    with pytest.raises(ValueError, match=r"a square of 32 pixels is larger than the images \(16 pixels\)"):
        masks_of(CenterMask(), torch.arange(1), side=16)
