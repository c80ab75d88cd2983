"""What the examples share: their arguments, the folder of their runs, and rows of pictures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from attnae.data.content import load
from attnae.data.location import locate

HERE = Path(__file__).resolve().parent


def arguments(text: str | None) -> argparse.Namespace:
    """Options of an example. Pictures of the embedded images lie beside the scripts, those of others in the folder of the runs.

    Returns:
        ``data_root``, ``work`` (folder of the runs) and ``out`` (folder of the picture), as absolute paths.
    """
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--data-root", type=Path, help="folder of images; default: the embedded images")
    parser.add_argument("--work", type=Path, default=Path("runs/gallery"), help="folder of runs; default: runs/gallery")
    options = parser.parse_args()
    options.work = options.work.resolve()
    if options.data_root:
        options.data_root = options.data_root.resolve()
        options.work /= options.data_root.name
    options.out = options.work if options.data_root else HERE
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def images(root: Path | None, split: str, size: int, embedded: str = "photos") -> Tensor:
    """Images (N, 3, size, size) in [0, 1] of ``train`` or ``test``: those below ``root``, else the embedded ones."""
    splits, _ = load(locate("CIFAR-10", embedded, root), size, None)
    return torch.from_numpy(splits[split].pixels.copy()).permute(0, 3, 1, 2) / 255


def rows(path: Path, pictures: Mapping[str, Tensor]) -> None:
    """Writes rows of images (B, 3, H, W) in [0, 1] with a label each; 900 pixels wide."""
    count = len(next(iter(pictures.values())))
    figure, axes = plt.subplots(len(pictures), count, figsize=(9, 9 * len(pictures) / (count + 0.7)), squeeze=False)
    for line, (label, images) in zip(axes, pictures.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy())
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, fontsize=11)
    figure.tight_layout(pad=0.4)
    save(figure, path)


def write(path: Path, lines: Sequence[str]) -> None:
    """Prints lines and keeps them for the page."""
    text = "\n".join(lines)
    print(text)
    path.write_text(text + "\n", encoding="utf-8")


def save(figure: plt.Figure, path: Path) -> None:
    """Writes a figure without a date, so that equal pictures are equal files."""
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
