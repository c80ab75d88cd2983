"""Adversarial training of the Attentive VQ-VAE by manual optimisation, and its evaluation."""

from __future__ import annotations

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
from attnae.metrics.codebook import CodebookUse
from attnae.metrics.faces import eye_colour_error, symmetry_error
from attnae.papers.attentive_vqvae.discriminator import PatchDiscriminator
from attnae.papers.attentive_vqvae.net import AttentiveVQVAE, parameter_counts
from attnae.papers.attentive_vqvae.quantizer import Quantizer
from attnae.training.task import ImageTask, Prediction


class AttentiveVQVAETask(ImageTask):
    """Autoencoding with a patch discriminator as opponent.

    Paper: Attentive VQ-VAE, "reconstruction, VQ and adversarial losses"; optimiser, rates, weights and batch size are not
    given. We: Adam as VQGANs use it and an adversarial weight of our own, the same for every variant. Both networks are
    optimised by hand, one step each per batch: the generator first, then the discriminator on the images that the
    generator had made.

    Args:
        net: The autoencoder.
        discriminator: Its opponent; ``None`` trains without one.
        lr: Learning rate of Adam for the autoencoder.
        discriminator_lr: Learning rate of Adam for the discriminator.
        betas: Decays of both Adams' moments.
        reconstruction: Mean absolute (``l1``) or squared (``l2``) error per value.
        vq_weight: Weight of the quantizers' losses.
        adversarial: Loss of the discriminator, ``hinge`` or ``bce``, and its counterpart for the generator.
        adversarial_weight: Weight of the generator's adversarial loss.
        adversarial_start: Steps of the generator before the discriminator enters.
        clip: Largest norm of each network's gradient; ``None`` for any. The trainer cannot clip under manual
            optimisation.

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
        reconstruction: Literal["l1", "l2"] = "l1",
        vq_weight: float = 1.0,
        adversarial: Literal["hinge", "bce"] = "hinge",
        adversarial_weight: float = 0.02,
        adversarial_start: int = 0,
        clip: float | None = 1.0,
    ):
        super().__init__(net)
        if lr <= 0 or discriminator_lr <= 0 or vq_weight < 0 or adversarial_weight < 0 or adversarial_start < 0:
            raise ValueError("learning rates must be positive, weights and adversarial_start not negative")
        if clip is not None and clip <= 0:
            raise ValueError(f"clip must be positive or null, got {clip}")
        self.automatic_optimization = False
        self.discriminator = discriminator and discriminator.to(memory_format=torch.channels_last)
        self.lr, self.discriminator_lr, self.betas, self.clip = lr, discriminator_lr, betas, clip
        self.reconstruction, self.adversarial = reconstruction, adversarial
        self.vq_weight, self.adversarial_weight = vq_weight, adversarial_weight
        self.adversarial_start = adversarial_start
        self.generator_steps = 0  # Lightning's global_step counts the discriminator's, too
        self.use: list[CodebookUse] = []

    # -- training -----------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """An Adam for each network."""
        optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(self.net.parameters(), self.lr, self.betas)]
        if self.discriminator is not None:
            optimizers.append(torch.optim.Adam(self.discriminator.parameters(), self.discriminator_lr, self.betas))
        return optimizers

    def on_fit_start(self) -> None:
        """Refuses what manual optimisation of two networks cannot do.

        Raises:
            UserError: Half precision with a loss scale, or a strategy that expects every weight to have a gradient.
        """
        if str(self.trainer.precision).startswith("16"):
            raise UserError(
                "trainer.precision 16 needs one loss scale, but generator and discriminator overflow apart from each "
                "other. Give bf16-mixed or 32-true."
            )
        strategy = self.trainer.strategy
        if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
            raise UserError(
                "On several devices each network's step leaves the other one without gradients. "
                "Give --trainer.strategy ddp_find_unused_parameters_true."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """A step of the generator, and one of the discriminator once it has entered."""
        optimizers = self.optimizers()
        generator, *opponents = optimizers if isinstance(optimizers, list) else [optimizers]
        adversarial = bool(opponents) and self.generator_steps >= self.adversarial_start
        images = batch.target

        self.toggle_optimizer(generator)
        output = self.net.forward_with_codes(batch.input)
        reconstruction = output.reconstruction.float()
        error = (F.l1_loss if self.reconstruction == "l1" else F.mse_loss)(reconstruction, images)
        losses = {"reconstruction": error, "vq": output.loss}
        loss = error + self.vq_weight * output.loss
        if adversarial and self.discriminator is not None:
            losses["adversarial"] = self._fooled(self._logits(images, reconstruction)[1])
            loss = loss + self.adversarial_weight * losses["adversarial"]
        self._step(generator, self.net, loss, losses)
        self.untoggle_optimizer(generator)
        self.generator_steps += 1

        if adversarial and self.discriminator is not None:
            self.toggle_optimizer(opponents[0])
            losses["discriminator"] = self._told_apart(*self._logits(images, reconstruction.detach()))
            self._step(opponents[0], self.discriminator, losses["discriminator"], losses)
            self.untoggle_optimizer(opponents[0])

        shown = {f"train/{name}": value.detach() for name, value in {"loss": loss, **losses}.items()}
        self.log_dict(shown, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss.detach()

    def _step(self, optimizer: LightningOptimizer, net: nn.Module, loss: Tensor, losses: dict[str, Tensor]) -> None:
        """Backward pass, clipping, update; nothing is updated by a loss that is not finite."""
        if not loss.isfinite():
            values = ", ".join(f"{name} {float(value.detach()):.4g}" for name, value in losses.items())
            raise UserError(
                f"Training diverged at step {self.generator_steps} (epoch {self.current_epoch + 1}): {values}. Lower "
                "model.init_args.lr or adversarial_weight; the checkpoint of the last finished epoch is kept."
            )
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), self.clip)
        optimizer.step()

    def _logits(self, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's opinion on real and made images (B, 3, H, W), judged as one batch.

        Apart from each other, the BatchNorm after the last convolution would give both the same mean logit, and a hinge
        loss, which for the generator is that mean, would have no gradient at all.
        """
        assert self.discriminator is not None
        logits: Tensor = self.discriminator(torch.cat([real, made])).float()
        first, second = logits.chunk(2)
        return first, second

    def _told_apart(self, real: Tensor, made: Tensor) -> Tensor:
        """The discriminator's loss from logits of real and made images."""
        if self.adversarial == "hinge":
            return (F.relu(1 - real).mean() + F.relu(1 + made).mean()) / 2
        return (F.softplus(-real).mean() + F.softplus(made).mean()) / 2

    def _fooled(self, made: Tensor) -> Tensor:
        """The generator's loss from logits of its images."""
        return -made.mean() if self.adversarial == "hinge" else F.softplus(-made).mean()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the step counter."""
        checkpoint["generator_steps"] = self.generator_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the step counter up again."""
        super().on_load_checkpoint(checkpoint)
        self.generator_steps = int(checkpoint.get("generator_steps", 0))

    # -- evaluation ---------------------------------------------------------------------------------------------

    def reconstruct(self, batch: Batch) -> Tensor:
        """See :class:`ImageTask`."""
        images: Tensor = self.net(batch.input)
        return images

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """The reconstruction under the split's own name; counts the codes that it uses."""
        output = self.net.forward_with_codes(batch.input)
        images = output.reconstruction.float()
        if split in ("val", "heldout"):
            for use, codes in zip(self.use, output.codes, strict=False):  # none outside of a validation or test
                use.update(codes)
        if split == "val":
            return {split: Prediction(images, {})}
        shown = images.clamp(0, 1)
        further = {"symmetry": symmetry_error(shown, batch.target)}
        location = self.trainer.datamodule.location  # type: ignore[attr-defined]
        if split == "heldout" and (location.kind, location.name) == ("embedded", "faces"):
            known = eyes(False, batch.index.cpu())
            further["eye_colour"] = eye_colour_error(shown, batch.target, known.centres, known.radius)
        return {split: Prediction(images, further)}

    def _count_codes(self) -> None:
        self.use = [CodebookUse(len(level.codebook)).to(self.device) for level in self.net.quantizers]  # type: ignore[arg-type]

    def _codes(self) -> dict[str, float]:
        numbers = {}
        for level, use in enumerate(self.use, start=1):
            usage = use.compute()
            numbers[f"active_codes_{level}"] = float(usage.active_codes)
            numbers[f"perplexity_{level}"] = usage.perplexity
        return numbers

    def on_validation_epoch_start(self) -> None:
        """Counts codes anew."""
        self._count_codes()

    def on_validation_epoch_end(self) -> None:
        """Logs how much of the codebooks the followed images use."""
        self.log_dict({f"val/{name}": value for name, value in self._codes().items()})

    def on_test_start(self) -> None:
        """Forgets earlier tests."""
        super().on_test_start()
        self._count_codes()

    def test_metrics(self) -> dict[str, float]:
        """Quality, and the use of the codebooks over all held-out images."""
        return super().test_metrics() | {f"heldout/{name}": value for name, value in self._codes().items()}

    def parameter_counts(self) -> dict[str, int]:
        """Both ways to count; the discriminator is no part of the model."""
        counts = parameter_counts(self.net)
        return {"params_trainable": counts.trainable, "params_total": counts.trainable, "params_keras": counts.keras}

    def figures(self, folder: Path) -> list[Path]:
        """How often each code of each level is used, and what pixel attention looks at."""
        from attnae.papers.attentive_vqvae.figures import attention_figure, usage_figure

        if "heldout" not in self.first_batches:
            return []
        batch = self.first_batches["heldout"][0][:8]
        drawn = [usage_figure([use.compute().counts for use in self.use], folder / "codes.png")]
        attended = self.net.attention_maps(batch.input)
        if attended:
            drawn.append(attention_figure(batch.target, attended, folder / "attention.png"))
        return drawn

    # -- use ----------------------------------------------------------------------------------------------------

    @property
    def codes(self) -> int:
        """Codes of the lowest level, of which the levels above it are already part."""
        return len(self._lowest.codebook)

    @property
    def _lowest(self) -> Quantizer:
        quantizer = self.net.quantizers[0]
        assert isinstance(quantizer, Quantizer)
        return quantizer

    def encode(self, images: Tensor) -> Tensor:
        """See :class:`ImageTask`."""
        return self.net.encode(images)[0]

    def decode(self, codes: Tensor) -> Tensor:
        """See :class:`ImageTask`; 8 pixels a code."""
        return self.net.decode(codes)

    def code_frequencies(self) -> Tensor:
        """The moving averages of a codebook that learns by them; else all the same."""
        return self._lowest.counts
