"""Symmetry and eye colors against plain formulas and drawn faces; codebook usage against closed forms."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attnae.data import Eyes, eyes, portraits
from attnae.metrics.codebook import CodebookUse, bits_per_pixel
from attnae.metrics.faces import eye_color_error, symmetry_error


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def faces(indices: list[int], size: int = 64) -> tuple[Tensor, Tensor, Tensor, Eyes]:
    """Portraits in [0, 1], their eyes' centers and radii, and everything known about the eyes."""
    images = torch.from_numpy(portraits(False, max(indices) + 1, size)[indices]).permute(0, 3, 1, 2) / 255
    truth = eyes(False, indices)
    return images, torch.from_numpy(truth[0]), torch.from_numpy(truth[1]), truth


# -- symmetry ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 8, 9])
def test_symmetry_matches_numpy(width: int) -> None:
    output, target = noise(0, 5, 3, 6, width), noise(1, 5, 3, 6, width)
    x, y = target.double().numpy(), output.double().numpy()
    expected = np.abs((y - y[..., ::-1]) - (x - x[..., ::-1])).mean((1, 2, 3))
    np.testing.assert_allclose(symmetry_error(output, target), expected, atol=1e-6)


def test_symmetry_of_known_pictures() -> None:
    target = noise(2, 4, 3, 8, 8)
    mirrored = (target + target.flip(-1)) / 2
    asymmetry = (target - target.flip(-1)).abs().mean((1, 2, 3))
    assert symmetry_error(target, target).eq(0).all()
    torch.testing.assert_close(symmetry_error(mirrored, target), asymmetry)  # all of it is lost
    torch.testing.assert_close(symmetry_error(target.flip(-1), target), 2 * asymmetry)
    torch.testing.assert_close(symmetry_error(target * 0.5 + 0.2, target), asymmetry / 2)
    assert symmetry_error(target + mirrored, target).max() < 1e-6  # an error of both sides is none of symmetry
    assert symmetry_error(target.flip(-2), target).min() > 0.1  # left and right, not up and down


def test_a_symmetrized_face_has_a_large_error() -> None:
    images, *_ = faces([0, 1, 2, 3])
    assert symmetry_error((images + images.flip(-1)) / 2, images).min() > 0.02


# -- eyes -------------------------------------------------------------------------------------------------------


def plain(output: Tensor, target: Tensor, centers: Tensor, radius: Tensor) -> list[float]:
    """Pixel by pixel."""
    errors = []
    for y_hat, y, places, reach in zip(output, target, centers, radius, strict=True):
        means = []
        for image in (y_hat, y):
            height, width = image.shape[1:]
            for x_eye, y_eye in places.tolist():
                inside = [
                    image[:, row, column].double().numpy()
                    for row in range(height)
                    for column in range(width)
                    if math.hypot(column + 0.5 - x_eye * width, row + 0.5 - y_eye * height) <= reach * width
                ]
                means.append(np.mean(inside, 0))
        errors.append(float(np.abs((means[0] - means[1]) - (means[2] - means[3])).mean()))
    return errors


def test_eye_colors_match_a_plain_loop() -> None:
    output, target = noise(3, 4, 3, 20, 24), noise(4, 4, 3, 20, 24)
    centers, radius = 0.2 + 0.6 * noise(5, 4, 2, 2), 0.08 + 0.1 * noise(6, 4)
    expected = plain(output, target, centers, radius)
    np.testing.assert_allclose(eye_color_error(output, target, centers, radius), expected, atol=1e-6)


def test_eye_colors_of_known_pictures() -> None:
    images, centers, radius, truth = faces([0, 1, 2, 3])
    assert eye_color_error(images, images, centers, radius).eq(0).all()
    with_arrays = eye_color_error(images.flip(0), images, truth[0], truth[1])
    torch.testing.assert_close(with_arrays, eye_color_error(images.flip(0), images, centers, radius))
    shifted = images + torch.tensor([0.1, -0.2, 0.3])[:, None, None]
    assert eye_color_error(shifted, images, centers, radius).max() < 1e-6  # an error that both eyes share
    left = images.clone()
    left[..., :32] += torch.tensor([0.1, -0.2, 0.3])[:, None, None]
    torch.testing.assert_close(eye_color_error(left, images, centers, radius), torch.full((4,), 0.2))
    elsewhere = images.clone()
    elsewhere[..., 40:, :] = 0  # below the eyes
    assert eye_color_error(elsewhere, images, centers, radius).max() < 1e-6


def test_equal_eye_colors_have_a_large_error() -> None:
    """Each pair's right eye is replaced by its left one: that matters where they are of two colors."""
    indices = list(range(24))
    images, centers, radius, truth = faces(indices)
    painted = images.clone()
    for image, ((x, y), (x_2, y_2)) in zip(painted, (centers * 64).round().int().tolist(), strict=True):
        image[:, y_2 - 4 : y_2 + 4, x_2 - 4 : x_2 + 4] = image[:, y - 4 : y + 4, x - 4 : x + 4].clone()
    error = eye_color_error(painted, images, centers, radius).numpy()
    two = np.abs(truth[2][:, 0] - truth[2][:, 1]).max(1) > 0
    assert two.any()
    assert error[two].mean() > 2 * error[~two].mean()


@pytest.mark.parametrize("size", [8, 16, 64])
def test_every_eye_has_a_pixel(size: int) -> None:
    images, centers, radius, _ = faces(list(range(8)), size)
    assert eye_color_error(images.flip(0), images, centers, radius).isfinite().all()
    corners = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]])  # between four pixels
    assert eye_color_error(images[:1], images[1:2], corners, torch.tensor([1e-4])).isfinite().all()


# -- codebook ---------------------------------------------------------------------------------------------------


def used(*batches: Tensor, codes: int = 128) -> CodebookUse:
    use = CodebookUse(codes)
    for batch in batches:
        use.update(batch)
    return use


@pytest.mark.parametrize("count", [1, 2, 3, 7, 54, 128])
def test_codes_used_equally_often_have_their_number_as_perplexity(count: int) -> None:
    usage = used(torch.arange(count).repeat(5)).compute()
    assert usage.active_codes == count
    assert usage.perplexity == pytest.approx(count)


def test_known_usage() -> None:
    usage = used(torch.tensor([[[0, 0], [0, 3]]]), codes=4).compute()
    assert usage.counts.tolist() == [3, 0, 0, 1]
    assert usage.active_codes == 2
    assert usage.perplexity == pytest.approx(4 / 3**0.75)  # exp of the entropy of 3/4 and 1/4
    assert usage.entropy == pytest.approx(2 - 0.75 * math.log2(3))


def test_bits_per_pixel_of_known_usage() -> None:
    """One image of 16x16: four codes of two bits, and one that tells nothing."""
    levels = [used(torch.arange(4)).compute(), used(torch.tensor([5])).compute()]
    assert bits_per_pixel(levels, 256) == pytest.approx(4 * 2 / 256)
    assert bits_per_pixel([levels[1]], 256) == 0


@given(
    counts=st.lists(st.integers(0, 40), min_size=2, max_size=20).filter(any),
    cuts=st.lists(st.integers(0, 800), max_size=6),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_usage_matches_numpy_for_any_batching(counts: list[int], cuts: list[int], seed: int) -> None:
    indices = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    batches = [torch.from_numpy(part) for part in np.split(indices, sorted(min(cut, len(indices)) for cut in cuts))]
    usage = used(*batches, codes=len(counts)).compute()
    share = np.array([count for count in counts if count]) / sum(counts)
    assert usage.counts.tolist() == counts
    assert usage.active_codes == np.count_nonzero(counts)
    assert usage.perplexity == pytest.approx(float(np.exp(-(share * np.log(share)).sum())))


def test_usage_is_over_the_whole_set() -> None:
    """A mean of the two batches' perplexities would be 1."""
    assert used(torch.zeros(9, dtype=torch.int64), torch.ones(9, dtype=torch.int64)).compute().perplexity == (
        pytest.approx(2)
    )


def test_perplexity_without_images_and_after_reset() -> None:
    use = used(torch.tensor([5, 6]))
    use.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torchmetrics: compute before update
        usage = use.compute()
    assert usage.active_codes == 0
    assert math.isnan(usage.perplexity)
    use.update(torch.tensor([3]))
    assert use.compute().counts.nonzero().flatten().tolist() == [3]


def test_a_code_outside_the_codebook_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        used(torch.tensor([4]), codes=4)


def test_counts_are_summed_over_processes() -> None:
    """What torchmetrics gathers under DDP is added up: here from a second process that is made up."""
    use = used(torch.tensor([0, 0, 1]), codes=4)
    other = torch.tensor([5, 0, 1, 0])
    use.dist_sync_fn = lambda counts, group: [counts, other]
    use.distributed_available_fn = lambda: True
    usage = use.compute()
    assert usage.counts.tolist() == [7, 1, 1, 0]
    assert usage.active_codes == 3
