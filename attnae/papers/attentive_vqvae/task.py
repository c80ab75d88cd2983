"""Adversarial training (manual optimization) and evaluation of the Attentive VQ-VAE."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from attnae.data.batch import Batch
from attnae.data.faces import eyes
from attnae.errors import UserError
from attnae.metrics.codebook import CodebookUse, bits_per_pixel
from attnae.metrics.faces import ALIGNED, eye_color_error, symmetry_error
from attnae.papers.attentive_vqvae.discriminator import PatchDiscriminator
from attnae.papers.attentive_vqvae.losses import AdversarialLoss, accuracy, discriminator_loss, generator_loss
from attnae.papers.attentive_vqvae.net import AttentiveVQVAE, parameter_counts
from attnae.papers.attentive_vqvae.recompute import has_batchnorm, with_recomputed_batchnorm
from attnae.training.task import ImageTask, Prediction


class AttentiveVQVAETask(ImageTask):
    """Trains an autoencoder, optionally against a patch discriminator.

    Paper: Attentive VQ-VAE, "reconstruction, VQ and adversarial losses"; optimizer, learning rates, loss weights and batch
    size are not stated. We: Adam with VQGAN's betas and our own adversarial weight, the same for every variant. Manual
    optimization, one step of each network per batch: first the generator, then the discriminator on the same reconstructions.

    Args:
        net: The autoencoder.
        discriminator: The discriminator; ``None`` trains without one.
        lr: Adam learning rate of the autoencoder.
        discriminator_lr: Adam learning rate of the discriminator.
        betas: Adam betas of the autoencoder.
        discriminator_betas: Adam betas of the discriminator; ``None`` uses ``betas``.
        reconstruction: Reconstruction loss: mean absolute (``l1``) or mean squared (``l2``) error.
        vq_weight: Weight of the quantizer losses.
        adversarial_loss: Adversarial loss of both networks: ``hinge``, or ``bce`` for binary cross-entropy on logits.
        adversarial_weight: Weight of the generator's adversarial loss.
        adversarial_start: Number of generator steps before adversarial training starts.
        clip: Maximum gradient norm of each network; ``None`` disables clipping. The trainer cannot clip gradients under
            manual optimization.
        flip: Flip each training image horizontally with probability 0.5, as the authors' related code does.
        recompute_batchnorm: Number of training images used to recompute the BatchNorm statistics before a test, in a copy of
            the autoencoder; 0 tests the network as trained. If set, ``heldout`` uses the recomputed statistics and
            ``heldout_as_trained`` the trained ones. The saved weights do not change. No effect without BatchNorm.
        aligned: Set to ``celeba`` if the images are CelebA's aligned 178x218 images, to measure the eye color error at the
            aligned eye positions. This cannot be verified. Not needed for embedded faces.

    Raises:
        ValueError: A number is out of range.
    """

    net: AttentiveVQVAE
    tiles = True

    def __init__(
        self,
        net: AttentiveVQVAE,
        discriminator: PatchDiscriminator | None = None,
        lr: float = 2e-4,
        discriminator_lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.9),
        discriminator_betas: tuple[float, float] | None = None,
        reconstruction: Literal["l1", "l2"] = "l1",
        vq_weight: float = 1.0,
        adversarial_loss: AdversarialLoss = "hinge",
        adversarial_weight: float = 0.02,
        adversarial_start: int = 0,
        clip: float | None = 1.0,
        flip: bool = False,
        recompute_batchnorm: int = 0,
        aligned: Literal["celeba"] | None = None,
    ):
        super().__init__(net)
        if lr <= 0 or discriminator_lr <= 0 or vq_weight < 0 or adversarial_weight < 0 or adversarial_start < 0:
            raise ValueError("learning rates must be positive; weights and adversarial_start must not be negative")
        if clip is not None and clip <= 0:
            raise ValueError(f"clip must be positive or null, got {clip}")
        if recompute_batchnorm < 0:
            raise ValueError(f"recompute_batchnorm must not be negative, got {recompute_batchnorm}")
        if aligned is not None and aligned not in ALIGNED:
            raise ValueError(f"aligned must be null or one of {', '.join(ALIGNED)}, got {aligned!r}")
        self.automatic_optimization = False
        self.discriminator = discriminator and discriminator.to(memory_format=torch.channels_last)
        self.lr, self.discriminator_lr, self.clip, self.flip = lr, discriminator_lr, clip, flip
        self.betas, self.discriminator_betas = betas, discriminator_betas or betas
        self.reconstruction, self.adversarial_loss = reconstruction, adversarial_loss
        self.vq_weight, self.adversarial_weight = vq_weight, adversarial_weight
        self.adversarial_start = adversarial_start
        self.recompute_batchnorm, self.aligned = recompute_batchnorm, aligned
        self.generator_steps = 0  # Lightning's global_step also counts discriminator steps
        self.use: dict[str, list[CodebookUse]] = {}  # per protocol that counts codes, per level
        self.recomputed: list[AttentiveVQVAE] = []  # in a list, so it is not a submodule and is not saved

    # -- training -----------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam optimizer per network."""
        optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(self.net.parameters(), self.lr, self.betas)]
        if self.discriminator is not None:
            parameters = self.discriminator.parameters()
            optimizers.append(torch.optim.Adam(parameters, self.discriminator_lr, self.discriminator_betas))
        return optimizers

    def on_fit_start(self) -> None:
        """Checks precision and strategy.

        Raises:
            UserError: The precision needs a loss scale, or the strategy requires a gradient for every parameter.
        """
        if str(self.trainer.precision).startswith("16"):
            raise UserError(
                "trainer.precision 16 is not supported: generator and discriminator would need separate loss scales. "
                "Set trainer.precision to bf16-mixed or 32-true."
            )
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
            raise UserError(
                "On multiple devices, each optimizer step leaves the other network without gradients. "
                "Set --trainer.strategy ddp_find_unused_parameters_true."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One generator step, and one discriminator step after ``adversarial_start``."""
        optimizers = self.optimizers()
        generator, *opponents = optimizers if isinstance(optimizers, list) else [optimizers]
        adversarial = bool(opponents) and self.generator_steps >= self.adversarial_start
        inputs, images = self._flipped(batch)

        self.toggle_optimizer(generator)
        output = self.net.forward_with_codes(inputs)
        reconstruction = output.reconstruction.float()
        error = (F.l1_loss if self.reconstruction == "l1" else F.mse_loss)(reconstruction, images)
        losses = {"reconstruction": error, "vq": output.loss}
        loss = error + self.vq_weight * output.loss
        if adversarial and self.discriminator is not None:
            losses["adversarial"] = generator_loss(self.adversarial_loss, self._logits(images, reconstruction)[1])
            loss = loss + self.adversarial_weight * losses["adversarial"]
        measured = {"grad_norm": self._step(generator, self.net, loss, losses)}
        self.untoggle_optimizer(generator)
        self.generator_steps += 1

        if adversarial and self.discriminator is not None:
            self.toggle_optimizer(opponents[0])
            real, fake = self._logits(images, reconstruction.detach())
            losses["discriminator"] = discriminator_loss(self.adversarial_loss, real, fake)
            measured["discriminator_accuracy"] = accuracy(real, fake)
            measured["grad_norm_discriminator"] = self._step(
                opponents[0], self.discriminator, losses["discriminator"], losses
            )
            self.untoggle_optimizer(opponents[0])

        shown = {f"train/{name}": value.detach() for name, value in {"loss": loss, **losses, **measured}.items()}
        self.log_dict(shown, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss.detach()

    def _flipped(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a batch, randomly flipped if ``flip`` is set."""
        if not self.flip:
            return batch.input, batch.target
        mirrored = (torch.rand(len(batch.target)) < 0.5).to(batch.target.device)[:, None, None, None]
        inputs, targets = (
            torch.where(mirrored, images.flip(-1), images).contiguous(memory_format=torch.channels_last)
            for images in (batch.input, batch.target)
        )
        return inputs, targets

    def _step(self, optimizer: LightningOptimizer, net: nn.Module, loss: Tensor, losses: dict[str, Tensor]) -> Tensor:
        """Backward pass, clipping and update. Raises if the loss is not finite. Returns the gradient norm before clipping."""
        if not loss.isfinite():
            values = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in losses.items())
            raise UserError(
                f"Training diverged at step {self.generator_steps} (epoch {self.current_epoch + 1}): {values}. Lower "
                "model.init_args.lr or adversarial_weight. The checkpoint of the last completed epoch was kept."
            )
        optimizer.zero_grad()
        self.manual_backward(loss)
        parameters = [p for p in net.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.clip, norm)
        optimizer.step()
        return norm

    def _logits(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of real images and reconstructions (B, 3, H, W), computed in one batch.

        In separate batches, the BatchNorm after the last convolution would give both the same mean logit. The generator's
        hinge loss is that mean, so its gradient would be zero.
        """
        assert self.discriminator is not None
        logits: Tensor = self.discriminator(torch.cat([real, fake])).float()
        first, second = logits.chunk(2)
        return first, second

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Saves the step counter."""
        checkpoint["generator_steps"] = self.generator_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the step counter."""
        super().on_load_checkpoint(checkpoint)
        self.generator_steps = int(checkpoint.get("generator_steps", 0))

    # -- evaluation ---------------------------------------------------------------------------------------------

    def reconstruct(self, batch: Batch) -> Tensor:
        """See :class:`ImageTask`."""
        images: Tensor = self.net(batch.input)
        return images

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """Reconstructs a batch under the split's name and counts code usage.

        With recomputed BatchNorm statistics, a test also reconstructs with the trained ones.
        """
        nets = {split: self.net}
        if self.recomputed and split != "val":
            nets = {split: self.recomputed[0], f"{split}_as_trained": self.net}
        found = {}
        for protocol, net in nets.items():
            output = net.forward_with_codes(batch.input)
            images = output.reconstruction.float()
            for use, codes in zip(self.use.get(protocol, ()), output.codes, strict=False):
                use.update(codes)
            found[protocol] = Prediction(
                images, {} if split == "val" else self._faces(images.clamp(0, 1), batch, split)
            )
        return found

    def _faces(self, images: Tensor, batch: Batch, split: str) -> dict[str, Tensor]:
        """Per-image symmetry error, and eye color error where the eye positions are known."""
        measures = {"symmetry": symmetry_error(images, batch.target)}
        location = self.trainer.datamodule.location  # type: ignore[attr-defined]
        if location.kind == "embedded":
            if split == "heldout" and location.name == "faces":
                centers, radius, _ = eyes(False, batch.index.cpu())
                measures["eye_color"] = eye_color_error(images, batch.target, centers, radius)
        elif self.aligned:
            measures["eye_color"] = eye_color_error(images, batch.target, *ALIGNED[self.aligned].of(images))
        return measures

    def _count_codes(self, *protocols: str) -> None:
        sizes = [level.size for level in self.net.quantizers]
        self.use = {name: [CodebookUse(size).to(self.device) for size in sizes] for name in protocols}  # type: ignore[arg-type]

    def _codes(self, protocol: str) -> dict[str, float]:
        levels = [use.compute() for use in self.use[protocol]]
        numbers = {}
        for level, usage in enumerate(levels, start=1):
            numbers[f"active_codes_{level}"] = float(usage.active_codes)
            numbers[f"perplexity_{level}"] = usage.perplexity
        if pixels := 64 * int(levels[0].counts.sum()):  # a code of the lowest level covers 8x8 pixels
            numbers["bits_per_pixel"] = bits_per_pixel(levels, pixels)
        return numbers

    def on_validation_epoch_start(self) -> None:
        """Resets the code counts."""
        self._count_codes("val")

    def on_validation_epoch_end(self) -> None:
        """Logs the code usage on the validation images."""
        self.log_dict({f"val/{name}": value for name, value in self._codes("val").items()})

    def on_test_start(self) -> None:
        """Resets the metrics, and recomputes the BatchNorm statistics if configured."""
        super().on_test_start()
        self.recomputed = []
        if self.recompute_batchnorm and has_batchnorm(self.net):
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            with self.trainer.precision_plugin.test_step_context():
                self.recomputed = [with_recomputed_batchnorm(self.net, data, self.recompute_batchnorm)]
        self._count_codes("heldout", *(["heldout_as_trained"] if self.recomputed else []))

    def on_predict_start(self) -> None:
        """Discards recomputed BatchNorm statistics: predictions use the network as trained."""
        super().on_predict_start()
        self.recomputed = []

    def test_metrics(self) -> dict[str, float]:
        """Quality, symmetry error relative to the reconstruction error, and code usage over all held-out images."""
        numbers = super().test_metrics()
        for protocol in self.quality:
            symmetry, error = numbers[f"{protocol}/symmetry"], numbers[f"{protocol}/mae_over_sigma"]
            numbers[f"{protocol}/symmetry_ratio"] = symmetry / error if error else math.nan
        codes = {f"{protocol}/{name}": value for protocol in self.use for name, value in self._codes(protocol).items()}
        return numbers | codes

    def parameter_counts(self) -> dict[str, int]:
        """Parameter counts by both conventions, without the discriminator."""
        counts = parameter_counts(self.net)
        return {"params_trainable": counts.trainable, "params_total": counts.trainable, "params_keras": counts.keras}

    def figures(self, folder: Path) -> list[Path]:
        """Code usage per level, and maps of the pixel attention."""
        from attnae.papers.attentive_vqvae.figures import attention_figure, usage_figure

        if "heldout" not in self.first_batches:
            return []
        batch = self.first_batches["heldout"][0][:8]
        drawn = [usage_figure([use.compute().counts for use in self.use["heldout"]], folder / "codes.png")]
        attended = self.net.attention_maps(batch.input)
        if attended:
            drawn.append(attention_figure(batch.target, attended, folder / "attention.png"))
        return drawn

    # -- inference ----------------------------------------------------------------------------------------------

    @property
    def codes(self) -> int:
        """Size of the lowest level's codebook. Its codes already contain the information of the levels above."""
        return self.net.lowest.size

    def encode(self, images: Tensor) -> Tensor:
        """See :class:`ImageTask`."""
        return self.net.encode(images)[0]

    def decode(self, codes: Tensor) -> Tensor:
        """See :class:`ImageTask`. Each code covers 8x8 pixels."""
        return self.net.decode(codes)

    def code_frequencies(self) -> Tensor:
        """Moving averages of the number of latents per training step assigned to each code."""
        return self.net.lowest.counts
