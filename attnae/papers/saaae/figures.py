"""Figures specific to this paper."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from attnae.files import atomic
from attnae.papers.saaae.net import Posterior


def attention_figure(images: Tensor, attended: Tensor, path: Path) -> Path:
    """Plots masked input, attention map and their product, as in the released code.

    Args:
        images: Masked images (B, 3, S, S) in [-1, 1].
        attended: Output of the attention before the linear layer (B, 3, S, S); min-max scaled for the figure.
        path: Output file.
    """
    low, high = attended.amin((1, 2, 3), keepdim=True), attended.amax((1, 2, 3), keepdim=True)
    scaled = (attended - low) / (high - low).clamp_min(torch.finfo(attended.dtype).tiny)
    shown = (images + 1) / 2
    rows = {"masked input": shown, "attention output": scaled, "product": shown * scaled}
    figure = Figure(figsize=(1.05 * len(images) + 1.2, 3.7), layout="constrained")
    figure.suptitle("Output of SAAAE's attention, each image on its own scale", fontsize=11)
    for line, (label, pictures) in zip(figure.subplots(3, len(images), squeeze=False), rows.items(), strict=True):
        for axes, picture in zip(line, pictures.float().clamp(0, 1).cpu(), strict=True):
            axes.imshow(picture.permute(1, 2, 0), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=8.5)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path


def gate_figure(posterior: Posterior, path: Path) -> Path:
    """Plots mean and spread of the gate over a batch for each latent, and the latent's mean KL divergence.

    Args:
        posterior: Posterior of a batch (B, latent_dim).
        path: Output file.
    """
    kl, order = posterior.kl_per_latent().mean(0).cpu().sort(descending=True)
    gate = posterior.gate.scale.expand_as(posterior.mean).cpu()[:, order]
    mean, low, high = gate.mean(0), gate.quantile(0.1, 0), gate.quantile(0.9, 0)
    figure = Figure(figsize=(8, 3), layout="constrained")
    figure.suptitle("Factor on the noise of each latent", fontsize=11)
    axes = figure.subplots()
    place = torch.arange(len(kl))
    axes.fill_between(place, low, high, color="#0072B2", alpha=0.25, label="10%-90% of images")
    axes.plot(place, mean, color="#0072B2", label="gate (mean)")
    axes.set(xlabel="latent, sorted by KL", ylabel="factor on the noise", ylim=(-0.02, 1.02))
    right = axes.twinx()
    right.plot(place, kl, color="#E69F00", linewidth=1, label="KL")
    right.set_ylabel("KL [nat]")
    right.set_ylim(bottom=0)
    handles = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, loc="center right", fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
