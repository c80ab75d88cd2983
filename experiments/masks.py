"""Evaluates inpainting models under other masks: ``python experiments/masks.py RUNS... --data-root data/natural64``.

Paper: VAE vs SAAAE trains and tests under one mask, 16 patches of 8x8. This script tests finished runs of ``saaae_vs_vae``
under masks not used in training: more and fewer patches, smaller and larger patches with the same area, a center block,
single pixels, and filtered noise. All models decode the posterior's mean of the same held-out images under the same masks.

Runs of one variant and label count as seeds. ``--out`` writes the output as a report with two figures. The variant of the
first run is the baseline.
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
from attnae.bench.identity import RunId
from attnae.bench.markdown import table
from attnae.bench.reporting.cells import cell, interval, settings_of, unbroken
from attnae.bench.reporting.details import fold
from attnae.bench.reporting.pictures import lines
from attnae.bench.reporting.pictures.lines import Panel
from attnae.bench.reporting.pictures.style import looks
from attnae.bench.reporting.seeds import paired
from attnae.bench.reporting.statistics import Summary, epochs_of
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
"""Maps the title of a variant to its models by seed."""


@dataclass(frozen=True)
class Measured:
    """Results under one mask.

    Attributes:
        hidden: Mean share of hidden pixels.
        errors: Squared error of a variant's reconstructions, mean over images, by title and seed.
    """

    hidden: float
    errors: dict[str, dict[int, float]]

    def mean(self, title: str) -> float:
        """Mean error of a variant over its seeds."""
        return fmean(self.errors[title].values())


def measure(variants: Variants, images: Tensor, mask: Mask, batch: int = 256) -> Measured:
    """Measures the reconstruction error of images (N, 3, 64, 64) in [0, 1] under a mask."""
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
    """Formats the results as Markdown: a table of differences to the baseline, and further ones for what does not fit."""
    base, *others = variants
    usual = measured["patches of 8x8"]["16"]
    rows: list[tuple[str, list[str]]] = []
    for family, sizes in measured.items():
        for size, one in sizes.items():
            cells = [f"{one.hidden:.1%}", unbroken(cell(Summary.of(list(one.errors[base].values())), "sse"))]
            cells.append(f"{one.mean(base) / usual.mean(base):.2f}x")
            for title in others:
                found = paired(one.errors[title], one.errors[base])
                cells.append(unbroken(interval(found, "sse")) if found else "-")
            rows.append((f"{family}: {size}", cells))

    def block(chosen: list[str], lead: int) -> str:
        heads = ["mask", *["hidden", base, "vs. training mask"][:lead], *(f"{title} - {base}" for title in chosen)]
        places = [*range(lead), *(3 + others.index(title) for title in chosen)]
        return table(heads, [[mask, *(cells[place] for place in places)] for mask, cells in rows])

    blocks = [
        "# VAE vs SAAAE: masks beyond the paper",
        f"Squared error per image ({COLUMNS['sse'].unit}; lower is better) over {count:,} held-out images of {data}, each with "
        "its own fixed mask. The posterior's mean is decoded; visible pixels are included. Mean over seeds ± standard "
        f"deviation; differences to {base} over common seeds with 95% intervals (Student's t). A single seed has no interval: "
        "its result may be due to its weights rather than to its variant. Generated by `python experiments/masks.py`.",
        "![Squared error over the share of hidden pixels](degradation.png)",
        block(others[:WIDE], 3),
        *(fold("Other variants", block(others[start : start + 4], 0)) for start in range(WIDE, len(others), 4)),
        "Patches may overlap, so that they hide less than the sum of their areas. Colors of noise are filters as in ColorMAE "
        "(arXiv 2407.13036): red passes low frequencies (large spots), blue high ones, green a band, purple all but that "
        "band; Gaussians of 1 and 4 pixels.",
        "![One image under each mask, and its reconstruction by each model](examples.png)",
        f"Rows of the figure: input, {', '.join([base, *others])}; each variant's first seed. Columns: {columns()}.",
        fold(
            "Training", "\n".join(f"- {title}: {describe(list(models.values()))}" for title, models in variants.items())
        ),
    ]
    return "\n\n".join(blocks) + "\n"


WIDE = 2
"""Number of variants next to the baseline in the first table."""


def columns() -> str:
    """Names of the masks in the figure."""
    return "; ".join(f"{family} ({', '.join(sizes)})" for family, sizes in MASKS.items())


def describe(models: list[Model]) -> str:
    """Training of a variant's models."""
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
    """Draws an image (1, 3, 64, 64) under each mask, and its reconstruction by each model."""
    every = [mask for sizes in MASKS.values() for mask in sizes.values()]
    inputs = torch.cat([mask(image, torch.zeros(1, dtype=torch.int64), training=False).input for mask in every])
    save_rows([inputs, *(next(iter(models.values())).restore(inputs) for models in variants.values())], path)


def opened(runs: list[Path]) -> Variants:
    """Opens the runs as models, in order of the first occurrence of their variants.

    Raises:
        UserError: A folder is not a finished run of an inpainting model for 64x64 images, or a seed occurs twice.
    """
    variants: Variants = {}
    for run in runs:
        model = attnae.load(run)
        if model.task.corruption != "mask" or model.size != 64:
            raise UserError(f"{run} is not an inpainting model for 64x64 images. Pass runs of saaae_vs_vae.")
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
            raise UserError(f"{run}: duplicate run of {title} with seed {seed}. Leave one out.")
        variants[title][seed] = model
    return variants


def main() -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description="Squared error of finished runs under masks beyond the paper's.")
    parser.add_argument(
        "runs", nargs="+", type=Path, help="folders of finished runs of saaae_vs_vae, the baseline first"
    )
    parser.add_argument("--data-root", type=Path, help="folder of images; default: embedded images")
    parser.add_argument("--images", type=int, default=1000, help="number of held-out images, from the first")
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
