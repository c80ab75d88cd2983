"""Figure specific to this paper: maps of the routing probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from attnae.files import atomic
from attnae.papers.moe_denoiser.routing import grid_of


def routing_figure(
    images: Tensor, noisy: Tensor, routing: Sequence[Tensor], budgets: Sequence[int | None], path: Path
) -> Path:
    """Plots clean and noisy images above the routing probabilities of their patches.

    All maps share one color scale: white is 1/E, where the router has no preference.

    Args:
        images: Clean images (B, 3, H, W) in [0, 1], one per column.
        noisy: Inputs of the network, same shape.
        routing: Probabilities (B, N, E) of each block.
        budgets: Key budget of each expert, for the labels.
        path: Output file.
    """
    rows, columns = grid_of(routing[0], images)
    maps = torch.stack(list(routing)).cpu().unflatten(2, (rows, columns))  # (blocks, B, rows, columns, E)
    even = 1 / maps.shape[-1]
    limit = max(float((maps - even).abs().max()), 1e-3)
    lines = [
        (f"block {block + 1}\nk = {k or 'all'}", block, e) for block in range(len(maps)) for e, k in enumerate(budgets)
    ]
    figure = Figure(figsize=(1.05 * len(images) + 1.4, 1.05 * (len(lines) + 2) + 0.3), layout="constrained")
    figure.suptitle("Probability of each expert at each patch", fontsize=11)
    axes = figure.subplots(len(lines) + 2, len(images), squeeze=False)
    for row, (label, pictures) in enumerate((("clean", images), ("noisy", noisy))):
        for axis, picture in zip(axes[row], pictures.cpu(), strict=True):
            axis.imshow(picture.permute(1, 2, 0), interpolation="nearest")
        axes[row, 0].set_ylabel(label, fontsize=8)
    for row, (label, block, expert) in enumerate(lines, start=2):
        for axis, shares in zip(axes[row], maps[block, ..., expert], strict=True):
            drawn = axis.imshow(shares, cmap="RdBu_r", vmin=even - limit, vmax=even + limit, interpolation="nearest")
        axes[row, 0].set_ylabel(label, fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.colorbar(drawn, ax=axes[2:], label="probability", shrink=0.6)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
