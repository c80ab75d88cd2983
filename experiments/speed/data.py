"""Times the input pipeline alone: ``python experiments/speed/data.py CelebAHQDataModule --size 256 --batch 16``.

Measures the training images per second of the loader and ``on_after_batch_transfer`` with a complete cache: indexing, copying,
transfer to the device, conversion to floats and corruption. If the ``images_per_second`` of a training (see its
``result.json``) are close to this number, the training is limited by its data.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import torch

import attnae.data
from attnae.data import GaussianNoise, ImageDataModule, PatchMask

DEFAULTS = {"STL10DataModule": (64, 256), "CIFAR10DataModule": (32, 64), "CelebAHQDataModule": (256, 16)}
"""Image size and batch size of the papers."""


def datamodule(name: str, size: int, batch: int, root: Path | None) -> ImageDataModule:
    """The DataModule with its paper's corruption."""
    corruption = {"STL10DataModule": PatchMask, "CIFAR10DataModule": GaussianNoise}.get(name)
    return getattr(attnae.data, name)(
        **({"corruption": corruption()} if corruption else {}), root=root, image_size=size, batch_size=batch
    )


def main() -> None:
    """Prints the rate."""
    parser = argparse.ArgumentParser(description="Images per second of a DataModule, without any training.")
    parser.add_argument("datamodule", nargs="?", default="CelebAHQDataModule", choices=DEFAULTS)
    parser.add_argument("--size", type=int, help="height and width in pixels; default: as in the paper")
    parser.add_argument("--batch", type=int, help="images per batch; default: as in the paper")
    parser.add_argument("--root", type=Path, help="folder of images; default: embedded images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--epochs", type=int, default=5, help="number of timed epochs, after one for warm-up")
    arguments = parser.parse_args()
    size, batch = (
        given or usual
        for given, usual in zip((arguments.size, arguments.batch), DEFAULTS[arguments.datamodule], strict=True)
    )
    device = torch.device(arguments.device)

    data = datamodule(arguments.datamodule, size, batch, arguments.root)
    start = time.perf_counter()
    data.prepare_data()
    data.setup("fit")
    opened = time.perf_counter() - start
    # Without a trainer, a DataModule uses the corruption of evaluation.
    data.trainer = SimpleNamespace(training=True, testing=False, world_size=1, global_rank=0)  # type: ignore[assignment]
    loader, seconds = data.train_dataloader(), []
    for epoch in range(arguments.epochs + 1):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        start, images = time.perf_counter(), 0
        for pixels, index in loader:
            moved = (pixels.to(device, non_blocking=True), index.to(device, non_blocking=True))
            images += len(data.on_after_batch_transfer(moved, 0).input)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    typical = median(seconds[1:])
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, to {device}")
    print(f"{data.location.title}, {images:,} training images at {size}x{size}, batches of {batch}")
    print(f"cache built or opened in {opened:.1f} s")
    print(
        f"epoch: {typical:.3f} s, {images / typical:,.0f} images/s, {images * size**2 * 3 / typical / 1e6:,.0f} MB/s of pixels"
    )


if __name__ == "__main__":
    main()
