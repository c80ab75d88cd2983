"""Image grids."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import make_grid, save_image

from attnae.files import atomic


def save_rows(rows: list[Tensor], path: Path) -> Path:
    """Saves rows of images as one PNG.

    Args:
        rows: Images (B, 3, H, W) in [0, 1], one tensor per row, all of the same shape.
        path: Output file.
    """
    grid = make_grid(
        torch.cat([row.detach().float().cpu() for row in rows]),
        nrow=len(rows[0]),
        padding=2 * (len(rows) * len(rows[0]) > 1),
        pad_value=1,
    )
    with atomic(path) as temporary:
        save_image(grid, temporary)
    return path
