"""Code faces with a VQ-VAE: bits per pixel against error for three codebooks, and the faces that come back."""

from __future__ import annotations

import matplotlib.pyplot as plt
from common import arguments, images, save, write

import attnae
import attnae.bench as bench

TITLES = {
    "plain_ema": "moving averages",
    "plain_kmeans": "k-means start",
    "plain_fsq": "FSQ",
}

options = arguments(__doc__)
results = bench.run(
    "vq_codebooks",
    variants=list(TITLES),
    data=options.data_root,
    overrides={"trainer.accelerator": "cpu"},
    label="rate",
    out=options.work / "runs",
    reports=options.work / "reports",
)

faces = images(options.data_root, "test", 128, embedded="faces")[:4]
figure = plt.figure(figsize=(9, 4.6))
left, right = figure.subfigures(1, 2, width_ratios=(4, 5))
plot = left.subplots()
grid = right.subplots(len(TITLES) + 1, len(faces))
lines, numbers = {"original": faces}, []
for row in results.rows():
    title, rate, error = TITLES[row["variant"]], row["heldout/bits_per_pixel"], row["heldout/mse"]
    numbers.append(f"{title:16} {rate:.4f} bits per pixel, MSE {error:.5f}")
    plot.plot(rate, error, "o", label=title)
    (folder,) = (options.work / "runs/vq_codebooks/rate" / row["variant"]).glob("seed1-*")
    lines[title] = attnae.load(folder)(faces)
write(options.out / "rate.txt", numbers)
worst = max(row["heldout/mse"] for row in results.rows())
plot.set(xlabel="bits per pixel", ylabel="MSE of held-out faces", ylim=(0, 1.1 * worst))
plot.locator_params(axis="x", nbins=4)
plot.legend(fontsize=9)
left.subplots_adjust(left=0.23, right=0.97, bottom=0.13, top=0.96)
for axes, (title, pictures) in zip(grid, lines.items(), strict=True):
    for axis, picture in zip(axes, pictures, strict=True):
        axis.imshow(picture.permute(1, 2, 0).numpy())
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(title, fontsize=8, rotation=0, ha="right", va="center")
right.subplots_adjust(left=0.24, right=0.99, bottom=0.02, top=0.98, wspace=0.05, hspace=0.05)
save(figure, options.out / "rate.png")
