"""Options and logs of adversarial training, and training without a discriminator."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from attnae.cli import main
from attnae.data import CelebAHQDataModule
from attnae.papers.attentive_vqvae import AttentiveVQVAE, AttentiveVQVAETask, PatchDiscriminator
from attnae.papers.attentive_vqvae.losses import accuracy
from attnae.papers.attentive_vqvae.net import parameter_counts

QUIET: dict[str, Any] = {
    **{"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False},
    **{"accelerator": "cpu", "devices": 1},
}


def task(adversary: bool = True, net: dict[str, Any] | None = None, **arguments: Any) -> AttentiveVQVAETask:
    torch.manual_seed(0)
    network = AttentiveVQVAE(**{**{"levels": 1, "width": 4, "latent": 4, "codes": 8}, **(net or {})})
    return AttentiveVQVAETask(network, PatchDiscriminator(4) if adversary else None, **arguments)


def fit(one: AttentiveVQVAETask, folder: Path, **arguments: Any) -> L.Trainer:
    trainer = L.Trainer(default_root_dir=folder, **{**QUIET, "max_epochs": 1, **arguments})
    trainer.fit(one, CelebAHQDataModule(image_size=16, batch_size=4, train_images=12, test_images=4))
    return trainer


class Norms(L.Callback):
    """Gradient norms before clipping, computed from the gradients that backward leaves."""

    def __init__(self) -> None:
        self.norms: dict[str, list[float]] = {"net": [], "discriminator": []}

    def on_after_backward(self, trainer: L.Trainer, module: Any) -> None:
        for name in self.norms:
            gradients = [p.grad.flatten() for p in getattr(module, name).parameters() if p.requires_grad]
            if all(p.requires_grad for p in getattr(module, name).parameters()):
                self.norms[name].append(float(torch.cat(gradients).norm()))


@pytest.mark.parametrize("clip", [0.01, None])
def test_gradient_norms_before_clipping_are_logged(tmp_path: Path, clip: float | None) -> None:
    norms = Norms()
    logged = fit(task(clip=clip), tmp_path, callbacks=[norms]).callback_metrics
    for name, key in (("net", "grad_norm"), ("discriminator", "grad_norm_discriminator")):
        assert len(norms.norms[name]) == 3
        assert float(logged[f"train/{key}"]) == pytest.approx(sum(norms.norms[name]) / 3, rel=1e-4)
    assert max(norms.norms["net"]) > 0.01


def test_accuracy_is_the_share_of_correct_patches(tmp_path: Path) -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0, 3.0]), torch.tensor([-2.0, 0.25, -1.0, -0.1])
    assert float(accuracy(real, fake)) == pytest.approx((3 + 3) / 8)
    assert float(accuracy(torch.zeros(3), torch.zeros(3))) == 0.5
    assert float(accuracy(torch.ones(3), -torch.ones(3))) == 1
    logged = fit(task(), tmp_path).callback_metrics
    assert 0 <= float(logged["train/discriminator_accuracy"]) <= 1
    assert {
        "train/reconstruction",
        "train/discriminator",
        "train/adversarial",
        "train/vq",
        "train/loss",
    } <= logged.keys()


def test_dropout_follows_every_convolution_but_the_last() -> None:
    layers = list(PatchDiscriminator(8, dropout=0.25).layers)
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Conv2d", "BatchNorm2d", "LeakyReLU", "Dropout"] * 5 + ["Conv2d", "BatchNorm2d"]
    assert all(layer.p == 0.25 for layer in layers if isinstance(layer, nn.Dropout))
    assert not [layer for layer in PatchDiscriminator(8).layers if isinstance(layer, nn.Dropout)]
    assert parameter_counts(PatchDiscriminator(dropout=0.25)) == (411_075, 412_101)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1"):
        PatchDiscriminator(8, dropout=1)


def test_dropout_is_random_in_training_only() -> None:
    torch.manual_seed(0)
    discriminator, images = PatchDiscriminator(8, "affine", dropout=0.5), torch.rand(2, 3, 32, 32)
    assert not torch.equal(discriminator(images), discriminator(images))
    discriminator.eval()
    assert torch.equal(discriminator(images), discriminator(images))


def test_each_network_has_a_separate_adam() -> None:
    one = task(betas=(0.5, 0.999), discriminator_betas=(0.4, 0.99), lr=1e-4, discriminator_lr=3e-4)
    generator, discriminator = one.configure_optimizers()
    assert (generator.defaults["betas"], generator.defaults["lr"]) == ((0.5, 0.999), 1e-4)
    assert (discriminator.defaults["betas"], discriminator.defaults["lr"]) == ((0.4, 0.99), 3e-4)
    assert task(betas=(0.3, 0.8)).configure_optimizers()[1].defaults["betas"] == (0.3, 0.8)


def test_one_optimizer_and_the_same_model_without_a_discriminator(tmp_path: Path) -> None:
    alone, both = task(adversary=False), task()
    assert len(alone.configure_optimizers()) == 1
    assert alone.parameter_counts() == both.parameter_counts()
    assert set(alone.state_dict()) == {name for name in both.state_dict() if not name.startswith("discriminator")}
    trainer = fit(alone, tmp_path)
    assert trainer.global_step == 3
    shown = {name for name in trainer.callback_metrics if name.startswith("train/")}
    assert shown == {"train/loss", "train/reconstruction", "train/vq", "train/grad_norm"}


def test_flips_apply_to_inputs_and_targets() -> None:
    from attnae.data.batch import Batch

    images = torch.rand(64, 3, 8, 8)
    batch = Batch(images, images, None, torch.arange(64))
    same = task()._flipped(batch)
    assert same[0] is batch.input
    assert same[1] is batch.target
    inputs, targets = task(flip=True)._flipped(batch)
    assert torch.equal(inputs, targets)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(inputs, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(inputs, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


@pytest.mark.parametrize("rule", ["ema", "gradient", "ema_kmeans", "fsq"])
def test_bf16_trains_like_float32_and_keeps_codebooks_in_it(tmp_path: Path, rule: str) -> None:
    numbers, tasks = [], []
    for precision in ("32-true", "bf16-mixed"):
        one = task(net={"levels": 2, "codebook": rule, "attention": "normalized", "width": 8})
        logged = fit(one, tmp_path, precision=precision, max_epochs=2).callback_metrics
        assert all(value.isfinite() for value in logged.values())
        numbers.append({key: float(logged[key]) for key in ("train/reconstruction", "val/mse")})
        tasks.append(one)
    for key, value in numbers[0].items():
        assert numbers[1][key] == pytest.approx(value, rel=0.1), key
    for name, value in tasks[1].net.quantizers.state_dict().items():
        assert value.dtype == (torch.bool if name.endswith("started") else torch.float32), name
        assert value.isfinite().all()
    trainer = L.Trainer(default_root_dir=tmp_path, precision="bf16-mixed", **QUIET)
    trainer.test(
        tasks[1], CelebAHQDataModule(image_size=16, batch_size=4, train_images=12, test_images=4), verbose=False
    )
    tested = tasks[1].test_metrics()
    assert all(values.dtype == torch.float64 for values in tasks[1].quality["heldout"].per_image().values())
    assert math.isfinite(tested["heldout/symmetry_ratio"])
    assert 0 <= tested["heldout/bits_per_pixel"] <= (3 / 64 + 3 / 256)  # 8 codes a level


# -- through the command ------------------------------------------------------------------------------------------

CONFIG = """
model:
  class_path: attnae.papers.attentive_vqvae.AttentiveVQVAETask
  init_args:
    net:
      class_path: attnae.papers.attentive_vqvae.AttentiveVQVAE
      init_args: {{levels: 2, attention: pixel, width: 4, latent: 6, codes: 16, init: keras, norm: {norm}, codebook: {rule}}}
    discriminator: {discriminator}
    betas: [0.5, 0.999]
    flip: true
    recompute_batchnorm: 8
data:
  class_path: attnae.data.CelebAHQDataModule
  init_args: {{image_size: 32, batch_size: 4, train_images: 12, test_images: 4}}
trainer: {{max_epochs: 2, accelerator: cpu}}
"""
BCE = (
    "{class_path: attnae.papers.attentive_vqvae.PatchDiscriminator, init_args: {width: 4, dropout: 0.25, norm: affine}}"
)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["attnae", *arguments])
    monkeypatch.setattr(os, "environ", os.environ.copy())  # Lightning leaves the seed there
    try:
        return main()
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("discriminator", "norm", "rule"), [("null", "affine", "ema_kmeans"), (BCE, "batch", "fsq")], ids=["none", "bce"]
)
def test_a_run_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, discriminator: str, norm: str, rule: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(discriminator=discriminator, norm=norm, rule=rule))
    where = f"--trainer.default_root_dir={tmp_path / 'run'}"
    adversary = ["--model.init_args.adversarial_loss=bce", "--model.init_args.adversarial_weight=0.01"]
    assert command(monkeypatch, "fit", "-c", str(config), where, *adversary) == 0
    weights = f"--weights={tmp_path / 'run' / 'weights.safetensors'}"
    assert command(monkeypatch, "test", "-c", str(config), where, weights, *adversary) == 0
    curves = json.loads((tmp_path / "run" / "fit.json").read_text())["curves"]
    assert {"train/reconstruction", "train/grad_norm"} <= curves.keys()
    assert ("train/discriminator_accuracy" in curves) == (discriminator != "null")
    metrics = json.loads((tmp_path / "run" / "test.json").read_text())["metrics"]
    assert {"heldout/symmetry_ratio", "heldout/bits_per_pixel", "heldout/eye_color"} <= metrics.keys()
    assert ("heldout_as_trained/mse" in metrics) == (norm == "batch")
    saved = load_file(tmp_path / "run" / "weights.safetensors")
    assert any(name.startswith("discriminator") for name in saved) == (discriminator != "null")
    tracked = [int(value) for name, value in saved.items() if name.endswith("num_batches_tracked") and "net" in name]
    assert all(value == (6 if norm == "batch" else 0) for value in tracked)  # steps of training, not of recomputing
