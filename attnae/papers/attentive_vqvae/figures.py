"""Figures specific to this paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from attnae.files import atomic


def usage_figure(counts: Sequence[Tensor], path: Path) -> Path:
    """Plots code usage in descending order, one bar chart per level.

    Args:
        counts: Usage count of each code (K,), per level, lowest level first.
        path: Output file.
    """
    figure = Figure(figsize=(3.2 * len(counts) + 0.8, 2.8), layout="constrained")
    figure.suptitle("How often each code is used", fontsize=11)
    for level, (axes, used) in enumerate(
        zip(figure.subplots(1, len(counts), squeeze=False)[0], counts, strict=True), 1
    ):
        shares = used.double().sort(descending=True).values / used.sum().clamp_min(1)
        axes.stairs(shares, torch.arange(len(shares) + 1) - 0.5, fill=True, color="#0072B2")  # one shape, drawn at once
        axes.set(xlabel="code, most used first", title=f"level {level}: {int((used > 0).sum())} of {len(used)} used")
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("share of the latents")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path


def attention_figure(images: Tensor, maps: Sequence[Tensor], path: Path) -> Path:
    """Plots the mean attention weight of each pixel below the images.

    Args:
        images: Images (B, 3, H, W) in [0, 1], one per column.
        maps: Mean weight of each pixel over all queries (B, h, w), per level, lowest level first. Each level has its own
            color scale, from its smallest to its largest value.
        path: Output file.
    """
    figure = Figure(figsize=(1.05 * len(images) + 1.4, 1.15 * (len(maps) + 1) + 0.3), layout="constrained")
    figure.suptitle("Mean attention weight of each pixel", fontsize=11)
    axes = figure.subplots(len(maps) + 1, len(images), squeeze=False)
    for axis, image in zip(axes[0], images.cpu(), strict=True):
        axis.imshow(image.permute(1, 2, 0))
    axes[0, 0].set_ylabel("image", fontsize=8)
    for level, (row, weights) in enumerate(zip(axes[1:], maps, strict=True), 1):
        weights = weights.float().cpu()
        for axis, shown in zip(row, weights, strict=True):
            drawn = axis.imshow(shown, cmap="viridis", vmin=float(weights.min()), vmax=float(weights.max()))
        row[0].set_ylabel(f"level {level}", fontsize=8)
        figure.colorbar(drawn, ax=list(row), label="weight")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
