"""Routing statistics: probabilities over all tokens of a set, and their correlation with the image content."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def edge_strength(images: Tensor, patches: tuple[int, int]) -> Tensor:
    """Mean gradient magnitude per patch.

    Args:
        images: Clean images (B, 3, H, W) in [0, 1].
        patches: Rows and columns of the patch grid.

    Returns:
        Mean magnitude of the Sobel gradient of the grayscale image over each patch, (B, rows * columns), at least 0.
    """
    gray = F.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(images) / 8
    gradient = F.conv2d(gray, torch.stack([sobel, sobel.T])[:, None])  # (B, 2, H, W)
    return F.adaptive_avg_pool2d(gradient.square().sum(1).sqrt(), patches).flatten(1)


def grid_of(probabilities: Tensor, images: Tensor) -> tuple[int, int]:
    """Rows and columns of the patch grid of tokens (B, N, E) in images (B, 3, H, W)."""
    tokens = probabilities.shape[1]
    rows = round((tokens * images.shape[2] / images.shape[3]) ** 0.5)
    return rows, tokens // rows


class RoutingStatistics:
    """Accumulates routing probabilities in double precision. Every statistic is over all tokens of all images.

    Names, for block b and expert e: ``route_prob_b_e`` (mean probability), ``route_std_b_e`` (standard deviation over
    tokens), ``route_argmax_b_e`` (share of tokens that prefer the expert), ``route_edge_b_e`` (correlation of the
    probability with the edge strength of the token's patch), ``route_entropy_b`` (mean entropy in nats, at most log E).
    """

    def __init__(self) -> None:
        self.sums: list[dict[str, Tensor]] = []

    def update(self, routing: list[Tensor], images: Tensor) -> None:
        """Adds a batch.

        Args:
            routing: Probabilities (B, N, E) of each block.
            images: Clean images (B, 3, H, W) in [0, 1]; their patches in row-major order are the N tokens.
        """
        edges = edge_strength(images, grid_of(routing[0], images)).double()[..., None]  # (B, N, 1)
        for block, probabilities in enumerate(routing):
            p = probabilities.detach().double()
            chosen = F.one_hot(p.argmax(-1), p.shape[-1]).double()
            entropy = -torch.special.xlogy(p, p).sum(-1, keepdim=True)
            terms = {
                "p": p,
                "pp": p * p,
                "argmax": chosen,
                "entropy": entropy,
                "x": edges,
                "xx": edges**2,
                "xp": edges * p,
            }
            added = {name: value.sum((0, 1)).cpu() for name, value in terms.items()}
            added["count"] = torch.tensor(float(p.shape[0] * p.shape[1]), dtype=torch.float64)
            if block == len(self.sums):
                self.sums.append(added)
            else:
                self.sums[block] = {name: value + added[name] for name, value in self.sums[block].items()}

    def compute(self) -> dict[str, float]:
        """All statistics by name; empty if nothing was routed."""
        numbers: dict[str, float] = {}
        for block, sums in enumerate(self.sums):
            mean = {name: value / sums["count"] for name, value in sums.items()}
            std = (mean["pp"] - mean["p"] ** 2).clamp_min(0).sqrt()
            edge_std = (mean["xx"] - mean["x"] ** 2).clamp_min(0).sqrt()
            correlation = (mean["xp"] - mean["x"] * mean["p"]) / (std * edge_std).clamp_min(1e-12)
            for expert in range(len(std)):
                numbers[f"route_prob_{block}_{expert}"] = float(mean["p"][expert])
                numbers[f"route_std_{block}_{expert}"] = float(std[expert])
                numbers[f"route_argmax_{block}_{expert}"] = float(mean["argmax"][expert])
                numbers[f"route_edge_{block}_{expert}"] = float(correlation[expert])
            numbers[f"route_entropy_{block}"] = float(mean["entropy"])
        return numbers
