"""``attnae encode`` and ``decode``: an image as a small file of code indices, and back.

A file is ``ATNC``, version, fingerprint of the model, height, width, the entropy-coded map of codes, and a checksum.
"""

from __future__ import annotations

import argparse
import hashlib
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

from attnae.data.decode import UInt8
from attnae.errors import UserError
from attnae.files import atomic
from attnae.inference import images
from attnae.inference.inputs import CODES, Source
from attnae.inference.load import Model, load
from attnae.inference.terminal import progress, show_table
from attnae.inference.tiles import PIXELS, blended, extended, starts

MAGIC, VERSION = b"ATNC", 1
HEADER = struct.Struct("<4sB4sHH")  # magic, version, fingerprint, height, width

MOST_PIXELS, LONGEST = 2**28, 2**16 - 1
"""No image that PIL reads is larger; a file that claims to be is refused before anything of that size is made."""

WINDOW, SHARED = 64, 16
"""Codes a side that are decoded at once, and how many neighbouring windows share: the decoder sees 9 codes far."""

PRIOR, PLACE = 2048, 16
"""Weights in what is expected anywhere: of all that training has seen, and of one occurrence in the image."""

ANYWHERE, NEIGHBOUR = 1024, 256
"""Weights of what is expected anywhere, in all, and of one occurrence beside the same code: four of these outweigh it."""


def encode(options: argparse.Namespace) -> int:
    """Runs ``attnae encode``; returns 0, or 1 if an image could not be read.

    Raises:
        UserError: The model has no codes, nothing can be read, or an output is in the way.
    """
    found: list[Source] = options.found
    model = _coder(load(options.model, options.device))
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    with progress(f"encoding with {model.title}", len(found)) as advance:
        for source, pixels in images.usable(found, lambda one: np.asarray(images.read(one.path, Counter())), skipped):
            if max(pixels.shape) > LONGEST:
                raise UserError(
                    f"{source.path} is longer than {LONGEST} pixels, the most that a file of codes can say."
                )
            data = pack(model, code_map(model, pixels, options.batch_size), pixels.shape[:2])
            with atomic(options.out / (source.name + CODES)) as temporary:
                temporary.write_bytes(data)
            row = {"image": str(source.path), "pixels": f"{pixels.shape[1]}x{pixels.shape[0]}", "bytes": len(data)}
            rows.append(row | {"bits per pixel": 8 * len(data) / (pixels.size / 3), "file": source.name + CODES})
            advance(1)
    show_table(("image", "pixels", "bytes", "bits per pixel", "file"), rows)
    print(f"Next: attnae decode {options.model} {options.out} -o decoded")
    return 1 if skipped else 0


def decode(options: argparse.Namespace) -> int:
    """Runs ``attnae decode``; returns 0, or 1 if a file could not be read.

    Raises:
        UserError: The model has no codes, nothing can be read, or an output is in the way.
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


def _coder(model: Model) -> Model:
    if not model.task.codes:
        raise UserError(f"{model.title} has no codes; encode and decode are for a VQ-VAE.")
    return model


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


# -- image <-> map of codes --------------------------------------------------------------------------------------------


@torch.no_grad()
def pixels_per_code(model: Model) -> int:
    """Pixels that a code stands for, along a side."""
    example = torch.zeros(1, 3, model.size, model.size, device=model.device)
    return model.size // model.task.encode(example).shape[-1]


@torch.no_grad()
def code_map(model: Model, pixels: UInt8, batch: int = 0) -> np.ndarray:
    """Codes of an image of any size, each from the tile in whose middle it lies.

    Tiles share half of their side, because a code near a tile's border stands for something else than one inside: decoded
    together, codes of tiles side by side lose 0.9 dB against these (A-VQVAE and VQ-VAE of 64x64 on photographs).

    Args:
        model: With codes.
        pixels: The image (H, W, 3).
        batch: Tiles at once; 0 for about :data:`attnae.inference.tiles.PIXELS` pixels.

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
    """Tiles along a line of codes: where each begins, and the first and last + 1 of the codes that are taken from it.

    Example:
        >>> _owned(20, 8)
        [(0, 0, 6), (4, 6, 10), (8, 10, 14), (12, 14, 20)]
    """
    places = starts(length, tile, tile // 2)
    borders = [0, *((one + other + tile) // 2 for one, other in pairwise(places)), length]
    return [(place, *part) for place, part in zip(places, pairwise(borders), strict=True)]


@torch.no_grad()
def decoded(model: Model, codes: np.ndarray, size: tuple[int, int], batch: int = 0) -> UInt8:
    """Image (H, W, 3) of a map of codes: decoded as a whole, or if it is large in blended windows.

    A decoder sees the codes around a window, so that no seams of :func:`code_map`'s tiles show in its images.
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
    """Four bytes that tell models apart: the same weights have the same, in a run's folder and exported."""
    digest = hashlib.blake2b(digest_size=4)
    for name, tensor in sorted(model.task.net.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.digest()


def pack(model: Model, codes: np.ndarray, size: tuple[int, int]) -> bytes:
    """The bytes of a file of codes (h, w) of an image of height and width ``size``."""
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
        model: The one that encoded.
        data: Contents of a file.
        name: Of the file, for messages.

    Raises:
        UserError: The file is damaged, cut short, of another version, of another model, or no file of codes.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise UserError(f"{name} is no file of codes.")
    if len(data) < HEADER.size + 4:
        raise UserError(f"{name} is cut short: it has {len(data)} bytes. Encode the image again.")
    _, version, made_by, height, width = HEADER.unpack_from(data)
    if version != VERSION:
        raise UserError(f"{name} has version {version}, this attnae reads version {VERSION}. Encode the image again.")
    if struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]) or (len(data) - HEADER.size) % 4:
        raise UserError(f"{name} is damaged or cut short: its checksum is wrong. Encode the image again.")
    if made_by != fingerprint(model):
        raise UserError(f"{name} was encoded by another model than {model.folder}. Decode it with that one.")
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
    except (AssertionError, ValueError) as error:  # what constriction makes of data that it cannot have written
        raise UserError(f"{name} holds no codes of this model. Encode the image again.") from error
    return codes, (height, width)


def _walk(
    shape: tuple[int, ...], prior: np.ndarray, next_codes: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    """Goes over a map of codes diagonal by diagonal: all codes of one are coded at once, knowing those left of and above them.

    A code's frequencies are counts: of the model's training, of the image so far, and of what followed the left and the
    upper neighbour's code so far. They are sums of integers, so that every machine computes the same ones.

    Args:
        shape: Height and width of the map.
        prior: int64 (K,).
        next_codes: Given positions (2, n) and frequencies (n, K), codes these and returns them.
    """
    (height, width), count = shape, len(prior)
    seen = prior.copy()
    left, above = np.zeros((2, count + 1, count), np.int64)  # the last row: beyond the edge
    known = np.full((height + 1, width + 1), count)
    for diagonal in range(height + width - 1):
        row = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        column = diagonal - row
        beside, over = known[row + 1, column], known[row, column + 1]
        frequencies = 1 + seen * ANYWHERE // seen.sum() + NEIGHBOUR * (left[beside] + above[over])
        found = next_codes(np.stack([row, column]), frequencies / frequencies.sum(1, keepdims=True))
        known[row + 1, column + 1] = found
        np.add.at(seen, found, PLACE)
        np.add.at(left, (beside, found), 1)
        np.add.at(above, (over, found), 1)


def _frequencies(model: Model) -> np.ndarray:
    """What to expect before anything is seen, int64 (K,)."""
    use = model.task.code_frequencies().double().cpu().clamp_min(0).numpy()
    total = max(float(use.sum()), 1e-9)
    expected: np.ndarray = 1 + np.round(PRIOR * use / total).astype(np.int64)
    return expected


def _constriction() -> Any:
    try:
        from constriction import stream
    except ImportError as error:
        raise UserError('Files of codes need the package constriction: pip install "attnae[codes]".') from error
    return stream
