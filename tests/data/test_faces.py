"""The embedded portraits: deterministic, varied, lit from one side, with eyes at the stated positions."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from attnae.data.faces import IRISES, TWO_COLORS, eyes, portraits

SOME = range(40)


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    """Held-out portraits at 256x256 in [0, 1]."""
    return portraits(False, len(SOME), 256) / 255


def irises(pictures: np.ndarray, near: float, far: float) -> Iterator[np.ndarray]:
    """Pixels (n, 3) of each eye between two distances from its center, in radii."""
    truth = eyes(False, SOME)
    at = (np.arange(pictures.shape[1]) + 0.5) / pictures.shape[1]
    for picture, centers, radius in zip(pictures, truth.centers, truth.radius, strict=True):
        for x, y in centers:
            distance = np.hypot(at[None, :] - x, at[:, None] - y) / radius
            yield picture[(distance >= near) & (distance <= far)]


# -- repeatable -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [True, False])
def test_a_portrait_depends_only_on_split_index_and_size(train: bool) -> None:
    first = portraits(train, 6, 32)
    np.random.seed(5)  # noqa: NPY002
    np.testing.assert_array_equal(portraits(train, 9, 32)[:6], first)
    assert len({picture.tobytes() for picture in first}) == 6
    assert not (portraits(not train, 6, 32) == first).all((1, 2, 3)).any()


@pytest.mark.parametrize(("count", "size"), [(0, 16), (2, 1), (2, 8), (3, 33), (2, 256), (1, 300)])
def test_any_count_and_size(count: int, size: int) -> None:
    pictures = portraits(True, count, size)
    assert pictures.shape == (count, size, size, 3)
    assert pictures.dtype == np.uint8


def test_a_smaller_portrait_is_the_same_picture(large: np.ndarray) -> None:
    small = portraits(False, 8, 64) / 255
    for picture, other in zip(large, small, strict=False):
        reduced = Image.fromarray((picture * 255).astype(np.uint8)).resize((64, 64), Image.Resampling.BOX)
        assert np.abs(np.asarray(reduced) / 255 - other).mean() < 0.02


def test_the_portraits_have_not_changed() -> None:
    """Results on them are comparable only as long as these are; ``location.FACES`` is their version."""
    train, held_out = (portraits(part, 4, 64).mean((1, 2, 3)) for part in (True, False))
    np.testing.assert_allclose(train, [96.5, 109.4, 97.3, 128.5], atol=0.1)
    np.testing.assert_allclose(held_out, [119.9, 104.2, 132.0, 103.7], atol=0.1)


# -- pictures ---------------------------------------------------------------------------------------------------


def test_the_light_comes_from_one_side(large: np.ndarray) -> None:
    """The picture is not symmetric, and which half is brighter differs between portraits."""
    assert np.abs(large - large[:, :, ::-1]).mean((1, 2, 3)).min() > 0.02
    cheeks = large[:, 120:150]  # rows below the eyes
    left, right = cheeks[:, :, 80:110].mean((1, 2, 3)), cheeks[:, :, 146:176].mean((1, 2, 3))
    assert 0.2 < (left > right).mean() < 0.8
    assert np.median(np.abs(left - right) / (left + right)) > 0.08


def test_portraits_differ_and_have_texture(large: np.ndarray) -> None:
    assert large.std((1, 2, 3)).min() > 0.1
    assert 0.15 < large.std() < 0.35  # CelebA-HQ: 0.31
    assert large.std(0).mean() > 0.1


# -- eyes -------------------------------------------------------------------------------------------------------


def test_eyes_by_index() -> None:
    truth = eyes(True, [5, 2, 5])
    assert (truth.centers.shape, truth.radius.shape, truth.colors.shape) == ((3, 2, 2), (3,), (3, 2, 3))
    for values, alone in zip(truth, eyes(True, [2]), strict=True):
        np.testing.assert_array_equal(values[1], alone[0])
        np.testing.assert_array_equal(values[0], values[2])
    assert not np.allclose(truth.centers[0], eyes(False, [5]).centers[0])
    assert [len(values) for values in eyes(True, [])] == [0, 0, 0]


def test_the_first_eye_is_the_left_one() -> None:
    centers = eyes(True, range(500)).centers
    assert ((centers > 0.25) & (centers < 0.75)).all()
    assert (centers[:, 1, 0] - centers[:, 0, 0] > 0.15).all()


def test_eyes_have_the_stated_position_and_color(large: np.ndarray) -> None:
    """Between pupil and rim a pixel is the iris' color times the light: the same hue, some brightness."""
    truth = eyes(False, SOME)
    for pixels, color in zip(irises(large, 0.55, 0.8), truth.colors.reshape(-1, 3), strict=True):
        seen = np.median(pixels, 0)
        light = seen / color
        assert 0.35 < light.min() <= light.max() < 1.6
        np.testing.assert_allclose(seen / seen.sum(), color / color.sum(), atol=0.05)


def test_the_pupil_is_central_and_surrounded_by_white(large: np.ndarray) -> None:
    for pupil in irises(large, 0, 0.3):
        assert np.median(pupil) < 0.1
    for rim in irises(large, 1.2, 1.5):
        bright = rim[rim.sum(1) >= np.quantile(rim.sum(1), 0.8)]
        assert (np.ptp(bright, 1) < 0.25).mean() > 0.9  # lit white, not skin


def test_most_pairs_have_one_color_and_some_have_two() -> None:
    colors = eyes(True, range(2000)).colors
    apart = np.abs(colors[:, 0] - colors[:, 1]).max(1)
    two = apart > 0
    assert abs(two.mean() - TWO_COLORS) < 0.03  # 3 standard deviations
    closest = min(np.abs(a - b).max() for n, a in enumerate(IRISES) for b in IRISES[:n])
    assert apart[two].min() > 0.9 * closest > 0.15


def test_different_eye_colors_are_visible(large: np.ndarray) -> None:
    """The pictures tell which pairs are of two colors: their hues differ by far more than the light can do."""
    colors = eyes(False, SOME).colors
    hues = np.array([np.median(pixels, 0) / np.median(pixels, 0).sum() for pixels in irises(large, 0.55, 0.8)])
    apart = np.abs(hues[::2] - hues[1::2]).max(1)
    two = np.abs(colors[:, 0] - colors[:, 1]).max(1) > 0
    assert two.any()
    assert apart[two].min() > 2 * apart[~two].max()
