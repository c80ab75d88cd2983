"""Run folders of tiny, untrained networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from attnae import result
from attnae.data.decode import UInt8
from attnae.papers.attentive_vqvae import AttentiveVQVAE, AttentiveVQVAETask, PatchDiscriminator
from attnae.papers.moe_denoiser import MoEDenoiser, MoEDenoiserTask
from attnae.papers.saaae import SAAAE, SAAAETask
from attnae.training import weights
from attnae.training.task import ImageTask

MOE = {"image_size": 16, "patch_size": 4, "width": 8, "heads": 2, "depth": 1, "budgets": [4, None], "feedforward": 8}
VQVAE = {"levels": 2, "attention": "pixel", "width": 4, "latent": 4, "codes": 16}
PATCH = {"class_path": "attnae.papers.attentive_vqvae.PatchDiscriminator", "init_args": {"width": 2}}
VAE = {"image_size": 16, "latent_dim": 6, "channels": [4, 4, 4, 8], "gate": "attention"}

KINDS: dict[str, tuple[str, dict[str, Any], Callable[[], ImageTask], int, dict[str, Any] | None]] = {
    "denoiser": (
        "attnae.papers.moe_denoiser.MoEDenoiser",
        MOE,
        lambda: MoEDenoiserTask(MoEDenoiser(**MOE)),  # type: ignore[arg-type]
        16,
        {"class_path": "attnae.data.GaussianNoise", "init_args": {"sigma": 0.2}},
    ),
    "vqvae": (
        "attnae.papers.attentive_vqvae.AttentiveVQVAE",
        VQVAE,
        lambda: AttentiveVQVAETask(AttentiveVQVAE(**VQVAE), PatchDiscriminator(2)),  # type: ignore[arg-type]
        32,
        None,
    ),
    "saaae": (
        "attnae.papers.saaae.SAAAE",
        VAE,
        lambda: SAAAETask(SAAAE(**VAE)),  # type: ignore[arg-type]
        16,
        {"class_path": "attnae.data.PatchMask", "init_args": {"patches": 3, "size": 4}},
    ),
}


def write_run(folder: Path, kind: str, seed: int = 0) -> Path:
    """Writes the files of ``attnae-bench run`` that the tests need."""
    torch.manual_seed(seed)
    net, arguments, build, size, corruption = KINDS[kind]
    task = build()
    if isinstance(task, AttentiveVQVAETask):  # codes that differ, which untrained ones hardly do
        for quantizer in task.net.quantizers:
            quantizer.codebook.normal_()  # type: ignore[union-attr]
    name = type(task).__name__
    init: dict[str, Any] = {"net": {"class_path": net, "init_args": arguments}, "lr": 1e-3}
    if kind == "vqvae":
        init["discriminator"] = PATCH
    config = {
        "seed_everything": 1,
        "trainer": {"max_epochs": 1},
        "model": {"class_path": f"{net.rpartition('.')[0]}.{name}", "init_args": init},
        "data": {"class_path": "attnae.data.X", "init_args": {"image_size": size, "corruption": corruption}},
    }
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    weights.save(task.state_dict(), folder / "weights.safetensors")
    data = {
        "title": "embedded photos",
        "kind": "embedded",
        "name": "photos",
        "dataset": "CIFAR-10",
        "train": 8,
        "test": 4,
    }
    record = result.Result(
        benchmark="moe_denoising" if kind == "denoiser" else "",
        variant="moe",
        profile="quick",
        seed=1,
        metrics={"heldout/psnr_mean": 20.0, "heldout/ssim_mean": 0.5},
        data=data,
        git={"commit": "abc123", "dirty": False},
        commands=["attnae fit -c configs/moe_denoiser.yaml"],
    )
    result.write(record, folder / "result.json")
    return folder


def pixels(height: int, width: int, seed: int = 0) -> UInt8:
    """Smooth shapes with some noise."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width][..., None] / 9 + generator.uniform(0, 6, (2, 1, 1, 3))
    values = 127 + 80 * np.sin(rows) * np.cos(columns) + generator.normal(0, 8, (height, width, 3))
    return values.clip(0, 255).astype(np.uint8)


def save(path: Path, height: int, width: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(height, width, seed)).save(path)
    return path
