"""Applies a function of small squares to images of any size, in overlapping, blended tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Rows = Callable[[int, int], Tensor]
"""Function that returns rows of an image: first and last + 1 -> (C, rows, W)."""

PIXELS = 2**18
"""Default number of pixels per batch: 256 tiles of 32x32, 4 of 256x256. Larger batches are not faster on a CPU."""


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Start positions of tiles along a line, evenly spaced, from the start to the end of the line.

    Args:
        length: Length of the line, at least 1.
        tile: Length of a tile.
        overlap: Minimum overlap of neighbors, in [0, tile).

    Example:
        >>> starts(100, 32, 8)
        [0, 23, 45, 68]
        >>> starts(20, 32, 8)  # a tile reaches beyond a short line
        [0]
    """
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def extended(values: Tensor, height: int, width: int) -> Tensor:
    """Extends (..., H, W) to (..., height, width) by repeated mirroring at the lower and right edge.

    Example:
        >>> extended(torch.tensor([[1, 2, 3]]), 1, 8)
        tensor([[1, 2, 3, 3, 2, 1, 1, 2]])
    """
    for dim, wanted in ((-2, height), (-1, width)):
        length = values.shape[dim]
        if length < wanted:
            place = torch.arange(wanted) % (2 * length)
            values = values.index_select(dim, torch.minimum(place, 2 * length - 1 - place))
    return values


def blended(
    function: Callable[[Tensor], Tensor],
    rows: Rows,
    size: tuple[int, int],
    tile: tuple[int, int],
    overlap: int,
    batch: int = 0,
    scale: int = 1,
    done: Callable[[float], None] = lambda share: None,
) -> Iterator[tuple[int, Tensor]]:
    """Applies a function to overlapping tiles and blends the results.

    In the overlap, the weight of a tile decreases towards its edges, where a network sees the least context. The weights of a
    pixel sum to 1, so the identity function leaves an image unchanged. Only one row of tiles is in memory at a time.

    Args:
        function: Tiles (B, C, h, w) -> (B, D, scale h, scale w), on the CPU.
        rows: The image.
        size: Height and width of the image.
        tile: Height and width of a tile; smaller images are extended by mirroring.
        overlap: Minimum overlap of neighboring tiles in pixels, less than a tile.
        batch: Tiles per call; 0 for about :data:`PIXELS` pixels.
        scale: Scale factor from the function's input to its output.
        done: Called after each batch with the finished share of the image.

    Yields:
        Finished bands from top to bottom: their first row and (D, n, scale W), on the CPU.
    """
    (height, width), (tall, wide) = size, tile
    tops, lefts = starts(height, tall, min(overlap, tall - 1)), starts(width, wide, min(overlap, wide - 1))
    batch = batch or max(1, PIXELS // (tall * wide * scale * scale))
    down = _shares(tops, height, tall, overlap, scale)
    across = _shares(lefts, width, wide, overlap, scale)
    band: Tensor | None = None  # weighted sums of the tiles in unfinished rows
    for number, top in enumerate(tops):
        line = extended(rows(top, min(top + tall, height)), tall, max(width, wide))
        weighted: Tensor | None = None
        for first in range(0, len(lefts), batch):
            places = lefts[first : first + batch]
            made = function(torch.stack([line[:, :, left : left + wide] for left in places]))
            if weighted is None:
                weighted = made.new_zeros(made.shape[1], tall * scale, max(width, wide) * scale)
            for left, part in zip(places, made * across[first : first + len(places), None, None], strict=True):
                weighted[:, :, left * scale : (left + wide) * scale] += part
            done((number + min(1.0, (first + batch) / len(lefts))) / len(tops))
        assert weighted is not None
        weighted *= down[number, :, None]
        if band is not None:
            weighted[:, : band.shape[1]] += band
        end = tops[number + 1] if number + 1 < len(tops) else height
        finished = (end - top) * scale
        yield top * scale, weighted[:, :finished, : width * scale]
        band = weighted[:, finished:]


def _shares(places: list[int], length: int, tile: int, overlap: int, scale: int) -> Tensor:
    """Weights of each tile along a line (tiles, tile * scale), decreasing over the overlap; they sum to 1 at each point."""
    steps = torch.arange(1, tile * scale + 1, dtype=torch.float64)
    ramp = torch.minimum(steps, steps.flip(0)).clamp_max(overlap * scale + 1)
    total = torch.zeros(max(length, tile) * scale, dtype=torch.float64)
    for place in places:
        total[place * scale : (place + tile) * scale] += ramp
    return torch.stack([ramp / total[place * scale : (place + tile) * scale] for place in places]).float()
