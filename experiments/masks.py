"""How models that fill in degrade under other masks: ``python experiments/masks.py RUNS... --data-root data/natural64``.

Paper: VAE vs SAAAE trains and tests under one mask, 16 patches of 8x8. Here finished runs of ``saaae_vs_vae``, each named by its
folder, meet masks that they were not trained on: more and fewer patches, smaller and larger ones of the same area, a block in
the middle, single pixels, and filtered noise. All decode the posterior's mean of the same held-out images under the same masks.

Runs of one variant and label count as its seeds. ``--out`` writes what it prints as a report, with two figures; the first run's
variant is what the others are compared with.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

import attnae
from attnae.bench.reporting.cells import cell, interval, settings_of
from attnae.bench.reporting.pictures import lines
from attnae.bench.reporting.pictures.lines import Panel
from attnae.bench.reporting.pictures.style import looks
from attnae.bench.reporting.seeds import paired
from attnae.bench.reporting.statistics import Summary, epochs_of
from attnae.bench.run import RunId
from attnae.data import CenterMask, ColorNoiseMask, PatchMask, PixelMask, STL10DataModule
from attnae.data.masks import Mask
from attnae.errors import UserError
from attnae.files import write_text
from attnae.inference.load import Model
from attnae.metrics.columns import COLUMNS
from attnae.result import Result
from attnae.training.pictures import save_rows

MASKS: dict[str, dict[str, Mask]] = {
    "patches of 8x8": {str(n): PatchMask(patches=n) for n in (8, 16, 24, 32)},
    "patches of one area": {f"{1024 // s**2} of {s}x{s}": PatchMask(1024 // s**2, s) for s in (4, 8, 16)},
    "block in the middle": {f"{s}x{s}": CenterMask(s) for s in (16, 32, 48)},
    "single pixels": {f"{r:.0%}": PixelMask(r) for r in (0.25, 0.5, 0.75)},
    **{
        f"{color} noise": {f"{r:.0%}": ColorNoiseMask(color, r) for r in (0.25, 0.5)} for color in ColorNoiseMask.colors
    },
}
"""Masks by family, each family from mild to severe or from fine to coarse."""

Variants = dict[str, dict[int, Model]]
"""Title of a variant to its models by seed."""


@dataclass(frozen=True)
class Measured:
    """Under one mask.

    Attributes:
        hidden: Mean share of hidden pixels.
        errors: Squared error of a variant's reconstructions, mean over images, by title and seed.
    """

    hidden: float
    errors: dict[str, dict[int, float]]

    def mean(self, title: str) -> float:
        """A variant's error, mean over its seeds."""
        return fmean(self.errors[title].values())


def measure(variants: Variants, images: Tensor, mask: Mask, batch: int = 256) -> Measured:
    """Reconstructs images (N, 3, 64, 64) in [0, 1] under a mask."""
    hidden: list[Tensor] = []
    total = {title: dict.fromkeys(models, 0.0) for title, models in variants.items()}
    for index in torch.arange(len(images)).split(batch):
        made = mask(images[index], index, training=False)
        assert made.mask is not None
        hidden.append(made.mask.flatten(1).float().mean(1))
        for title, models in variants.items():
            for seed, model in models.items():
                total[title][seed] += float((model.restore(made.input) - made.target).double().square().sum())
    errors = {title: {seed: sum_ / len(images) for seed, sum_ in sums.items()} for title, sums in total.items()}
    return Measured(float(torch.cat(hidden).mean()), errors)


def page(measured: dict[str, dict[str, Measured]], variants: Variants, data: str, count: int) -> str:
    """What was measured, as Markdown."""
    base, *others = variants
    header = ["mask", "", "hidden", base, *(cell for title in others for cell in (title, f"{title} - {base}"))]
    text = [
        "# VAE vs SAAAE: masks beyond the paper",
        "",
        f"Made by `python experiments/masks.py`: squared error per image, {COLUMNS['sse'].unit}, lower is better, over",
        f"{count:,} held-out images of {data}, each with its own fixed mask. The posterior's mean is decoded;",
        "visible pixels count as well. Mean over seeds ± standard deviation; in brackets the mean relative to that under the",
        "training's mask, 16 patches of 8x8. Differences are over seeds that both have, with 95% intervals (Student's t).",
        "One seed has none: what it shows may be its weights' rather than its variant's.",
        "",
        *(f"- {title}: {describe(list(models.values()))}" for title, models in variants.items()),
        "",
        f"| {' | '.join(header)} |",
        f"|---|---|{'---:|' * (len(header) - 2)}",
    ]
    usual = measured["patches of 8x8"]["16"]
    for family, sizes in measured.items():
        for place, (size, one) in enumerate(sizes.items()):
            cells = [f"{one.hidden:.1%}"]
            for title, errors in one.errors.items():
                shown = cell(Summary.of(list(errors.values())), "sse")
                cells.append(f"{shown} ({one.mean(title) / usual.mean(title):.2f}x)")
                if title != base:
                    found = paired(errors, one.errors[base])
                    cells.append(interval(found, "sse") if found else "-")
            text.append(f"| {family if place == 0 else ''} | {size} | {' | '.join(cells)} |")
    text += [
        "",
        "Patches may overlap, so that they hide less than the sum of their areas. Colors of noise are filters as in ColorMAE",
        "(arXiv 2407.13036): red passes low frequencies (large spots), blue high ones, green a band, purple all but that band;",
        "Gaussians of 1 and 4 pixels.",
        "",
        "![Squared error over the share of hidden pixels](degradation.png)",
        "",
        "![One image under each mask, and what each model makes of it](examples.png)",
        "",
        f"Rows of the picture: input, {', '.join(variants)}; each variant's first seed. Columns: {columns()}.",
        "",
    ]
    return "\n".join(text)


def columns() -> str:
    """The masks of the picture in words."""
    return "; ".join(f"{family} ({', '.join(sizes)})" for family, sizes in MASKS.items())


def describe(models: list[Model]) -> str:
    """Where a variant's models come from."""
    told = []
    for origin in (model.origin for model in models):
        if not isinstance(origin, Result):
            return type(models[0].task.net).__name__
        told.append(
            f"{epochs_of([origin])} epochs on {origin.data.get('title')}, config {RunId.of(origin).config8}, seed {origin.seed}"
        )
    return "; ".join(told)


def draw_errors(measured: dict[str, dict[str, Measured]], titles: list[str], path: Path) -> None:
    """Squared error by how much is hidden: a panel for each kind of mask, a line for each model, below it the difference."""
    panels = []
    for family, sizes in measured.items():
        shares = [100 * one.hidden for one in sizes.values()]
        alike = max(shares) - min(shares) < 1  # masks of one area, from fine to coarse
        places = [float(place) for place in range(1, len(sizes) + 1)] if alike else shares
        curves = {
            title: {seed: {x: one.errors[title][seed] for x, one in zip(places, sizes.values(), strict=True)}
                    for seed in next(iter(sizes.values())).errors[title]}
            for title in titles
        }  # fmt: skip
        x = f"from fine to coarse: {', '.join(sizes)}" if alike else "hidden pixels [%]"
        panels.append(Panel(family, x, "squared error per image", "", curves, epochs=alike))
    lines.draw(panels, looks({title: title for title in titles}), titles[0], path)


def draw_examples(variants: Variants, image: Tensor, path: Path) -> None:
    """An image (1, 3, 64, 64) under each mask, and what each model makes of it."""
    every = [mask for sizes in MASKS.values() for mask in sizes.values()]
    inputs = torch.cat([mask(image, torch.zeros(1, dtype=torch.int64), training=False).input for mask in every])
    save_rows([inputs, *(next(iter(models.values())).restore(inputs) for models in variants.values())], path)


def opened(runs: list[Path]) -> Variants:
    """Runs as models, in the order in which their variants are named first.

    Raises:
        UserError: A folder is not a finished run that fills images of 64x64 in, or a seed occurs twice.
    """
    variants: Variants = {}
    for run in runs:
        model = attnae.load(run)
        if model.task.undoes != "mask" or model.size != 64:
            raise UserError(f"{run} does not fill images of 64x64 in. Name runs of saaae_vs_vae.")
        origin = model.origin
        title, seed = run.name, 0
        if isinstance(origin, Result):
            title, seed = ", ".join([origin.variant, *settings_of(origin)]), origin.seed
        known = [
            RunId.of(other.origin).config8
            for other in variants.get(title, {}).values()
            if isinstance(other.origin, Result)
        ]
        if isinstance(origin, Result) and known and known[0] != RunId.of(origin).config8:
            raise UserError(f"{run}: {title} was trained otherwise than the one before, these are not its seeds.")
        if seed in variants.setdefault(title, {}):
            raise UserError(f"{run}: {title} with seed {seed} is named twice.")
        variants[title][seed] = model
    return variants


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Squared error of finished runs under masks beyond the paper's.")
    parser.add_argument(
        "runs", nargs="+", type=Path, help="folders of finished runs of saaae_vs_vae, the baseline first"
    )
    parser.add_argument("--data-root", type=Path, help="folder of the images; the embedded ones by default")
    parser.add_argument("--images", type=int, default=1000, help="held-out images, the first ones")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--out", type=Path, help="folder for README.md and figures; default: print only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        variants = opened(arguments.runs)
        data = STL10DataModule(PatchMask(), arguments.data_root, test_images=arguments.images)
        data.prepare_data()
        data.setup("test")
    except UserError as error:
        parser.error(str(error))
    images = torch.from_numpy(np.array(data.pixels("test"))).permute(0, 3, 1, 2).float() / 255
    measured = {
        family: {size: measure(variants, images, mask) for size, mask in sizes.items()}
        for family, sizes in MASKS.items()
    }
    text = page(measured, variants, data.location.title, len(images))
    print(text)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_text(arguments.out / "README.md", text)
        draw_errors(measured, list(variants), arguments.out / "degradation.png")
        draw_examples(variants, images[:1], arguments.out / "examples.png")


if __name__ == "__main__":
    main()
