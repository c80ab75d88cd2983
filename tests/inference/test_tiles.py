"""Tiles and their seams."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attnae.inference.tiles import blended, extended, starts

LENGTHS = st.integers(1, 60)


@settings(max_examples=40, deadline=None)
@given(
    LENGTHS, LENGTHS, st.integers(1, 24), st.integers(1, 24), st.integers(0, 23), st.integers(0, 5), st.integers(1, 3)
)
def test_the_identity_function_preserves_the_image(
    height: int, width: int, tall: int, wide: int, overlap: int, batch: int, scale: int
) -> None:
    image = torch.rand(2, height, width)
    overlap = min(overlap, tall - 1, wide - 1)
    longest = 0

    def rows(top: int, end: int) -> Tensor:
        nonlocal longest
        assert 0 <= top < end <= height
        longest = max(longest, end - top)
        return image[:, top:end]

    def enlarge(tiles: Tensor) -> Tensor:
        assert tiles.shape[1:] == (2, tall, wide)
        assert not batch or len(tiles) <= batch
        return tiles.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    shares: list[float] = []
    bands = list(blended(enlarge, rows, (height, width), (tall, wide), overlap, batch, scale, shares.append))
    joined = torch.cat([band for _, band in bands], 1)
    assert [top for top, _ in bands] == np.cumsum([0, *(band.shape[1] for _, band in bands)])[:-1].tolist()
    torch.testing.assert_close(joined, enlarge_whole(image, scale), atol=1e-5, rtol=0)
    assert longest <= tall  # no more than a row of tiles is asked for at once
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def enlarge_whole(image: Tensor, scale: int) -> Tensor:
    return image.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 63))
def test_tiles_cover_a_line_and_overlap_enough(length: int, tile: int, overlap: int) -> None:
    overlap = min(overlap, tile - 1)
    places = starts(length, tile, overlap)
    assert places[0] == 0
    assert places[-1] + tile >= length
    if length >= tile:
        assert places[-1] + tile == length
    for one, other in pairwise(places):
        assert other > one
        assert one + tile - other >= overlap - 1  # places are whole pixels


def test_seams_fade() -> None:
    """Tiles that disagree are joined without a step larger than what one pixel of the overlap fades."""
    made = iter([0.0, 1.0])

    def disagree(tiles: Tensor) -> Tensor:
        return torch.stack([torch.full((1, 8, 8), next(made)) for _ in tiles])

    image = torch.zeros(1, 8, 12)
    ((_, band),) = blended(disagree, lambda top, end: image[:, top:end], (8, 12), (8, 8), 4)
    line = band[0, 0]
    assert line[0] == 0
    assert line[-1] == 1
    assert line.diff().max() < 0.3


def test_mirroring_matches_numpys_symmetric_padding() -> None:
    values = torch.arange(12).view(1, 3, 4)
    expected = np.pad(values.numpy(), ((0, 0), (0, 8), (0, 13)), "symmetric")
    assert np.array_equal(extended(values, 11, 17).numpy(), expected)
