"""Denoise a picture of any size with a model that was trained for a minute on crops of 32x32 pixels."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from common import arguments, images, save, write
from skimage import data

import attnae
import attnae.bench as bench
from attnae.metrics.functional import psnr

options = arguments(__doc__)
bench.run(
    "moe_denoising",
    variants=["dncnn"],
    data=options.data_root,
    overrides={"trainer.max_epochs": 15, "data.init_args.batch_size": 8, "trainer.accelerator": "cpu"},
    label="denoise",
    out=options.work / "runs",
    reports=options.work / "reports",
)
(folder,) = (options.work / "runs/moe_denoising/denoise/dncnn").glob("seed1-*")
model = attnae.load(folder)

if options.data_root:
    clean = images(options.data_root, "test", 256)[:1]
else:
    photograph = torch.from_numpy(data.chelsea().copy())  # (300, 451, 3), not among the training images
    clean = photograph.permute(2, 0, 1)[None] / 255
noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
noisy = (clean + 0.2 * noise).clamp(0, 1)
denoised = model(noisy)  # in overlapping tiles

lines = []
figure, axes = plt.subplots(1, 3, figsize=(9, 0.4 + 3 * clean.shape[2] / clean.shape[3]))
for axis, (title, picture) in zip(axes, {"noisy": noisy, "denoised": denoised, "clean": clean}.items(), strict=True):
    quality = "" if picture is clean else f", {psnr(picture, clean).item():.1f} dB"
    axis.imshow(picture[0].permute(1, 2, 0).numpy())
    axis.set_title(title + quality, fontsize=11)
    axis.axis("off")
    lines.append(title + quality)
write(options.out / "denoise.txt", lines)
figure.tight_layout(pad=0.4)
save(figure, options.out / "denoise.png")
