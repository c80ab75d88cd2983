"""Metric of all image-to-image tasks: accumulates per-image metrics and computes those defined in ``columns``."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from attnae.metrics.functional import psnr, ssim_gaussian, ssim_uniform

IN_SIGMAS = ("symmetry",)
"""Per-image metrics passed in units of pixel values and reported in units of sigma."""


class ImageQuality(Metric):
    """Reconstruction quality over a set of images. Metrics are defined in ``attnae.metrics.columns``.

    Outputs are clamped to [0, 1] first. Additional per-image metrics of a model, such as its KL divergence, are passed by
    name and averaged.

    Example:
        >>> quality = ImageQuality()
        >>> quality.update(torch.full((2, 3, 8, 8), 0.6), torch.full((2, 3, 8, 8), 0.5))
        >>> round(quality.compute()["psnr_mean"], 2)
        20.0
    """

    full_state_update = False
    sse: list[Tensor]
    sae: list[Tensor]
    psnr: list[Tensor]
    ssim: list[Tensor]
    ssim_gauss: list[Tensor]
    total: list[Tensor]
    squares: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        # total and squares: sum and sum of squares of each target's values, for sigma
        for name in ("sse", "sae", "psnr", "ssim", "ssim_gauss", "total", "squares"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.per_image_metrics: dict[str, list[Tensor]] = {}
        self.values_per_image = 1

    def update(self, output: Tensor, target: Tensor, per_image_metrics: dict[str, Tensor] | None = None) -> None:
        """Adds a batch.

        Args:
            output: Images (B, C, H, W); clamped to [0, 1].
            target: Images (B, C, H, W) in [0, 1].
            per_image_metrics: Additional metrics per image (B,), by name.
        """
        output = output.detach().float().clamp(0, 1)
        error = output - target
        self.values_per_image = error[0].numel()
        self.sse.append(error.square().flatten(1).sum(1))
        self.sae.append(error.abs().flatten(1).sum(1))
        self.psnr.append(psnr(output, target))
        self.ssim.append(ssim_uniform(output, target))
        self.ssim_gauss.append(ssim_gaussian(output, target))
        self.total.append(target.flatten(1).sum(1))
        self.squares.append(target.square().flatten(1).sum(1))
        for name, values in (per_image_metrics or {}).items():
            self.per_image_metrics.setdefault(name, []).append(values.detach().float())

    def compute(self) -> dict[str, float]:
        """All metrics by name."""
        images = self.per_image()
        mean, square = (
            dim_zero_cat(v).double().cpu().mean() / self.values_per_image for v in (self.total, self.squares)
        )
        sigma = float((square - mean**2).clamp_min(0)) ** 0.5
        unit = sigma if sigma > 1e-3 else float("nan")
        mae = images["sae"].mean() / self.values_per_image
        quantiles = torch.quantile(images["psnr"], torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
        numbers = {
            "mse": images["sse"].mean() / self.values_per_image,
            "sse": images["sse"].mean(),
            "mae": mae,
            "mae_over_sigma": mae / unit,
            "sigma": sigma,
            "power": square,
            "psnr_mean": images["psnr"].mean(),
            "psnr_std": images["psnr"].std(correction=0),
            "ssim_mean": images["ssim"].mean(),
            "ssim_std": images["ssim"].std(correction=0),
            "ssim_gauss_mean": images["ssim_gauss"].mean(),
            "images": len(images["sse"]),
            **{f"psnr_p{p}": q for p, q in zip((10, 50, 90), quantiles, strict=True)},
            **{name: images[name].mean() / (unit if name in IN_SIGMAS else 1) for name in self.per_image_metrics},
        }
        return {name: float(value) for name, value in numbers.items()}

    def per_image(self) -> dict[str, Tensor]:
        """Metrics of each image in order, float64 on the CPU, for paired tests between models."""
        states = {name: getattr(self, name) for name in ("sse", "sae", "psnr", "ssim", "ssim_gauss")}
        metrics = {**states, **self.per_image_metrics}
        return {name: dim_zero_cat(values).double().cpu() for name, values in metrics.items()}

    def reset(self) -> None:
        """Resets all state."""
        super().reset()
        self.per_image_metrics = {}
