"""Baseline without training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attnae.data.batch import Batch
from attnae.errors import UserError
from attnae.training.task import ImageTask, Prediction


class Biharmonic(nn.Module):
    """Biharmonic inpainting by scikit-image: fills a hole with the smoothest continuation of its surroundings.

    Unlike the models of the paper, it receives the mask and leaves visible pixels unchanged.
    """

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Inpaints hidden pixels.

        Args:
            images: Masked images (B, 3, H, W) in [0, 1].
            mask: True where a pixel is hidden, bool (B, 1, H, W).

        Returns:
            Images (B, 3, H, W), in [0, 1] up to overshoot. Takes about 0.25 s per 64x64 image.
        """
        from skimage.restoration import inpaint_biharmonic

        filled = [
            torch.from_numpy(inpaint_biharmonic(image.numpy(), hidden[0].numpy(), channel_axis=0))
            for image, hidden in zip(images.detach().cpu().double(), mask.cpu(), strict=True)
        ]
        return torch.stack(filled).to(images)


class BiharmonicTask(ImageTask):
    """Evaluates :class:`Biharmonic` like the trained models."""

    def __init__(self) -> None:
        super().__init__(Biharmonic())

    def reconstruct(self, batch: Batch) -> Tensor:
        """See :class:`ImageTask`."""
        if batch.mask is None:
            raise UserError("Inpainting fills in a mask. Set data.init_args.corruption to PatchMask or another mask.")
        images: Tensor = self.net(batch.input, batch.mask)
        return images

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """Reconstruction under the split's name."""
        return {split: Prediction(self.reconstruct(batch), {})}
