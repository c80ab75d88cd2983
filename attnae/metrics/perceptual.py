"""Perceptual metrics by torchmetrics. Off by default, because they require third-party weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.image import FrechetInceptionDistance, LearnedPerceptualImagePatchSimilarity

from attnae.errors import UserError
from attnae.metrics.functional import full_precision

DOWNLOADS = "AlexNet's (244 MB) and Inception's (96 MB) weights"


class Perceptual:
    """LPIPS of every image, and the Frechet distance between all reconstructions and all targets of a protocol.

    Paper: Zhang et al. 2018 (LPIPS, AlexNet) and Heusel et al. 2017 (FID, called rFID for reconstructions).

    Args:
        lpips: Metric with ``reduction="none"``: two batches (B, 3, H, W) in [0, 1] to (B,).
        frechet: Creates an empty :class:`FrechetInceptionDistance` for images in [0, 1].
    """

    def __init__(self, lpips: Metric, frechet: Callable[[], FrechetInceptionDistance]):
        self.lpips, self.frechet = lpips, frechet
        self.distances: dict[str, FrechetInceptionDistance] = {}

    @classmethod
    def pretrained(cls, device: torch.device) -> Perceptual:
        """Downloads the weights unless they are in torch's cache.

        Raises:
            UserError: The weights cannot be downloaded, or a package is missing.
        """

        def frechet() -> FrechetInceptionDistance:
            return FrechetInceptionDistance(normalize=True).to(device)

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # deprecated names in torchvision
                lpips = LearnedPerceptualImagePatchSimilarity("alex", reduction="none", normalize=True).to(device)
            frechet()  # fail before a long test, not at its first batch
        except ImportError as error:
            raise UserError('LPIPS and rFID require torch-fidelity. Run: pip install "attnae[perceptual]"') from error
        except OSError as error:
            raise UserError(
                f"LPIPS and rFID require {DOWNLOADS}, which cannot be downloaded ({error}). Put them into "
                f"{torch.hub.get_dir()}/checkpoints, or leave out perceptual=true."
            ) from error
        return cls(lpips, frechet)

    def update(self, protocol: str, output: Tensor, target: Tensor) -> Tensor:
        """Adds a batch to a protocol's distance.

        Args:
            protocol: Name of the protocol.
            output: Images (B, 3, H, W); clamped to [0, 1].
            target: Images (B, 3, H, W) in [0, 1].

        Returns:
            LPIPS of each image (B,), at least 0.

        Raises:
            UserError: The images are too small for AlexNet.
        """
        output = output.detach().float().clamp(0, 1)
        if protocol not in self.distances:
            self.distances[protocol] = self.frechet()  # reads Inception's weights, so not for every batch
        distance = self.distances[protocol]
        with full_precision(output.device):
            distance.update(target, real=True)
            distance.update(output, real=False)
            return self._lpips(output, target)

    def _lpips(self, output: Tensor, target: Tensor) -> Tensor:
        try:
            return self.lpips(output, target).reshape(-1)
        except RuntimeError as error:
            size = "x".join(map(str, output.shape[-2:]))
            raise UserError(f"Images of {size} are too small for LPIPS. Leave out perceptual=true.") from error

    def compute(self) -> dict[str, float]:
        """``"<protocol>/rfid"`` for every protocol; missing with fewer than two images."""
        return {
            f"{protocol}/rfid": float(distance.compute())
            for protocol, distance in self.distances.items()
            if distance.real_features_num_samples > 1
        }
