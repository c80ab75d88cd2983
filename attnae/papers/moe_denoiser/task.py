"""Training and evaluation of the MoE denoiser and its baselines."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from attnae.data.batch import Batch
from attnae.errors import UserError
from attnae.papers.moe_denoiser.baselines import ClassicalDenoiser, Method, choose_strength
from attnae.papers.moe_denoiser.net import MoEDenoiser, load_balance_loss
from attnae.papers.moe_denoiser.routing import RoutingStatistics
from attnae.training.task import ImageTask, Prediction


class MoEDenoiserTask(ImageTask):
    """Trains a denoising network.

    Paper: Adaptive Sparse Attention MoE. AdamW with cosine annealing to zero over all epochs, stepped once per epoch. The
    loss is the mean squared error plus the router's balance loss. The trainer clips the gradient norm.

    Args:
        net: ``MoEDenoiser``, or any network that maps noisy images (B, 3, H, W) to clean ones.
        lr: Initial learning rate.
        weight_decay: Decoupled weight decay.
        balance: Weight of the balance loss; no effect on networks without routing.

    Raises:
        ValueError: A number is out of range.
    """

    corruption = "noise"
    tiles = True

    def __init__(self, net: nn.Module, lr: float = 1e-3, weight_decay: float = 1e-4, balance: float = 0.01):
        super().__init__(net)
        if lr <= 0 or weight_decay < 0 or balance < 0:
            raise ValueError(
                f"lr must be positive, weight_decay and balance at least 0, got {lr}, {weight_decay} and {balance}"
            )
        self.lr, self.weight_decay, self.balance = lr, weight_decay, balance

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """AdamW with cosine annealing over the trainer's epochs."""
        # Not fused: Lightning cannot clip gradients of a fused optimizer under mixed precision.
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        epochs = self.trainer.max_epochs or 0
        if epochs < 1:
            raise UserError("The learning rate falls over all epochs: set trainer.max_epochs to their number.")
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean squared error plus balance loss."""
        output, routing = self.denoise(batch.input)
        mse = F.mse_loss(output, batch.target)
        loss = mse + self.balance * load_balance_loss(routing) if routing else mse
        self.log_dict(
            {"train/mse": mse, "train/loss": loss}, on_step=False, on_epoch=True, batch_size=len(output), sync_dist=True
        )
        return loss

    def denoise(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images (B, 3, H, W) and routing probabilities (B, N, E) of each block; empty for networks without routing.

        The images have the dtype of the input, even under autocast.
        """
        output, routing = (
            self.net.forward_with_routing(images) if isinstance(self.net, MoEDenoiser) else (self.net(images), [])
        )
        return output.to(images.dtype), routing

    def reconstruct(self, batch: Batch) -> Tensor:
        """See :class:`ImageTask`."""
        return self.denoise(batch.input)[0]

    def on_test_start(self) -> None:
        """Resets the metrics."""
        super().on_test_start()
        self.routing = RoutingStatistics()
        self.saturated: Tensor | None = None

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """Output under the split's name. A test also accumulates the routing statistics."""
        output, routing = self.denoise(batch.input)
        if split == "heldout" and routing and self.trainer.testing:
            self.routing.update(routing, batch.target)
        if split == "heldout" and self.trainer.testing:
            # Compare exactly: the clamp stops the gradient of a dead position, so it is outside [0, 1] for every image.
            stuck = ((output == 0) | (output == 1)).all(0)
            self.saturated = stuck if self.saturated is None else self.saturated & stuck
        return {split: Prediction(output, {})}

    def test_metrics(self) -> dict[str, float]:
        """Quality, routing statistics on held-out images, share of dead output positions, and dead rows."""
        numbers = self.routing.compute()
        if self.saturated is not None:
            numbers["dead"] = float(self.saturated.float().mean())
            if isinstance(self.net, MoEDenoiser):  # each row of the last layer outputs one value per patch
                patch = self.net.patch_size
                rows = rearrange(self.saturated, "c (h p) (w q) -> (c p q) (h w)", p=patch, q=patch)
                numbers["dead_rows"] = float(rows.all(1).sum())
        return super().test_metrics() | {f"heldout/{name}": value for name, value in numbers.items()}

    def figures(self, folder: Path) -> list[Path]:
        """Maps of the routing probabilities over eight held-out images."""
        from attnae.papers.moe_denoiser.figures import routing_figure

        if "heldout" not in self.first_batches or not isinstance(self.net, MoEDenoiser):
            return []
        batch = self.first_batches["heldout"][0][:8]
        with torch.no_grad():
            routing = self.denoise(batch.input)[1]
        if not routing:
            return []
        return [routing_figure(batch.target, batch.input, routing, self.net.budgets, folder / "routing.png")]


class ClassicalTask(ImageTask):
    """Evaluates a denoiser without training. Its strength is selected on validation images, never on test images.

    Args:
        method: See ``ClassicalDenoiser``.
        choose_on: Number of validation images.
    """

    net: ClassicalDenoiser

    def __init__(self, method: Method, choose_on: int = 64):
        super().__init__(ClassicalDenoiser(method))
        if choose_on < 1:
            raise ValueError(f"choose_on must be at least 1, got {choose_on}")
        self.choose_on = choose_on

    def on_test_start(self) -> None:
        """Selects the strength."""
        super().on_test_start()
        module = self.trainer.datamodule  # type: ignore[attr-defined]
        first = next(iter(module.val_dataloader()), None)
        if first is None:
            raise UserError(
                "A strength is selected on validation images, but there are none. Set data.init_args.val_images."
            )
        pixels, index = first
        batch: Batch = module.on_after_batch_transfer((pixels[: self.choose_on], index[: self.choose_on]), 0)
        if batch.sigma is None:
            raise UserError("Classical methods remove noise. Set data.init_args.corruption to GaussianNoise.")
        self.net = choose_strength(self.net.method, batch.target, batch.input, batch.sigma)
        self.selection = f"strength {self.net.strength:g}, best MSE on {len(batch.target)} validation images"

    def reconstruct(self, batch: Batch) -> Tensor:
        """See :class:`ImageTask`."""
        assert batch.sigma is not None
        images: Tensor = self.net(batch.input, batch.sigma)
        return images

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """Output under the split's name."""
        return {split: Prediction(self.reconstruct(batch), {})}
