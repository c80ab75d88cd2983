"""The LightningModule base of all papers: evaluates on named protocols and draws the pictures of a run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from attnae.data.batch import Batch
from attnae.data.sampler import run_seed
from attnae.errors import UserError
from attnae.metrics.images import ImageQuality
from attnae.training import weights
from attnae.training.pictures import save_rows

if TYPE_CHECKING:
    from attnae.metrics.perceptual import Perceptual


class Prediction(NamedTuple):
    """A reconstruction under one protocol.

    Attributes:
        images: (B, 3, H, W) in [0, 1] up to clamping.
        further: Per-image measures (B,) by name, such as the KL divergence.
    """

    images: Tensor
    further: dict[str, Tensor]


class ImageTask(L.LightningModule):
    """Image in, image out.

    A paper implements :meth:`training_step`, :meth:`predictions` and ``configure_optimizers``; optionally
    :meth:`figures`, and what ``attnae apply``, ``encode`` and ``sample`` may ask of a trained model.

    Args:
        net: The network, pure torch.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        # Convolutions of this size run 1.1 to 1.25 times as fast on a CPU with channels last, and as fast on a GPU.
        self.net = net.to(memory_format=torch.channels_last)
        self.selection = ""  # how a test chose what it evaluates, where it does
        self.with_perceptual = False  # LPIPS and rFID in tests
        self.perceptual: Perceptual | None = None
        self.quality: dict[str, ImageQuality] = {}
        self.first_batches: dict[str, tuple[Batch, dict[str, Tensor]]] = {}

    def reconstruct(self, batch: Batch) -> Tensor:
        """One ordinary forward pass, images (B, 3, H, W) in [0, 1] up to clamping; its operations are what is counted."""
        raise NotImplementedError

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """Reconstructions of a batch by protocol.

        Args:
            batch: Inputs and targets.
            split: One of the DataModule's test splits, or ``val``, for which one prediction is expected.
        """
        raise NotImplementedError

    def figures(self, folder: Path) -> list[Path]:
        """Draws the paper's own figures from ``first_batches`` into ``folder`` after a test, and returns their paths."""
        return []

    # -- use of a trained model, in evaluation mode ------------------------------------------------------------

    undoes: ClassVar[Literal["noise", "mask", ""]] = ""
    """The corruption that the model was trained to undo; empty for an autoencoder, which gives its input back."""

    tiles: ClassVar[bool] = False
    """Whether a larger image may be taken in overlapping tiles; otherwise it is resized."""

    @property
    def codes(self) -> int:
        """Size of the codebook that :meth:`encode` draws on; 0 for a model without codes."""
        return 0

    @property
    def latents(self) -> int:
        """Latents of an image, standard normal by the model's prior; 0 for a model without a prior."""
        return 0

    def restore(self, images: Tensor) -> Tensor:
        """What the model makes of images (B, 3, S, S) in [0, 1], each independent of the batch's other images."""
        unknown = torch.arange(images.shape[0], device=images.device)  # len() would fix the batch of an exported graph
        return self.reconstruct(Batch(images, images, None, unknown))

    def encode(self, images: Tensor) -> Tensor:
        """Codes int64 (B, h, w) in [0, ``codes``) of images (B, 3, S, S) in [0, 1], from which :meth:`decode` makes images."""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] up to clamping of codes (B, h, w), a map of any size."""
        raise NotImplementedError

    def code_frequencies(self) -> Tensor:
        """How often training used each code, up to a factor, (``codes``,), not negative: what to expect of an image."""
        raise NotImplementedError

    def to_latents(self, images: Tensor) -> Tensor:
        """Most probable latents (B, ``latents``) of images (B, 3, S, S) in [0, 1]."""
        raise NotImplementedError

    def from_latents(self, latents: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] of latents (B, ``latents``)."""
        raise NotImplementedError

    # -- following the training ---------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Makes an epoch's randomness depend on seed, epoch and rank alone: a resumed run repeats an uninterrupted one."""
        seed = torch.Generator().manual_seed(run_seed() * 1_000_003 + self.current_epoch * 1009 + self.global_rank)
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=seed)))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the mean squared error per value of the followed images."""
        for name, prediction in self.predictions(batch, "val").items():
            mse = (prediction.images.float().clamp(0, 1) - batch.target).square().flatten(1).mean(1)
            self.log(f"{name}/mse", mse.mean(), batch_size=len(mse), prog_bar=True, sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> None:
        """Saves the reconstruction of each held-out image as ``predictions/<index>.png`` in the run's folder."""
        folder = Path(self.trainer.default_root_dir) / "predictions"
        for index, image in zip(
            batch.index.tolist(), self.predictions(batch, "heldout")["heldout"].images, strict=True
        ):
            save_rows([image.clamp(0, 1)[None]], folder / f"{index:05}.png")

    def on_predict_end(self) -> None:
        """Says where the images are."""
        if self.trainer.is_global_zero:
            folder = Path(self.trainer.default_root_dir) / "predictions"
            print(
                f"{folder}: {sum(1 for _ in folder.glob('*.png'))} images, named by their place among the held-out ones"
            )

    # -- evaluation ---------------------------------------------------------------------------------------------

    def on_test_start(self) -> None:
        """Forgets earlier tests."""
        self.quality, self.first_batches = {}, {}
        if self.with_perceptual:
            from attnae.metrics.perceptual import Perceptual  # imports for seconds what hardly any test needs

            self.perceptual = Perceptual.pretrained(self.device)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Accumulates the measures of every protocol of the split."""
        split = self.trainer.datamodule.test_splits[dataloader_idx]  # type: ignore[attr-defined]
        predictions = self.predictions(batch, split)
        for protocol, prediction in predictions.items():
            if not prediction.images.isfinite().all():
                raise UserError(
                    f"The {protocol} reconstruction of batch {batch_idx} is not finite: the weights are broken."
                )
            quality = self.quality.setdefault(protocol, ImageQuality().to(self.device))
            further = dict(prediction.further)
            if self.perceptual:
                further["lpips"] = self.perceptual.update(protocol, prediction.images, batch.target)
            quality.update(prediction.images, batch.target, further)
        if batch_idx == 0:
            self.first_batches[split] = (batch, {name: p.images.clamp(0, 1) for name, p in predictions.items()})

    def test_metrics(self) -> dict[str, float]:
        """Numbers of the last test, ``"<protocol>/<name>"``."""
        numbers = {
            f"{protocol}/{name}": value for protocol, q in self.quality.items() for name, value in q.compute().items()
        }
        return {**numbers, **(self.perceptual.compute() if self.perceptual else {})}

    def parameter_counts(self) -> dict[str, int]:
        """Numbers of parameters by column name; a paper that counts in its own way adds its column."""
        parameters = list(self.net.parameters())
        return {
            "params_trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "params_total": sum(p.numel() for p in parameters),
        }

    def gflops_forward(self) -> float:
        """10^9 floating-point operations of one image's forward pass, counted by torch."""
        batch = next(iter(self.first_batches.values()))[0][:2]  # a BatchNorm of 1x1 maps cannot train on one image
        net, counter = self.net, FlopCounterMode(display=False)
        self.net = copy.deepcopy(net).train()  # evaluation may take fused paths that the counter does not see through
        with counter, torch.no_grad():
            self.reconstruct(batch)
        self.net = net
        return float(counter.get_total_flops()) / len(batch.target) / 1e9

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compares names and shapes before Lightning loads them.

        Raises:
            UserError: The checkpoint belongs to another network.
        """
        own, other = self.state_dict(), checkpoint.get("state_dict", {})
        for name in own.keys() | other.keys():
            if name not in own or name not in other or own[name].shape != other[name].shape:
                raise UserError(
                    f"The checkpoint {self.trainer.ckpt_path} does not fit {type(self.net).__name__}: {name} differs."
                )

    def load_weights(self, path: Path) -> None:
        """Loads ``weights.safetensors`` of a finished run; no pickle is involved.

        Raises:
            UserError: The file is missing, damaged, or belongs to another network.
        """
        state = weights.read(path)
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[1:2] or [str(error)]
            raise UserError(f"The weights {path} do not fit {type(self.net).__name__}: {first[0].strip()}") from error
