"""``weights.safetensors``: tensors with a digest that detects damaged files."""

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
"""Key of the digest in the file header."""


def save(state: dict[str, Tensor], path: Path) -> None:
    """Writes a state dict atomically. Equal tensors give identical files.

    Raises:
        UserError: The disk is full or the folder is not writable.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, {DIGEST: _digest(tensors)})
        except SafetensorError as error:  # contains the system's error as text
            raise UserError(f"Cannot write {path}: {error}. Free space or choose another folder.") from error


def read(path: Path) -> dict[str, Tensor]:
    """Reads a state dict; no pickle is involved. The digest is optional.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            expected = (file.metadata() or {}).get(DIGEST)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not iterable)
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot read the weights {path}: {' '.join(str(error).split())}.") from error
    if expected is not None and expected != _digest(tensors):
        raise UserError(f"Cannot read the weights {path}: the file is damaged (its digest does not match).")
    return tensors


def digest(path: Path) -> str | None:
    """Digest of the tensors from the file header; ``None`` if missing or unreadable."""
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
