"""How the network is trained, and what is evaluated."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnae.data.batch import Batch
from attnae.training.task import ImageTask, Prediction


class Task(ImageTask):
    """Denoising, trained on the mean squared error by AdamW with cosine annealing.

    ``ImageTask`` handles metrics, pictures, results and resuming.

    Args:
        net: Maps noisy images (B, 3, H, W) to clean ones.
        lr: Initial learning rate.
    """

    corruption = "noise"
    tiles = True  # attnae apply may split large images

    def __init__(self, net: nn.Module, lr: float = 2e-3):
        super().__init__(net)
        self.lr = lr

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """AdamW; the rate falls to zero over all epochs."""
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=self.lr, weight_decay=1e-4)  # as the shipped denoisers
        epochs = max(1, self.trainer.max_epochs or 1)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean squared error between the output for ``batch.input`` and ``batch.target``."""
        loss = F.mse_loss(self.reconstruct(batch), batch.target)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.target), sync_dist=True)
        return loss

    def reconstruct(self, batch: Batch) -> Tensor:
        """The output (B, 3, H, W) in [0, 1] for a batch."""
        output: Tensor = self.net(batch.input)
        return output.to(batch.target.dtype)  # under --precision bf16, too

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """What is evaluated, by the name of the protocol: the output, and a metric of our own (``metrics`` of the benchmark)."""
        output = self.reconstruct(batch)
        return {split: Prediction(output, {"edge_error": edge_error(output.clamp(0, 1), batch.target)})}


def edge_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighboring pixels, per image (B,): how well edges are kept."""
    down, right = ((output.diff(dim=axis) - target.diff(dim=axis)).abs().mean((1, 2, 3)) for axis in (2, 3))
    return (down + right) / 2
