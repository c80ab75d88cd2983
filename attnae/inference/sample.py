"""``attnae sample``: samples images from a model's prior, or interpolates between two images."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import torch

from attnae.data.decode import resize
from attnae.errors import UserError
from attnae.inference import images
from attnae.inference.load import Model, load
from attnae.training.pictures import save_rows

IN_A_ROW = 8


@torch.no_grad()
def sample(options: argparse.Namespace) -> int:
    """Runs the command; returns 0.

    Raises:
        UserError: The model has no prior, an image cannot be read, or the output exists.
    """
    model = load(options.model, options.device)
    if not model.task.latents:
        raise UserError(f"{model.title} has no prior to sample from. Use a VAE.")
    if options.between:
        first, last = (read_square(model, source.path) for source in options.found)
        made = interpolated(model, first, last, options.count)
        save_rows([torch.cat([first[None], made, last[None]])], options.out)
        print(
            f"{options.out}: {options.between[0]}, {options.count} steps between the two posteriors' means, {options.between[1]}"
        )
    else:
        made = prior(model, options.count, options.seed)
        blank = torch.ones(-len(made) % IN_A_ROW if len(made) > IN_A_ROW else 0, *made.shape[1:])
        save_rows(list(torch.cat([made, blank]).split(IN_A_ROW)), options.out)
        print(f"{options.out}: {options.count} images from latents of N(0, 1), seed {options.seed}")
    return 0


def prior(model: Model, count: int, seed: int) -> torch.Tensor:
    """Images (count, 3, S, S) in [0, 1] of standard normal latents. The first images do not depend on ``count``."""
    draws = [
        torch.randn(model.task.latents, generator=torch.Generator().manual_seed(seed + 1_000_003 * i))
        for i in range(count)
    ]
    return _decoded(model, torch.stack(draws))


def interpolated(model: Model, first: torch.Tensor, last: torch.Tensor, steps: int) -> torch.Tensor:
    """Images (steps, 3, S, S) in [0, 1] on the straight line between the latents of two images (3, S, S)."""
    start, end = model.at_size(model.task.to_latents, torch.stack([first, last])).cpu()
    return _decoded(model, torch.lerp(start, end, torch.linspace(0, 1, steps)[:, None]))


def read_square(model: Model, path: Path) -> torch.Tensor:
    """Reads an image, center-cropped and resized to the model's size (3, S, S)."""
    counts: Counter[str] = Counter()
    return images.to_tensor(resize(images.read(path, counts), model.size, counts, str(path)))


def _decoded(model: Model, latents: torch.Tensor) -> torch.Tensor:
    parts = [model.task.from_latents(part.to(model.device)).float().clamp(0, 1).cpu() for part in latents.split(64)]
    return torch.cat(parts)
