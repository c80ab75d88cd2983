"""The same images for all variants, with the PSNR and an error map of each output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from attnae.bench.reporting.pictures.style import SMALL, WIDTH, plain, save

SHOWN = 4
"""Number of images; each takes two columns (output and error), each 100 pixels wide on a page."""

PADDING = 2
"""Pixels around each image in the strips saved by runs."""

Pixels = NDArray[np.float64]


def read_strip(path: Path) -> Pixels | None:
    """Images (N, H, H, 3) in [0, 1] of a strip; ``None`` if the file is missing, truncated or not a strip of squares."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"), dtype=np.float64) / 255
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    height, width = pixels.shape[:2]
    if height == width:  # a single image has no padding
        return pixels[None]
    side = height - 2 * PADDING
    count, rest = divmod(width - PADDING, side + PADDING) if side > 0 else (0, 1)
    if rest or not count:
        return None
    starts = [PADDING + place * (side + PADDING) for place in range(count)]
    return np.stack([pixels[PADDING : PADDING + side, start : start + side] for start in starts])


def psnr(output: Pixels, truth: Pixels) -> float:
    """Peak signal-to-noise ratio of one image in dB, at most 100, from the displayed pixels."""
    error = float(((output - truth) ** 2).mean())
    return min(100.0, -10 * np.log10(error)) if error else 100.0


def draw(title: str, protocol: str, folders: Mapping[str, Path], path: Path) -> None:
    """Draws the ground truth, the input if it differs, and the output and error of each variant.

    Args:
        title: Title of the figure.
        protocol: Prefix of the strips.
        folders: ``images`` folders of runs by the variant's title.
        path: File to write; nothing is written if runs saved no strips or different images.
    """
    outputs = {name: strip for name, folder in folders.items()
               if (strip := read_strip(folder / f"{protocol}-output.png")) is not None}  # fmt: skip
    if not outputs:
        return
    anyone = folders[next(iter(outputs))]
    truth = read_strip(anyone / f"{protocol}-truth.png")
    if truth is None or any(strip.shape != truth.shape for strip in outputs.values()):
        return
    given = read_strip(anyone / f"{protocol}-input.png")  # an autoencoder's input is the ground truth
    truth, outputs = truth[:SHOWN], {name: strip[:SHOWN] for name, strip in outputs.items()}
    count = len(truth)
    rows = dict(outputs)
    if given is not None and given[:SHOWN].shape == truth.shape:
        same = any(np.array_equal(given[:SHOWN], strip) for strip in outputs.values())  # an identity variant
        rows = outputs if same else {"input": given[:SHOWN], **outputs}
    errors = {name: np.abs(strip - truth[: len(strip)]).mean(3) for name, strip in rows.items()}
    # The input, for example behind a mask, may be far worse than all outputs, so it is excluded from the color scale.
    largest = max(0.02, float(np.quantile(np.concatenate([errors[name].ravel() for name in outputs]), 0.995)))
    labels = min(1.5, 0.2 + 0.075 * max(len(name) for name in rows))
    side = (WIDTH - labels) / (2 * SHOWN)
    height = (len(rows) + 1) * (side + 0.17) + 0.85
    figure = Figure(figsize=(labels + 2 * count * side, height))
    figure.text(0.99, 1 - 0.1 / height, title, ha="right", va="top", fontsize=11)
    cells = figure.subplots(len(rows) + 1, 2 * count, squeeze=False,
                            gridspec_kw={"left": labels / (labels + 2 * count * side), "right": 0.998, "top": 1 - 0.4 / height,
                                         "bottom": 0.62 / height, "wspace": 0.04, "hspace": 0.19})  # fmt: skip
    for axes in cells.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    _label(cells[0, 0], "truth")
    for place in range(count):
        cells[0, 2 * place].imshow(truth[place])
        cells[0, 2 * place].set_title(f"image {place + 1}", fontsize=SMALL, pad=2)
        cells[0, 2 * place + 1].set_xlabel("error", fontsize=SMALL, labelpad=-10)
    shade = None
    for line, (name, strip) in zip(cells[1:], rows.items(), strict=True):
        _label(line[0], name)
        for place in range(count):
            line[2 * place].imshow(strip[place])
            line[2 * place].set_title(f"{psnr(strip[place], truth[place]):.1f} dB", fontsize=SMALL, pad=2)
            shade = line[2 * place + 1].imshow(errors[name][place], cmap="magma", vmin=0, vmax=largest)
    if shade is not None:
        bar = figure.add_axes((0.35, 0.42 / height, 0.45, 0.1 / height))
        figure.colorbar(shade, cax=bar, orientation="horizontal", extend="max").ax.tick_params(labelsize=SMALL, pad=1)
        figure.text(0.34, 0.42 / height, "error: mean |output - truth| over RGB", ha="right", fontsize=SMALL)
    save(figure, path)


def _label(axes: Axes, text: str) -> None:
    words = plain(text)
    axes.set_ylabel(
        words if len(words) < 18 else words.replace(", ", ",\n", 1),
        rotation=0,
        ha="right",
        va="center",
        fontsize=SMALL + 0.5,
    )
