"""Labeled images side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attnae.data.decode import UInt8

SMALLEST, LARGEST = 256, 1024
"""Limits of a panel's longer side in pixels. Small images are enlarged by integer factors, large ones reduced."""

NARROWEST = 160
"""Minimum width of a panel, for its label."""

MARGIN, LABEL = 8, 26


def side_by_side(panels: Mapping[str, UInt8]) -> UInt8:
    """Joins images of the same shape into one image (H, W, 3).

    Args:
        panels: Images (H, W, 3) by label.

    Example:
        >>> side_by_side({"input": np.zeros((8, 8, 3), np.uint8), "output": np.zeros((8, 8, 3), np.uint8)}).shape
        (298, 536, 3)
    """
    shown = {label: _fitted(Image.fromarray(pixels)) for label, pixels in panels.items()}
    widths = [max(image.width, NARROWEST) for image in shown.values()]
    height = max(image.height for image in shown.values())
    canvas = Image.new("RGB", (sum(widths) + MARGIN * (len(shown) + 1), height + LABEL + 2 * MARGIN), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    left = MARGIN
    for (label, image), width in zip(shown.items(), widths, strict=True):
        draw.text((left, MARGIN), label, "black", font)
        canvas.paste(image, (left, MARGIN + LABEL))
        left += width + MARGIN
    return np.asarray(canvas)


def _fitted(image: Image.Image) -> Image.Image:
    longer = max(image.size)
    if longer < SMALLEST:  # nearest neighbor
        factor = -(-SMALLEST // longer)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image = image.copy()
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    return image
