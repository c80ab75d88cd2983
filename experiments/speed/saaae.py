"""Compares the speed of VAE and SAAAE with the released loop: ``python experiments/speed/saaae.py --root data/natural64``.

The reference below is a plain implementation of that loop: PIL opens, decodes and resizes each image at every access, NumPy
draws the masks, attention is ``nn.MultiheadAttention`` followed by a linear layer, memory is contiguous, and Adam is torch's
default. It runs in a separate process, like a plain script, with the C library's default memory settings. Ours is the code of
``attnae fit``: DataModule, task and trainer. The two alternate epoch by epoch, so other load on the machine affects both. Epochs
are timed from the second one. The reference computes in fp32, ours in each precision.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
import warnings
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from timing import PRODUCT, add_precisions, autocast, epoch_overhead, product, rounded, seconds
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from attnae.bench.precision import TRAINER
from attnae.data import PatchMask, STL10DataModule
from attnae.data.layout import split_files
from attnae.papers.saaae import SAAAE, VAE, SAAAETask
from attnae.papers.saaae.net import SelfAttentionGate
from attnae.papers.saaae.task import objective
from attnae.training.bfloat16 import PortableBFloat16
from attnae.training.memory import keep_freed_memory

BATCH = 256


class Files(Dataset[Tensor]):
    """Image files, decoded and resized at every access; (3, 64, 64) in [-1, 1]."""

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as opened:
            resized = opened.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(resized, np.float32).transpose(2, 0, 1) / 127.5 - 1)


class PlainGate(SelfAttentionGate):
    """The gate computed by its modules for any batch size."""

    def _folds(self, images: Tensor) -> bool:
        return False


class Reference:
    """The released loop.

    Args:
        net: The network; its attention gate is replaced by the plain one.
        paths: The images.
    """

    def __init__(self, net: VAE, paths: list[Path]):
        if isinstance(net, SAAAE):
            net.attention_gate = PlainGate(64, net.latent_dim)
        self.net, self.adam = net, torch.optim.Adam(net.parameters(), lr=1e-3)
        self.loader = DataLoader(Files(paths), BATCH, shuffle=True)
        self.draws = np.random.default_rng(42)

    def epoch(self) -> float:
        """Trains for an epoch and returns its objective."""
        total = 0.0
        for images in self.loader:
            masked = images.clone()
            for top, left in self.draws.integers(0, 56, (16, 2)):
                masked[:, :, top : top + 8, left : left + 8] = 0
            total += self.step(masked, images)
        return total

    def step(self, masked: Tensor, images: Tensor) -> float:
        """Trains on a batch."""
        made, posterior = self.net(masked)
        error, divergence = objective(made, images, posterior)
        self.adam.zero_grad()
        loss = (error + divergence).sum()
        loss.backward()
        self.adam.step()
        return loss.item()


def serve_reference(turns: Connection, net: type[VAE], paths: list[Path], threads: int) -> None:
    """Runs an epoch of the reference per request, and returns its seconds."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    reference = Reference(net(), paths)
    while turns.recv():
        start = time.perf_counter()
        reference.epoch()
        turns.send(time.perf_counter() - start)


class Turns(Callback):
    """Runs an epoch of the reference before each epoch of the trainer, and records the seconds of both."""

    def __init__(self, reference: Connection):
        self.reference, self.theirs, self.ours = reference, list[float](), list[float]()

    def on_train_epoch_start(self, *_: Any) -> None:
        """Runs an epoch of the reference."""
        self.reference.send(True)
        self.theirs.append(self.reference.recv())
        self.began = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        """Records the seconds of the trainer's epoch."""
        self.ours.append(time.perf_counter() - self.began)


def epochs(
    net: type[VAE], root: Path, paths: list[Path], count: int, precision: str
) -> tuple[list[float], list[float]]:
    """Seconds of each epoch except the first, for the reference and for ours."""
    spawn = get_context("spawn")
    here, there = spawn.Pipe()
    spawn.Process(target=serve_reference, args=(there, net, paths, torch.get_num_threads()), daemon=True).start()
    turns = Turns(here)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=count + 1, precision=TRAINER[precision], logger=False,
        callbacks=[PortableBFloat16(), turns], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(SAAAETask(net()), data_of(root, paths))
    here.send(False)
    return turns.theirs[1:], turns.ours[1:]


def data_of(root: Path, paths: list[Path]) -> STL10DataModule:
    """Our DataModule of the same images."""
    return STL10DataModule(PatchMask(), root, batch_size=BATCH, train_images=len(paths))


def step_share(net: type[VAE], repeats: int, precision: str) -> tuple[float, float, float, float]:
    """Our training step: GFLOP, seconds, GFLOP/s of matrix products on this machine, and the share of that rate reached.

    Matrix product and step alternate, both in the given precision. The step is forward pass, backward pass and optimizer.
    """
    task, images = SAAAETask(net()), torch.rand(BATCH, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    adam = task.configure_optimizers()
    multiply = product(precision)

    def step() -> None:
        with autocast(precision):
            made, posterior = task.net(images)
            error, divergence = objective(made, images, posterior)
        adam.zero_grad()
        (error + divergence).sum().backward()
        adam.step()

    timed = rounded(step, precision)
    with FlopCounterMode(display=False) as counter:
        timed()
    operations = counter.get_total_flops() / 1e9
    rounds = [(seconds(multiply, 9), seconds(timed, 1)) for _ in range(repeats)]
    rates = [PRODUCT / multiplied / 1e9 for multiplied, _ in rounds]
    shares = [operations / taken / rate for (_, taken), rate in zip(rounds, rates, strict=True)]
    return operations, median(taken for _, taken in rounds), median(rates), median(shares)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description="VAE and SAAAE against the released loop, on this machine's CPU.")
    parser.add_argument("--root", type=Path, required=True, help="folder with train/ and test/ folders of images")
    parser.add_argument("--images", type=int, default=1024, help="number of training images, from the first")
    parser.add_argument("--epochs", type=int, default=3, help="number of timed epochs, after one for warm-up")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    add_precisions(parser)
    arguments = parser.parse_args()
    arguments.precisions.sort(reverse=True)  # fp32 first: the others are compared with it
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    files, _ = split_files("STL-10", arguments.root)
    paths = [file.path for file in files["train"][: arguments.images]]
    if len(paths) < BATCH or arguments.epochs < 1:
        parser.error(
            f"at least {BATCH} training images and one epoch are required; {arguments.root} has {len(paths)} images"
        )
    with Image.open(paths[0]) as first:
        size = "x".join(map(str, first.size))
    print(
        f"{platform.machine()}, {arguments.threads} threads, torch {torch.__version__}, batch {BATCH}; "
        f"{len(paths):,} images of {size} ({paths[0].suffix})\n"
    )
    nets = [(name, net, each) for name, net in (("vae", VAE), ("saaae", SAAAE)) for each in arguments.precisions]
    print(f"{'epoch':8}{'precision':>10}{'released':>22}{'ours':>22}{'ratio':>8}{'overhead':>10}")
    for name, net, each in nets:
        theirs, ours = epochs(net, arguments.root, paths, arguments.epochs, each)
        ratio = median(slow / fast for slow, fast in zip(theirs, ours, strict=True))
        extra = epoch_overhead(SAAAETask(net()), data_of(arguments.root, paths), each)
        print(f"{name:8}{each:>10}{_spread(theirs):>22}{_spread(ours):>22}{ratio:>7.2f}x{extra:>10.1%}", flush=True)
    print(
        f"\n{'step':8}{'precision':>10}{'GFLOP':>10}{'seconds':>10}{'vs fp32':>9}{'GFLOP/s':>10}"
        f"{'matrix product':>16}{'share':>8}"
    )
    single: dict[str, float] = {}
    for name, net, each in nets:
        operations, taken, rate, share = step_share(net, arguments.epochs, each)
        if each == "fp32":
            single[name] = taken
        gain = f"{single[name] / taken:.2f}x" if name in single else "-"
        print(
            f"{name:8}{each:>10}{operations:>10.0f}{taken:>10.2f}{gain:>9}{operations / taken:>10.0f}"
            f"{rate:>16.0f}{share:>8.0%}"
        )


def _spread(values: list[float]) -> str:
    return f"{median(values):.1f} s ({min(values):.1f}-{max(values):.1f})"


if __name__ == "__main__":
    main()
