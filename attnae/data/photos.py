"""Embedded photos: crops of the photographs included in scikit-image. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from attnae.data.decode import UInt8

TRAIN = ("astronaut.png", "coffee.png", "motorcycle_left.png", "hubble_deep_field.jpg")
HELD_OUT = ("chelsea.png", "rocket.jpg")
"""Split by photograph: a held-out crop shares no pixel, object or camera with a training crop."""


def photo_crops(train: bool, count: int, size: int) -> UInt8:
    """Square crops at random positions and scales, half of them flipped. Deterministic for given arguments.

    Args:
        train: Crops of the training or the held-out photographs.
        count: Number of crops.
        size: Height and width in pixels.

    Returns:
        uint8 array of shape (count, size, size, 3). The side of a crop is log-uniform between ``size`` and the photograph's
        shorter side, to cover both texture and composition. Crops cycle through the photographs.
    """
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    photos = [Image.open(folder / name).convert("RGB") for name in (TRAIN if train else HELD_OUT)]
    generator = np.random.default_rng([20260, int(train)])
    crops = np.empty((count, size, size, 3), dtype=np.uint8)
    for index in range(count):
        photo = photos[index % len(photos)]
        shorter = min(photo.size)
        side = round(float(np.exp(generator.uniform(np.log(min(size, shorter)), np.log(shorter)))))
        left = int(generator.integers(photo.width - side + 1))
        top = int(generator.integers(photo.height - side + 1))
        crop = photo.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        crops[index] = np.asarray(crop)[:, ::-1] if generator.random() < 0.5 else np.asarray(crop)
    return crops
