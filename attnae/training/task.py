"""Base LightningModule of all papers: evaluates under named protocols and draws figures."""

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
from attnae.paths import shown
from attnae.streams import say
from attnae.training import weights
from attnae.training.pictures import save_rows

if TYPE_CHECKING:
    from attnae.metrics.perceptual import Perceptual


class Prediction(NamedTuple):
    """A reconstruction under one protocol.

    Attributes:
        images: Images (B, 3, H, W), in [0, 1] after clamping.
        per_image_metrics: Additional metrics per image (B,), by name, such as the KL divergence.
    """

    images: Tensor
    per_image_metrics: dict[str, Tensor]


class ImageTask(L.LightningModule):
    """Base class of image-to-image tasks.

    A paper implements :meth:`training_step`, :meth:`predictions` and ``configure_optimizers``, optionally :meth:`figures`
    and the methods used by ``attnae apply``, ``encode`` and ``sample``.

    Args:
        net: The network, in plain torch.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        # With channels_last, convolutions of this size are 1.1 to 1.25 times as fast on a CPU, and equally fast on a GPU.
        self.net = net.to(memory_format=torch.channels_last)
        self.selection = ""  # how a test selected its settings, if it did
        self.with_perceptual = False  # compute LPIPS and rFID in tests
        self.perceptual: Perceptual | None = None
        self.quality: dict[str, ImageQuality] = {}
        self.first_batches: dict[str, tuple[Batch, dict[str, Tensor]]] = {}

    def reconstruct(self, batch: Batch) -> Tensor:
        """One forward pass: images (B, 3, H, W), in [0, 1] after clamping. FLOPs are counted for this method."""
        raise NotImplementedError

    def predictions(self, batch: Batch, split: str) -> dict[str, Prediction]:
        """Reconstructions of a batch by protocol.

        Args:
            batch: Inputs and targets.
            split: One of the DataModule's test splits; or ``val``, which must return exactly one prediction.
        """
        raise NotImplementedError

    def figures(self, folder: Path) -> list[Path]:
        """Draws the paper's figures from ``first_batches`` into ``folder`` after a test. Returns their paths."""
        return []

    # -- inference with a trained model, in evaluation mode ----------------------------------------------------

    corruption: ClassVar[Literal["noise", "mask", ""]] = ""
    """Corruption that the model removes; empty for an autoencoder."""

    tiles: ClassVar[bool] = False
    """Whether larger images are processed in overlapping tiles; otherwise they are resized."""

    @property
    def codes(self) -> int:
        """Codebook size of :meth:`encode`; 0 for a model without codes."""
        return 0

    @property
    def latents(self) -> int:
        """Number of latents per image, with a standard normal prior; 0 for a model without a prior."""
        return 0

    def restore(self, images: Tensor) -> Tensor:
        """Output of the model for images (B, 3, S, S) in [0, 1]. Does not depend on the other images of the batch."""
        unknown = torch.arange(images.shape[0], device=images.device)  # len() would fix an exported graph's batch size
        return self.reconstruct(Batch(images, images, None, unknown))

    def encode(self, images: Tensor) -> Tensor:
        """Encodes images (B, 3, S, S) in [0, 1] to codes int64 (B, h, w) in [0, ``codes``)."""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """Decodes codes (B, h, w) of any map size to images (B, 3, H, W), in [0, 1] after clamping."""
        raise NotImplementedError

    def code_frequencies(self) -> Tensor:
        """Relative frequency of each code in training, (``codes``,), at least 0, not normalized."""
        raise NotImplementedError

    def to_latents(self, images: Tensor) -> Tensor:
        """Encodes images (B, 3, S, S) in [0, 1] to their most probable latents (B, ``latents``)."""
        raise NotImplementedError

    def from_latents(self, latents: Tensor) -> Tensor:
        """Decodes latents (B, ``latents``) to images (B, 3, S, S) in [0, 1]."""
        raise NotImplementedError

    # -- training, validation and prediction --------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Seeds the epoch by seed, epoch and rank only, so a resumed run is identical to an uninterrupted one."""
        seed = torch.Generator().manual_seed(run_seed() * 1_000_003 + self.current_epoch * 1009 + self.global_rank)
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=seed)))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs the mean squared error on the validation images."""
        for name, prediction in self.predictions(batch, "val").items():
            mse = (prediction.images.float().clamp(0, 1) - batch.target).square().flatten(1).mean(1)
            self.log(f"{name}/mse", mse.mean(), batch_size=len(mse), prog_bar=True, sync_dist=True)

    def on_predict_start(self) -> None:
        """Removes the pictures of an earlier command, possibly of other weights."""
        if self.trainer.is_global_zero:
            for path in (Path(self.trainer.default_root_dir) / "predictions").glob("[0-9]*.png"):
                path.unlink()
        self.trainer.strategy.barrier()  # before other devices write theirs

    def predict_step(self, batch: Batch, batch_idx: int) -> None:
        """Saves the reconstruction of each held-out image as ``predictions/<index>.png`` in the run folder."""
        folder = Path(self.trainer.default_root_dir) / "predictions"
        for index, image in zip(
            batch.index.tolist(), self.predictions(batch, "heldout")["heldout"].images, strict=True
        ):
            save_rows([image.clamp(0, 1)[None]], folder / f"{index:05}.png")

    def on_predict_end(self) -> None:
        """Says where the images are."""
        if self.trainer.is_global_zero:
            folder = Path(self.trainer.default_root_dir) / "predictions"
            say(f"{shown(folder)}: {sum(1 for _ in folder.glob('*.png'))} images, named by held-out index")

    # -- evaluation ---------------------------------------------------------------------------------------------

    def on_test_start(self) -> None:
        """Resets the metrics."""
        self.quality, self.first_batches = {}, {}
        if self.with_perceptual:
            from attnae.metrics.perceptual import Perceptual  # slow import, rarely needed

            self.perceptual = Perceptual.pretrained(self.device)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Accumulates the metrics of every protocol of the split."""
        split = self.trainer.datamodule.test_splits[dataloader_idx]  # type: ignore[attr-defined]
        predictions = self.predictions(batch, split)
        for protocol, prediction in predictions.items():
            if not prediction.images.isfinite().all():
                raise UserError(f"The {protocol} reconstruction of batch {batch_idx} is not finite. Check the weights.")
            quality = self.quality.setdefault(protocol, ImageQuality().to(self.device))
            per_image = dict(prediction.per_image_metrics)
            if self.perceptual:
                per_image["lpips"] = self.perceptual.update(protocol, prediction.images, batch.target)
            quality.update(prediction.images, batch.target, per_image)
        if batch_idx == 0:
            self.first_batches[split] = (batch, {name: p.images.clamp(0, 1) for name, p in predictions.items()})

    def test_metrics(self) -> dict[str, float]:
        """Metrics of the last test, named ``"<protocol>/<name>"``."""
        numbers = {
            f"{protocol}/{name}": value for protocol, q in self.quality.items() for name, value in q.compute().items()
        }
        return {**numbers, **(self.perceptual.compute() if self.perceptual else {})}

    def parameter_counts(self) -> dict[str, int]:
        """Parameter counts by column name. A paper with its own convention adds a column."""
        parameters = list(self.net.parameters())
        return {
            "params_trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "params_total": sum(p.numel() for p in parameters),
        }

    def gflops_forward(self) -> float:
        """GFLOPs of the forward pass of one image, counted by torch."""
        batch = next(iter(self.first_batches.values()))[0][:2]  # BatchNorm on 1x1 maps cannot train on one image
        net, counter = self.net, FlopCounterMode(display=False)
        self.net = copy.deepcopy(net).train()  # evaluation mode may use fused kernels that the counter does not see
        with counter, torch.no_grad():
            self.reconstruct(batch)
        self.net = net
        return float(counter.get_total_flops()) / len(batch.target) / 1e9

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compares names and shapes before Lightning loads the state dict.

        Raises:
            UserError: The checkpoint was saved from another network.
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
            UserError: The file is missing or damaged, or was saved from another network.
        """
        state = weights.read(path)
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[1:2] or [str(error)]
            raise UserError(f"The weights {path} do not fit {type(self.net).__name__}: {first[0].strip()}") from error
