"""The embedded photographs: held-out crops share nothing with training crops, and crops are deterministic."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from attnae.data.photos import HELD_OUT, TRAIN, photo_crops

DATA = Path(skimage.__file__).parent / "data"


def test_training_and_held_out_photographs_are_different_files() -> None:
    assert not set(TRAIN) & set(HELD_OUT)
    digests = {hashlib.sha256((DATA / name).read_bytes()).hexdigest() for name in TRAIN + HELD_OUT}
    assert len(digests) == len(TRAIN) + len(HELD_OUT)


@pytest.mark.parametrize("train", [True, False])
def test_crops_come_from_their_own_photographs(train: bool) -> None:
    opened = []
    with pytest.MonkeyPatch.context() as patch:
        real = Image.open
        patch.setattr(Image, "open", lambda path, *rest: opened.append(Path(path).name) or real(path, *rest))
        photo_crops(train, 4, 16)
    assert set(opened) == set(TRAIN if train else HELD_OUT)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("count", "size"), [(1, 64), (7, 1), (5, 8), (3, 33), (3, 256), (3, 700)])
def test_any_count_and_size(train: bool, count: int, size: int) -> None:
    crops = photo_crops(train, count, size)
    assert crops.shape == (count, size, size, 3)
    assert crops.dtype == np.uint8


def test_zero_crops() -> None:
    assert photo_crops(True, 0, 16).shape == (0, 16, 16, 3)


@pytest.mark.parametrize("train", [True, False])
def test_crops_do_not_depend_on_global_seed_and_count(train: bool) -> None:
    first = photo_crops(train, 12, 32)
    np.random.seed(5)  # noqa: NPY002
    np.testing.assert_array_equal(photo_crops(train, 12, 32), first)
    np.testing.assert_array_equal(photo_crops(train, 5, 32), first[:5])


def test_the_crops_have_not_changed() -> None:
    """Results on the embedded images are comparable only as long as these are."""
    train, held_out = (photo_crops(part, 8, 64).mean((1, 2, 3)) for part in (True, False))
    np.testing.assert_allclose(train, [107.1, 100.4, 102.4, 14.9, 136.8, 116.3, 86.5, 14.2], atol=0.3)
    np.testing.assert_allclose(held_out, [117.5, 94.9, 124.8, 62.5, 105.0, 86.4, 131.5, 86.4], atol=0.3)


def test_crops_differ_and_have_texture() -> None:
    crops = photo_crops(True, 40, 64)
    assert len({crop.tobytes() for crop in crops}) == 40
    assert np.median(crops.std((1, 2, 3))) > 20


def test_crops_cycle_through_the_photographs() -> None:
    """Crop i comes from photograph i modulo their number: those of the dark sky are by far the darkest."""
    crops = photo_crops(True, 40, 32)
    means = [crops[n :: len(TRAIN)].mean() for n in range(len(TRAIN))]
    assert int(np.argmin(means)) == TRAIN.index("hubble_deep_field.jpg")


def test_some_crops_are_mirrored() -> None:
    """A crop as large as the photograph is the photograph or its mirror image, each about half of the time."""
    side = min(min(Image.open(DATA / name).size) for name in HELD_OUT)
    small = min(HELD_OUT, key=lambda name: min(Image.open(DATA / name).size))
    photo = Image.open(DATA / small).convert("RGB")
    crops = photo_crops(False, 24, side)[HELD_OUT.index(small) :: len(HELD_OUT)]
    upright = mirrored = 0
    for crop in crops:
        for image, is_mirrored in ((crop, False), (crop[:, ::-1], True)):
            windows = [np.asarray(photo.crop((left, 0, left + side, side))) for left in range(photo.width - side + 1)]
            if any(np.array_equal(image, window) for window in windows):
                mirrored, upright = mirrored + is_mirrored, upright + (not is_mirrored)
                break
    assert upright + mirrored == len(crops)
    assert upright
    assert mirrored
