"""Training and evaluation of VAE and SAAAE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attnae.data.batch import Batch
from attnae.metrics.latents import ActiveUnits
from attnae.papers.saaae.net import SAAAE, VAE, Posterior
from attnae.training.task import ImageTask, Prediction

PAPER_DIVISOR = 256 * 20 * 20 / 5000
"""The paper's "KL+MSE" is the objective summed over 5,000 images / (256 * 20 * 20): the mean per image / 20.48."""


def objective(images: Tensor, target: Tensor, posterior: Posterior, selective: bool = False) -> tuple[Tensor, Tensor]:
    """Both terms of the training objective, per image.

    Paper: VAE vs SAAAE, "MSE + KL". Both are sums, not means: over the values of an image, and over its latents.

    Args:
        images: Reconstructions (B, 3, S, S) in [-1, 1].
        target: Clean images (B, 3, S, S) in [-1, 1].
        posterior: Posterior of the masked images.
        selective: Count a latent's KL only where its importance is positive.

    Returns:
        Squared error (B,) and KL divergence in nats (B,).
    """
    kl = posterior.kl_per_latent()
    if selective and posterior.gate.importance is not None:
        kl = kl * (posterior.gate.importance > 0)
    return (images.to(target.dtype) - target).square().flatten(1).sum(1), kl.sum(1)


class SAAAETask(ImageTask):
    """Trains a VAE, with or without anchored noise, to reconstruct masked images.

    Paper: VAE vs SAAAE. Adam, no schedule, no clipping. The weights of the last epoch are evaluated.

    Args:
        net: The autoencoder.
        lr: Learning rate of Adam.
        selective_kl: Ignore the KL of latents that attention finds unimportant. The paper's README mentions a "selective
            KL", but it is commented out in the released code and not part of the published numbers.
    """

    net: VAE
    corruption = "mask"

    def __init__(self, net: VAE, lr: float = 1e-3, selective_kl: bool = False):
        super().__init__(net)
        if lr <= 0:
            raise ValueError(f"lr must be positive, got {lr}")
        self.lr, self.selective_kl = lr, selective_kl
        self.active = ActiveUnits(net.latent_dim)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Fused Adam: the same update in one pass over the weights."""
        return torch.optim.Adam(self.net.parameters(), lr=self.lr, fused=True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Objective summed over the batch, as in the released code."""
        images, posterior = self.net(2 * batch.input - 1)
        error, kl = objective(images, 2 * batch.target - 1, posterior, self.selective_kl)
        loss = (error + kl).sum()
        per_image = loss.detach() / len(images)
        with torch.no_grad():
            gated = (error + posterior.kl_gated_per_latent().sum(1)).mean()
        logged = {
            "train/loss": per_image,
            "train/kl": kl.detach().mean(),
            # The paper reports the training objective as "KL+MSE", so it is logged in training.
            "train_set/kl_mse": per_image / PAPER_DIVISOR,
            "train_set/kl_mse_gated": gated / PAPER_DIVISOR,
        }
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def reconstruct(self, batch: Batch) -> Tensor:
        """See :class:`ImageTask`."""
        images: Tensor = self.net(2 * batch.input - 1)[0]
        return (images + 1) / 2

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """Decodes held-out images from the posterior's mean and from one sample, and training images as in the paper.

        Paper: z is sampled with the frozen training noise. We: the same with frozen noise. With fresh noise, the sample
        depends only on the image's index, so it is the same for all models.
        """
        posterior = self.net.encode(2 * batch.input - 1)
        zeros = torch.zeros_like(posterior.mean)
        if split == "val":
            return {"val": self._decode(posterior, zeros)}
        if split == "train_set" and self.net.noise == "frozen":
            return {"train_set": self._decode(posterior, self.net.sample_noise(zeros))}
        draws = [np.random.default_rng([43, int(i)]).standard_normal(zeros.shape[1], np.float32) for i in batch.index]
        noise = torch.from_numpy(np.stack(draws)).to(zeros)
        if split == "train_set":
            return {"train_set": self._decode(posterior, noise)}
        self.active.update(posterior.mean / self.net.prior_scale())
        return {
            "heldout": self._decode(posterior, zeros),
            "heldout_sampled": self._decode(posterior, noise),
        }

    def _decode(self, posterior: Posterior, noise: Tensor) -> Prediction:
        images = self.net.decode(posterior.latents(noise)).to(posterior.mean.dtype)
        measures = {
            "kl": posterior.kl_per_latent().sum(1),
            "kl_gated": posterior.kl_gated_per_latent().sum(1),
            "gate_mean": posterior.gate.scale.mean(1).expand(len(images)),
        }
        return Prediction((images + 1) / 2, measures)

    def on_test_start(self) -> None:
        """Resets the metrics."""
        super().on_test_start()
        self.active.reset()

    def test_metrics(self) -> dict[str, float]:
        """Quality, and the number of active latents on the held-out images."""
        return super().test_metrics() | {"heldout/active_units": self.active.compute()}

    def figures(self, folder: Path) -> list[Path]:
        """Attention maps as in the released code, and the gate per latent."""
        from attnae.papers.saaae.figures import attention_figure, gate_figure

        if "heldout" not in self.first_batches:
            return []
        images = 2 * self.first_batches["heldout"][0].input - 1
        drawn = []
        with torch.no_grad():
            if isinstance(self.net, SAAAE):
                drawn.append(gate_figure(self.net.encode(images), folder / "gate.png"))
                if self.net.attention_gate is not None:
                    drawn.append(
                        attention_figure(
                            images[:8], self.net.attention_gate.attend(images[:8]), folder / "attention.png"
                        )
                    )
        return drawn

    # -- inference ----------------------------------------------------------------------------------------------

    @property
    def latents(self) -> int:
        """See :class:`ImageTask`."""
        return self.net.latent_dim

    def restore(self, images: Tensor) -> Tensor:
        """Decodes the posterior's mean. Without noise the gate has no effect, so images do not depend on their batch."""
        return self.from_latents(self.to_latents(images))

    def to_latents(self, images: Tensor) -> Tensor:
        """The posterior's mean, in units of the prior's standard deviation."""
        latents: Tensor = self.net.mean(self.net.encoder(2 * images - 1))
        return latents / self.net.prior_scale()

    def from_latents(self, latents: Tensor) -> Tensor:
        """See :class:`ImageTask`."""
        return (self.net.decode(latents * self.net.prior_scale()) + 1) / 2
