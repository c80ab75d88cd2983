"""``attnae encode`` and ``decode``: converts images to small files of code indices and back.

A file contains ``ATNC``, version, fingerprint of the model, height, width, the entropy-coded map of codes, and a checksum.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnae.data.decode import UInt8, UnreadableImage
from attnae.errors import UserError
from attnae.files import atomic
from attnae.inference import images
from attnae.inference.inputs import CODES, Source
from attnae.inference.load import Model, load
from attnae.inference.terminal import progress, show_table, trusting
from attnae.inference.tiles import PIXELS, blended, extended, starts

MAGIC, VERSION = b"ATNC", 1
HEADER = struct.Struct("<4sB4sHH")  # magic, version, fingerprint, height, width

MOST_PIXELS, LONGEST = 2**28, 2**16 - 1
"""PIL reads no larger images. Files with a larger size are rejected before memory is allocated."""

WINDOW, SHARED = 64, 16
"""Side of a decoding window in codes, and overlap of neighboring windows: the decoder's receptive field reaches 9 codes."""

PRIOR, PLACE = 2048, 16
"""Weights in the overall frequencies: of all codes in training, and of one occurrence in the image."""

ANYWHERE, NEIGHBOR = 1024, 256
"""Total weight of the overall frequencies, and weight of one occurrence next to the same code; four of these outweigh it."""


def encode(options: argparse.Namespace) -> int:
    """Runs ``attnae encode``; returns 0, or 1 if an image could not be read.

    Raises:
        UserError: The model has no codes, no file can be read, or an output exists.
    """
    found: list[Source] = options.found
    model = _coder(load(options.model, options.device))
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    with progress(f"encoding with {model.title}", len(found)) as advance:
        for source, pixels in images.usable(found, _pixels, skipped):
            data = pack(model, code_map(model, pixels, options.batch_size), pixels.shape[:2])
            with atomic(options.out / (source.name + CODES)) as temporary:
                temporary.write_bytes(data)
            row = {"image": str(source.path), "pixels": f"{pixels.shape[1]}x{pixels.shape[0]}", "bytes": len(data)}
            rows.append(row | {"bits per pixel": 8 * len(data) / (pixels.size / 3), "file": source.name + CODES})
            advance(1)
    show_table(("image", "pixels", "bytes", "bits per pixel", "file"), rows)
    named = shlex.join([str(options.model), str(options.out)])
    print(f"Next: attnae decode {named} -o decoded{trusting(options.trust)}")
    return 1 if skipped else 0


def decode(options: argparse.Namespace) -> int:
    """Runs ``attnae decode``; returns 0, or 1 if a file could not be read.

    Raises:
        UserError: The model has no codes, no file can be read, or an output exists.
    """
    found: list[Source] = options.found
    model = _coder(load(options.model, options.device))
    rows: list[dict[str, Any]] = []
    refused: list[str] = []

    def read(source: Source) -> UInt8:
        return decoded(model, *unpack(model, _bytes(source.path), str(source.path)), options.batch_size)

    with progress(f"decoding with {model.title}", len(found)) as advance:
        for source, pixels in images.usable(found, read, refused, UserError, "files"):
            images.save(pixels, options.out / f"{source.name}.png")
            row = {"image": str(source.path), "pixels": f"{pixels.shape[1]}x{pixels.shape[0]}"}
            rows.append(row | {"file": f"{source.name}.png"})
            advance(1)
    show_table(("image", "pixels", "file"), rows)
    return 1 if refused else 0


def _pixels(source: Source) -> UInt8:
    pixels = np.asarray(images.read(source.path, Counter()))
    if max(pixels.shape) > LONGEST:
        raise UnreadableImage(f"{source.path} is longer than {LONGEST} pixels, the maximum of a code file. Resize it.")
    return pixels


def _coder(model: Model) -> Model:
    if not model.task.codes:
        raise UserError(f"{model.title} has no codes. Use a VQ-VAE for encode and decode.")
    return model


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


# -- image <-> map of codes --------------------------------------------------------------------------------------------


@torch.no_grad()
def pixels_per_code(model: Model) -> int:
    """Side of the square of pixels covered by a code."""
    example = torch.zeros(1, 3, model.size, model.size, device=model.device)
    return model.size // model.at_size(model.task.encode, example).shape[-1]


@torch.no_grad()
def code_map(model: Model, pixels: UInt8, batch: int = 0) -> np.ndarray:
    """Encodes an image of any size. Each code comes from the tile in whose center it lies.

    Tiles overlap by half, because codes near a tile's border differ from codes inside: without overlap, the decoded image
    loses 0.9 dB (A-VQVAE and VQ-VAE of 64x64 on photographs).

    Args:
        model: Model with codes.
        pixels: The image (H, W, 3).
        batch: Tiles per batch; 0 for about :data:`attnae.inference.tiles.PIXELS` pixels.

    Returns:
        int64 (h, w): as many codes as it takes to cover the image.
    """
    side, cell = model.size, pixels_per_code(model)
    across = side // cell
    rows, columns = -(-pixels.shape[0] // cell), -(-pixels.shape[1] // cell)
    lefts = _owned(columns, across)
    codes = np.empty((rows, columns), np.int64)
    for top, first, last in _owned(rows, across):
        line = extended(images.to_tensor(pixels[top * cell :][:side]), side, max(columns, across) * cell)
        tiles = torch.stack([line[:, :, left * cell :][:, :, :side] for left, _, _ in lefts])
        parts = [
            model.task.encode(part.to(model.device)).cpu() for part in tiles.split(batch or PIXELS // side**2 or 1)
        ]
        for (left, begin, end), found in zip(lefts, torch.cat(parts).numpy(), strict=True):
            codes[first:last, begin:end] = found[first - top : last - top, begin - left : end - left]
    return codes


def _owned(length: int, tile: int) -> list[tuple[int, int, int]]:
    """Tiles along a line of codes: start of each tile, and first and last + 1 of the codes used from it.

    Example:
        >>> _owned(20, 8)
        [(0, 0, 6), (4, 6, 10), (8, 10, 14), (12, 14, 20)]
    """
    places = starts(length, tile, tile // 2)
    borders = [0, *((one + other + tile) // 2 for one, other in pairwise(places)), length]
    return [(place, *part) for place, part in zip(places, pairwise(borders), strict=True)]


@torch.no_grad()
def decoded(model: Model, codes: np.ndarray, size: tuple[int, int], batch: int = 0) -> UInt8:
    """Decodes a map of codes to an image (H, W, 3), as a whole or, if large, in blended windows.

    The decoder uses the codes around a window, so the tiles of :func:`code_map` leave no visible seams.
    """
    values = torch.from_numpy(codes)[None]
    cell, (height, width) = pixels_per_code(model), size

    def made(windows: Tensor) -> Tensor:
        return model.task.decode(windows[:, 0].to(model.device)).float().clamp(0, 1).cpu()

    window = (min(WINDOW, codes.shape[0]), min(WINDOW, codes.shape[1]))
    output = np.empty((codes.shape[0] * cell, codes.shape[1] * cell, 3), np.uint8)
    for top, band in blended(made, lambda a, b: values[:, a:b], codes.shape, window, SHARED, batch, cell):
        output[top : top + band.shape[1]] = images.to_pixels(band)
    return output[:height, :width]


# -- map of codes <-> bytes --------------------------------------------------------------------------------------------


def fingerprint(model: Model) -> bytes:
    """Four bytes that identify the weights, the same for a run and its export."""
    digest = hashlib.blake2b(digest_size=4)
    for name, tensor in sorted(model.task.net.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.digest()


def pack(model: Model, codes: np.ndarray, size: tuple[int, int]) -> bytes:
    """Packs the codes (h, w) of an image of height and width ``size`` into the bytes of a code file."""
    coder = _constriction().queue.RangeEncoder()
    family = _constriction().model.Categorical(perfect=False)

    def next_codes(at: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        found = codes[at[0], at[1]]
        coder.encode(found.astype(np.int32), family, frequencies)
        return found

    _walk(codes.shape, _frequencies(model), next_codes)
    body = HEADER.pack(MAGIC, VERSION, fingerprint(model), *size) + coder.get_compressed().astype("<u4").tobytes()
    return body + struct.pack("<I", zlib.crc32(body))


def unpack(model: Model, data: bytes, name: str) -> tuple[np.ndarray, tuple[int, int]]:
    """Codes int64 (h, w), and height and width of the image.

    Args:
        model: Model that encoded the image.
        data: Content of a file.
        name: Name of the file, for messages.

    Raises:
        UserError: The file is damaged, truncated, of another version or model, or not a code file.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise UserError(f"{name} is not an attnae code file. Pass files written by attnae encode.")
    if len(data) < HEADER.size + 4:
        raise UserError(f"{name} is truncated: it has {len(data)} bytes. Encode the image again.")
    _, version, made_by, height, width = HEADER.unpack_from(data)
    if version != VERSION:
        raise UserError(f"{name} has version {version}, this attnae reads version {VERSION}. Encode the image again.")
    if struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]) or (len(data) - HEADER.size) % 4:
        raise UserError(f"{name} is damaged or truncated: its checksum is wrong. Encode the image again.")
    if made_by != fingerprint(model):
        raise UserError(f"{name} was not encoded by {model.folder}. Decode it with the model that encoded it.")
    if not height or not width or height * width > MOST_PIXELS:
        raise UserError(f"{name} claims to be an image of {width}x{height} pixels. Encode the image again.")
    cell = pixels_per_code(model)
    codes = np.zeros((-(-height // cell), -(-width // cell)), np.int64)
    coder = _constriction().queue.RangeDecoder(np.frombuffer(data[HEADER.size : -4], "<u4").astype(np.uint32))
    family = _constriction().model.Categorical(perfect=False)

    def next_codes(at: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        codes[at[0], at[1]] = coder.decode(family, frequencies)
        return codes[at[0], at[1]]

    try:
        _walk(codes.shape, _frequencies(model), next_codes)
    except (AssertionError, ValueError) as error:  # constriction on invalid data
        raise UserError(f"{name} contains no codes of this model. Encode the image again.") from error
    return codes, (height, width)


def _walk(
    shape: tuple[int, ...], prior: np.ndarray, next_codes: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    """Traverses a map of codes by diagonals. All codes of a diagonal are coded at once, given the codes left and above.

    The frequencies of a code are counts: in training, in the image so far, and after the codes of the left and upper
    neighbors so far. They are integer sums, so they are the same on every machine.

    Args:
        shape: Height and width of the map.
        prior: int64 (K,).
        next_codes: Codes the given positions (2, n) with frequencies (n, K) and returns the codes.
    """
    (height, width), count = shape, len(prior)
    seen = prior.copy()
    left, above = np.zeros((2, count + 1, count), np.int64)  # the last row: beyond the edge
    known = np.full((height + 1, width + 1), count)
    for diagonal in range(height + width - 1):
        row = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        column = diagonal - row
        beside, over = known[row + 1, column], known[row, column + 1]
        frequencies = 1 + seen * ANYWHERE // seen.sum() + NEIGHBOR * (left[beside] + above[over])
        found = next_codes(np.stack([row, column]), frequencies / frequencies.sum(1, keepdims=True))
        known[row + 1, column + 1] = found
        np.add.at(seen, found, PLACE)
        np.add.at(left, (beside, found), 1)
        np.add.at(above, (over, found), 1)


def _frequencies(model: Model) -> np.ndarray:
    """Initial frequencies of the codes, int64 (K,)."""
    use = model.task.code_frequencies().double().cpu().clamp_min(0).numpy()
    total = max(float(use.sum()), 1e-9)
    expected: np.ndarray = 1 + np.round(PRIOR * use / total).astype(np.int64)
    return expected


def _constriction() -> Any:
    try:
        from constriction import stream
    except ImportError as error:
        raise UserError('Code files require the package constriction. Run: pip install "attnae[codes]"') from error
    return stream
