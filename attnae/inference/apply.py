"""``attnae apply``: applies a model to images; writes results, comparisons and metrics."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attnae.data import GaussianNoise
from attnae.data.decode import UInt8, UnreadableImage, resize
from attnae.errors import UserError
from attnae.files import write_text
from attnae.inference import images, inputs, pictures, summary
from attnae.inference.inputs import Source
from attnae.inference.load import Model, load
from attnae.inference.terminal import progress, trusting
from attnae.inference.tiles import PIXELS, Rows, blended, extended

BAND = 256
"""Number of rows of an input that are converted to bytes at once."""


@dataclass
class Work:
    """An image to process.

    Attributes:
        source: Source file.
        truth: Ground truth (H, W, 3); ``None`` if unknown.
        rows: Input of the model.
        size: Height and width.
        mask: Hidden pixels (H, W), for inpainting models.
    """

    source: Source
    truth: UInt8 | None
    rows: Rows
    size: tuple[int, int]
    mask: np.ndarray | None = None


def apply(options: argparse.Namespace) -> int:
    """Runs the command; returns 0, or 1 if an image could not be read.

    Raises:
        UserError: No image can be read, an option is not valid for the model, or an output exists.
    """
    found: list[Source] = options.found
    model = load(options.model, options.device)
    inputs.suits(model.task.corruption, model.title, options)
    conversions: Counter[str] = Counter()
    skipped: list[str] = []
    rows: list[dict[str, Any]] = []
    order = {str(source.path): place for place, source in enumerate(found)}
    try:
        with progress(model.title, len(found)) as advance:
            for group in _groups(
                _prepared(model, found, options, conversions, skipped), model.size, options.batch_size
            ):
                began = time.perf_counter()
                made = _restored(model, group, options.batch_size, advance)
                seconds = (time.perf_counter() - began) / len(group)
                for work, output in zip(group, made, strict=True):
                    rows.append(_saved(model, work, output, seconds, options.out))
    finally:  # also after an error or Ctrl-C: the finished images have their numbers
        rows.sort(key=lambda row: order[row["image"]])  # small images have waited for a batch
        if rows:
            write_text(options.out / "metrics.csv", summary.as_csv(rows))
    _report(model, rows, conversions, skipped, options)
    return 1 if skipped else 0


# -- what a model gets to see ------------------------------------------------------------------------------------------


def _prepared(
    model: Model, found: list[Source], options: argparse.Namespace, conversions: Counter[str], skipped: list[str]
) -> Iterator[Work]:
    """Yields the readable images; counts conversions only for these."""

    def prepared(source: Source) -> tuple[Work, Counter[str]]:
        converted: Counter[str] = Counter()
        return _work(model, source, options, converted), converted

    for _, (work, converted) in images.usable(found, prepared, skipped):
        conversions.update(converted)
        yield work


def _work(model: Model, source: Source, options: argparse.Namespace, conversions: Counter[str]) -> Work:
    picture = images.read(source.path, conversions)
    if model.task.tiles:
        pixels = np.asarray(picture)
    else:
        if picture.size != (model.size, model.size):
            conversions[f"resized to {model.size}x{model.size}, the size of this model"] += 1
        pixels = resize(picture, model.size, conversions, str(source.path))
    size = pixels.shape[0], pixels.shape[1]
    if model.task.corruption == "mask":
        if model.task.tiles:
            raise UserError(f"{model.title} fills in and works in tiles, for which there are no masks yet.")
        hidden = mask_for(model, options.mask, picture.size, options.seed, pixels)
        shown = torch.where(torch.from_numpy(hidden), model.fill, images.to_tensor(pixels))
        return Work(source, pixels, lambda top, end: shown[:, top:end], size, hidden)
    if model.task.corruption == "noise" and options.sigma is None:
        return Work(source, None, _rows(pixels), size)
    if model.task.corruption == "noise":
        key = (options.seed, images.identity(pixels))
        return Work(source, pixels, partial(images.noisy_rows, pixels, options.sigma, key), size)
    return Work(source, pixels, _rows(pixels), size)


def _rows(pixels: UInt8) -> Rows:
    return lambda top, end: images.to_tensor(pixels[top:end])


def mask_for(model: Model, mask: str, size: tuple[int, int], seed: int, pixels: UInt8) -> np.ndarray:
    """Returns the mask of a square image.

    Args:
        model: Model whose corruption draws random masks.
        mask: ``random``, or an image file that is white where pixels are hidden, of the size of the image or the model.
        size: Width and height of the image before resizing.
        seed: Seed of the random mask; different images get different masks.
        pixels: The resized image (S, S, 3).

    Returns:
        bool (S, S).

    Raises:
        UserError: The mask has another size, or hides no pixels or all of them; or no mask can be drawn at the model's size.
    """
    if mask == "random":
        index = torch.tensor([images.identity(pixels) + seed])
        try:
            drawn = model.corruption(images.to_tensor(pixels)[None], index, training=False).mask
        except (TypeError, ValueError, RuntimeError) as error:
            line = " ".join(str(error).split())
            raise UserError(
                f"{model.settings}: {type(model.corruption).__name__} cannot draw a mask: {line}"
            ) from error
        if drawn is None:
            raise UserError(f"{model.title} was trained without masks. Pass --mask FILE.")
        return drawn[0, 0].numpy()
    try:
        picture = images.read(Path(mask), Counter())
    except UnreadableImage as error:
        raise UserError(str(error)) from error
    if picture.size not in (size, (model.size, model.size)):
        width, height = picture.size
        raise UserError(
            f"The mask {mask} is {width}x{height}, but an image is {size[0]}x{size[1]}. Use a mask of that size."
        )
    hidden: np.ndarray = resize(picture, model.size, Counter(), mask).mean(2) > 127.5
    if hidden.all() or not hidden.any():
        share = "everything" if hidden.all() else "nothing"
        raise UserError(f"The mask {mask} hides {share} at {model.size}x{model.size}. Use white for hidden pixels.")
    return hidden


# -- applying the model ------------------------------------------------------------------------------------------------


def _groups(works: Iterable[Work], side: int, batch: int) -> Iterator[list[Work]]:
    """Groups images of the model's size into batches; larger images are processed alone."""
    waiting: list[Work] = []
    for work in works:
        if max(work.size) > side:
            yield [work]
        else:
            waiting.append(work)
        if len(waiting) == (batch or max(1, PIXELS // side**2)):
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _restored(model: Model, group: list[Work], batch: int, advance: Any) -> list[UInt8]:
    """8-bit results of the images."""
    side = model.size
    if max(group[0].size) <= side:
        shown = torch.stack([extended(work.rows(0, work.size[0]), side, side) for work in group])
        made = model.restore(shown)
        advance(len(group))
        return [images.to_pixels(m[:, : w.size[0], : w.size[1]]) for m, w in zip(made, group, strict=True)]
    (work,) = group
    output = np.empty((*work.size, 3), np.uint8)
    told = 0.0

    def done(share: float) -> None:
        nonlocal told
        advance(share - told)
        told = share

    for top, band in blended(model.restore, work.rows, work.size, (side, side), model.overlap, batch, done=done):
        output[top : top + band.shape[1]] = images.to_pixels(band)
    return [output]


def _saved(model: Model, work: Work, output: UInt8, seconds: float, folder: Path) -> dict[str, Any]:
    """Writes the result and the comparison; returns the row of the table.

    Where pixels were hidden, the result is the input with the hole filled: pixels outside the mask stay as they are.
    """
    bands = [images.to_pixels(work.rows(top, min(top + BAND, work.size[0]))) for top in range(0, work.size[0], BAND)]
    shown = np.concatenate(bands)
    row: dict[str, Any] = dict.fromkeys(summary.COLUMNS)
    row |= {"image": str(work.source.path), "pixels": f"{work.size[1]}x{work.size[0]}"}
    row |= {"file": f"{work.source.name}.png", "seconds": round(seconds, 3)}
    result, truth, panels = output, work.truth, {"input": shown, "output": output}
    if truth is not None:
        panels = {"input": shown}
        if model.task.corruption:
            row["psnr_input"], row["ssim_input"] = images.quality(shown, truth)
            panels = {f"input {row['psnr_input']:.2f} dB": shown}
        if work.mask is not None:
            panels[f"output {images.quality(output, truth)[0]:.2f} dB"] = output
            row["psnr_hole"], row["psnr_outside"] = (
                images.psnr(output[part][None], truth[part][None]) if part.any() else None
                for part in (work.mask, ~work.mask)
            )
            result = np.where(work.mask[..., None], output, truth)
        row["psnr"], row["ssim"] = images.quality(result, truth)
        panels[f"{'output' if work.mask is None else 'hole filled'} {row['psnr']:.2f} dB"] = result
        if model.task.corruption:
            panels["truth"] = truth
    images.save(result, folder / row["file"])
    images.save(pictures.side_by_side(panels), folder / f"{work.source.name}-compared.png")
    return row


def _report(
    model: Model, rows: list[dict[str, Any]], conversions: Counter[str], skipped: list[str], options: argparse.Namespace
) -> None:
    warning = summary.warning(rows, _trained_on(model))
    if options.json:
        print(summary.as_json(model.title, options.out, rows, conversions, skipped))
        if warning:
            print(warning, file=sys.stderr)
        return
    summary.show(rows)
    for what, times in sorted(conversions.items()):
        print(f"{what}: {times} of {len(rows)} images" if len(rows) > 1 else what)
    if skipped:
        print(f"{len(skipped)} image{'s' * (len(skipped) > 1)} could not be read (see above).")
    print(f"{options.out}: results, *-compared.png side by side, metrics.csv")
    if model.task.corruption == "noise" and options.sigma is None:
        print("Next: add noise with --sigma 0.1 to compare with the original.")
    elif model.task.codes:
        named = shlex.join([str(options.model), *options.images[:1]])
        print(f"Next: attnae encode {named} -o codes{trusting(options.trust)}")
    else:
        print(f"Next: attnae export {shlex.quote(str(options.model))} exported{trusting(options.trust)}")
    if warning:
        print(warning)


def _trained_on(model: Model) -> str:
    """A sentence: images, their size, and the noise that the model knows."""
    noise = model.corruption
    sigma = ""
    if isinstance(noise, GaussianNoise):
        sigma = f" with noise of sigma {noise.low:g}" + (f" to {noise.high:g}" if noise.high > noise.low else "")
    return f"The model was trained on {model.origin.data.get('title', 'images')} of {model.size}x{model.size}{sigma}."
