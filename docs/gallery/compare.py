"""Compare two variants on images of your own: the MoE denoiser and a convolutional network."""

from __future__ import annotations

import torch
from common import arguments, images, rows, write

import attnae
import attnae.bench as bench
from attnae.data import GaussianNoise

options = arguments(__doc__)
results = bench.run(
    "moe_denoising",
    variants=["moe", "dncnn"],
    data=options.data_root,
    overrides={
        "trainer.max_epochs": 4,
        "trainer.accelerator": "cpu",
        "data.init_args.batch_size": 8,
        "data.init_args.test_images": 128,
    },
    label="compare",
    out=options.work / "runs",
    reports=options.work / "reports",
)
lines = [
    f"{row['variant']:6} {row['heldout/psnr_mean']:.2f} dB, {row['params_trainable']:,.0f} parameters"
    for row in results.rows()
]
write(options.out / "compare.txt", lines)

clean = images(options.data_root, "test", 32)[:8]
noisy = GaussianNoise(0.2)(clean, torch.arange(len(clean)), training=False).input
pictures = {"noisy": noisy}
for variant in ("moe", "dncnn"):
    (folder,) = (options.work / "runs/moe_denoising/compare" / variant).glob("seed1-*")
    pictures[variant] = attnae.load(folder)(noisy)
rows(options.out / "compare.png", {**pictures, "clean": clean})
