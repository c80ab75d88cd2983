"""``weights.safetensors``: tensors with a digest, so that a damaged file is not taken for another training's result."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from attnae.errors import UserError
from attnae.files import atomic

DIGEST = "blake2b"
"""Name of the digest in the file's header."""


def save(state: dict[str, Tensor], path: Path) -> None:
    """Writes a state dict atomically; equal tensors give equal bytes.

    Raises:
        UserError: The disk is full, or the folder cannot be written to.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, {DIGEST: _digest(tensors)})
        except SafetensorError as error:  # in which the system's own error is a text
            raise UserError(f"Cannot write {path}: {error}. Choose another folder or free space.") from error


def read(path: Path) -> dict[str, Tensor]:
    """Reads a state dict; no pickle is involved. A file without a digest is believed.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            expected = (file.metadata() or {}).get(DIGEST)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it cannot be iterated)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot read the weights {path}: {' '.join(str(error).split())}.") from error
    if expected is not None and expected != _digest(tensors):
        raise UserError(f"Cannot read the weights {path}: their digest says that the file is damaged.")
    return tensors


def digest(path: Path) -> str | None:
    """Digest of the tensors by the file's header; ``None`` where it has none or cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get(DIGEST)
    except (OSError, SafetensorError):
        return None


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
