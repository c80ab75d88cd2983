"""Denoise a photograph of any size with the models that ship with the package: nothing is trained."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from common import arguments, images, save, write
from skimage import data

import attnae
from attnae.metrics.functional import psnr

options = arguments(__doc__)
if options.data_root:
    clean = images(options.data_root, "test", 256)[:1]
else:
    photograph = torch.from_numpy(data.chelsea().copy())  # (300, 451, 3)
    clean = photograph.permute(2, 0, 1)[None] / 255
noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
noisy = (clean + 0.2 * noise).clamp(0, 1)
pictures = {"noisy": noisy}
for name in ("dncnn", "moe_denoiser"):  # `attnae models` lists them
    pictures[name] = attnae.load(name)(noisy)  # in overlapping tiles
pictures["clean"] = clean

lines = []
figure, grid = plt.subplots(2, 2, figsize=(9, 0.8 + 9 * clean.shape[2] / clean.shape[3]))
for axis, (title, picture) in zip(grid.flat, pictures.items(), strict=True):
    quality = "" if picture is clean else f", {psnr(picture, clean).item():.1f} dB"
    axis.imshow(picture[0].permute(1, 2, 0).numpy())
    axis.set_title(title + quality, fontsize=11)
    axis.axis("off")
    lines.append(title + quality)
write(options.out / "denoise.txt", lines)
figure.tight_layout(pad=0.4)
save(figure, options.out / "denoise.png")
