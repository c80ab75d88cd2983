"""Code files."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_runs import pixels, save, write_run

from attnae.errors import UserError
from attnae.inference import codes, commands, images
from attnae.inference.load import Model, load


@pytest.fixture(scope="module")
def model(vqvae: Path) -> Model:
    return load(vqvae)


def test_round_trip_equals_the_networks_reconstruction(vqvae: Path, model: Model, tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", 32, 32)
    assert commands.run(["encode", str(vqvae), str(source), "-o", str(tmp_path / "coded")]) == 0
    assert commands.run(["decode", str(vqvae), str(tmp_path / "coded"), "-o", str(tmp_path / "out")]) == 0
    expected = images.to_pixels(model(images.to_tensor(pixels(32, 32))[None])[0])
    assert np.abs(np.asarray(Image.open(tmp_path / "out" / "in.png")).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (33, 31), (64, 96), (100, 40)])
def test_round_trip_of_any_image_size(model: Model, size: tuple[int, int]) -> None:
    found = codes.code_map(model, pixels(*size))
    assert found.shape == (-(-size[0] // 8), -(-size[1] // 8))
    back, shape = codes.unpack(model, codes.pack(model, found, size), "x")
    assert shape == size
    assert np.array_equal(back, found)
    assert codes.decoded(model, back, shape).shape == (*size, 3)


def test_windows_decode_like_the_whole(model: Model) -> None:
    """The overlap exceeds the receptive field, so the center of a window is exact."""
    found = np.random.default_rng(0).integers(0, 16, (6, 150))
    whole = images.to_pixels(model.task.decode(torch.from_numpy(found)[None])[0].clamp(0, 1))
    pieces = codes.decoded(model, found, (48, 1200))
    difference = np.abs(whole.astype(int) - pieces)
    assert (difference <= 1).mean() > 0.9
    assert np.array_equal(whole[:, :200], pieces[:, :200])


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 16), st.integers(0, 2**32 - 1))
def test_round_trip_of_any_code_map(model: Model, height: int, width: int, kinds: int, seed: int) -> None:
    found = np.random.default_rng(seed).integers(0, kinds, (height, width))
    back, _ = codes.unpack(model, codes.pack(model, found, (8 * height, 8 * width)), "x")
    assert np.array_equal(back, found)


def test_regular_maps_are_smaller_than_random_ones(model: Model) -> None:
    """Random codes out of 16 take 4 bits each; a repeated pattern takes almost none."""
    random = np.random.default_rng(0).integers(0, 16, (64, 64))
    regular = np.arange(64)[None, :] % 16 + np.zeros((64, 1), np.int64)
    plain = 64 * 64 * 4 / 8
    assert plain < len(codes.pack(model, random, (512, 512))) < 1.2 * plain
    assert len(codes.pack(model, regular, (512, 512))) < 0.1 * plain


@pytest.fixture(scope="module")
def coded(model: Model) -> bytes:
    return codes.pack(model, codes.code_map(model, pixels(64, 64)), (64, 64))


def test_a_truncated_file_is_rejected(model: Model, coded: bytes) -> None:
    for length in range(len(coded)):
        with pytest.raises(UserError, match=r"^x (is|has)"):
            codes.unpack(model, coded[:length], "x")


def test_a_flipped_bit_is_noticed(model: Model, coded: bytes) -> None:
    for bit in range(8 * len(coded)):
        changed = bytearray(coded)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UserError, match=r"^x "):
            codes.unpack(model, bytes(changed), "x")


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=80), st.integers(0, codes.LONGEST), st.integers(0, codes.LONGEST))
def test_bytes_with_a_right_checksum_are_refused_or_decoded(
    model: Model, payload: bytes, height: int, width: int
) -> None:
    """An attacker can compute a checksum."""
    if height * width <= codes.MOST_PIXELS:  # would be decoded
        height, width = min(height, 200), min(width, 200)
    body = codes.HEADER.pack(codes.MAGIC, codes.VERSION, codes.fingerprint(model), height, width) + payload
    with contextlib.suppress(UserError):
        found, size = codes.unpack(model, body + struct.pack("<I", zlib.crc32(body)), "x")
        assert size == (height, width)
        assert ((found >= 0) & (found < 16)).all()


def test_codes_of_another_model_are_rejected(model: Model, coded: bytes, tmp_path: Path) -> None:
    other = load(write_run(tmp_path / "other", "vqvae", seed=1))
    with pytest.raises(UserError, match="Decode it with the model that encoded it"):
        codes.unpack(other, coded, "x")


def test_models_without_codes(denoiser: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "in.png", 16, 16)
    with pytest.raises(UserError, match="has no codes"):
        commands.run(["encode", str(denoiser), str(source), "-o", str(tmp_path / "coded")])


def test_a_bad_file_among_good_ones(vqvae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "in" / "a.png", 20, 20)
    run = ["encode", str(vqvae), str(tmp_path / "in"), "-o", str(tmp_path / "coded")]
    assert commands.run(run) == 0
    assert "bits per pixel" in capsys.readouterr().out
    with pytest.raises(UserError, match="exists"):
        commands.run(run)
    (tmp_path / "coded" / "b.codes").write_bytes(b"ATNC")
    assert commands.run(["decode", str(vqvae), str(tmp_path / "coded"), "-o", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert "truncated" in captured.err
    assert (tmp_path / "out" / "a.png").exists()
