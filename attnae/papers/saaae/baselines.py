"""What needs no training: the bar that a learnt model has to clear."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attnae.data.batch import Batch
from attnae.training.task import ImageTask, Prediction


class Biharmonic(nn.Module):
    """Biharmonic inpainting by scikit-image: the smoothest continuation of what surrounds a hole.

    Unlike the models of the paper it is told which pixels are hidden, and it leaves all others as they are.
    """

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Fills hidden pixels in.

        Args:
            images: Masked images (B, 3, H, W) in [0, 1].
            mask: True where a pixel is hidden, bool (B, 1, H, W).

        Returns:
            Images (B, 3, H, W), in [0, 1] up to overshoots; about 0.25 s per image of 64x64.
        """
        from skimage.restoration import inpaint_biharmonic

        filled = [
            torch.from_numpy(inpaint_biharmonic(image.numpy(), hidden[0].numpy(), channel_axis=0))
            for image, hidden in zip(images.detach().cpu().double(), mask.cpu(), strict=True)
        ]
        return torch.stack(filled).to(images)


class BiharmonicTask(ImageTask):
    """Evaluates :class:`Biharmonic` as the models are evaluated; there is nothing to train."""

    def __init__(self) -> None:
        super().__init__(Biharmonic())

    def reconstruct(self, batch: Batch) -> Tensor:
        """See :class:`ImageTask`."""
        assert batch.mask is not None
        images: Tensor = self.net(batch.input, batch.mask)
        return images

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """The same reconstruction under the split's own name."""
        return {split: Prediction(self.reconstruct(batch), {})}
