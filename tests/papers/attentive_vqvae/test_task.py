"""Adversarial training by manual optimization: losses in closed form, order of updates, and invalid settings."""

from __future__ import annotations

import math
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from attnae.bench.running import processes
from attnae.data import CelebAHQDataModule, STL10DataModule, Uncorrupted
from attnae.errors import UserError
from attnae.papers.attentive_vqvae import AttentiveVQVAE, AttentiveVQVAETask, PatchDiscriminator
from attnae.papers.attentive_vqvae.losses import discriminator_loss, generator_loss


def task(**arguments: Any) -> AttentiveVQVAETask:
    torch.manual_seed(0)
    net = AttentiveVQVAE(1, "none", width=4, latent=4, codes=8)
    return AttentiveVQVAETask(net, PatchDiscriminator(4), **arguments)


def faces(**arguments: Any) -> CelebAHQDataModule:
    small: dict[str, Any] = {"image_size": 16, "batch_size": 4, "train_images": 12, "test_images": 4}
    return CelebAHQDataModule(**{**small, **arguments})


def trainer(folder: Path, **arguments: Any) -> L.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "accelerator": "cpu", "devices": 1, "max_epochs": 1}
    return L.Trainer(default_root_dir=folder, **{**quiet, **arguments})


class Follow(L.Callback):
    """Notes after each batch how often each network has been updated."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bool]] = []

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        self.before = [p.detach().clone() for p in module.discriminator.parameters()]

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        moved = any(not torch.equal(a, b) for a, b in zip(self.before, module.discriminator.parameters(), strict=True))
        self.seen.append((module.generator_steps, moved))


def test_adversarial_training_starts_after_the_configured_steps(tmp_path: Path) -> None:
    """Counted in the generator's steps: Lightning's own counter has both networks' and would be twice as fast."""
    follow = Follow()
    trained = trainer(tmp_path, callbacks=[follow], max_epochs=2)
    trained.fit(task(adversarial_start=2), faces())
    assert follow.seen == [(1, False), (2, False), (3, True), (4, True), (5, True), (6, True)]
    assert trained.global_step == 6 + 4
    assert "train/discriminator" in trained.callback_metrics


def test_discriminator_is_optional(tmp_path: Path) -> None:
    alone = task()
    alone.discriminator = None
    trained = trainer(tmp_path)
    trained.fit(alone, faces())
    assert trained.global_step == 3
    assert "train/discriminator" not in trained.callback_metrics


@pytest.mark.parametrize("adversarial", ["hinge", "bce"])
def test_adversarial_losses_in_closed_form(adversarial: Any) -> None:
    real, made = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.25, 1.0])
    told, fooled = float(discriminator_loss(adversarial, real, made)), float(generator_loss(adversarial, made))
    if adversarial == "hinge":
        assert told == pytest.approx(((0 + 0.5 + 2) / 3 + (0 + 1.25 + 2) / 3) / 2)
        assert fooled == pytest.approx(-(-2 + 0.25 + 1) / 3)
    else:

        def cross_entropy(logits: Tensor, label: float) -> float:
            shares = [1 / (1 + math.exp(-float(x))) for x in logits]
            return -sum(math.log(p if label else 1 - p) for p in shares) / len(shares)

        assert told == pytest.approx((cross_entropy(real, 1) + cross_entropy(made, 0)) / 2, rel=1e-5)
        assert fooled == pytest.approx(cross_entropy(made, 1), rel=1e-5)


def test_generator_gets_a_gradient_from_the_discriminator() -> None:
    """In separate batches, the last BatchNorm would give a constant mean logit and no gradient."""
    one = task()
    assert isinstance(one.discriminator, nn.Module)
    images = torch.rand(4, 3, 16, 16)
    made = torch.rand(4, 3, 16, 16, requires_grad=True)
    (together,) = torch.autograd.grad(generator_loss("hinge", one._logits(images, made)[1]), made)
    (apart,) = torch.autograd.grad(generator_loss("hinge", one.discriminator(made)), made)
    assert float(together.abs().max()) > 1e-5
    assert float(apart.abs().max()) < 1e-3 * float(together.abs().max())


def test_divergence_is_reported_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"diverged at step \d+ \(epoch \d+\): reconstruction .*Lower"):
        trainer(tmp_path, max_epochs=20).fit(task(lr=1e30, clip=None), faces())


def test_clipping_bounds_the_gradient(tmp_path: Path) -> None:
    class Norms(L.Callback):
        def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
            weights = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
            norms.append(float(torch.cat(weights).norm()))

    norms: list[float] = []
    trainer(tmp_path, callbacks=[Norms()]).fit(task(clip=0.01), faces())
    assert norms
    assert max(norms) <= 0.01 * 1.001


def test_half_precision_is_rejected_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bf16-mixed"):
        trainer(tmp_path, precision="16-true").fit(task(), faces())
    trainer(tmp_path, precision="bf16-mixed").fit(task(), faces())


def test_bad_settings() -> None:
    for bad in ({"lr": 0}, {"discriminator_lr": -1}, {"adversarial_weight": -1}, {"adversarial_start": -1}):
        with pytest.raises(ValueError, match="must be positive"):
            task(**bad)
    with pytest.raises(ValueError, match="clip"):
        task(clip=0)


def test_sizes_not_divisible_by_the_stride_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        trainer(tmp_path).fit(task(), faces(image_size=20))


DDP = """
import json, sys
import lightning as L, torch
from attnae.data import CelebAHQDataModule, STL10DataModule, Uncorrupted
from attnae.papers.attentive_vqvae import AttentiveVQVAE, AttentiveVQVAETask, PatchDiscriminator

class Save(L.Callback):
    def on_train_end(self, trainer, module):
        torch.save(module.state_dict(), f"{sys.argv[1]}/rank{trainer.global_rank}.pt")

torch.manual_seed(0)
task = AttentiveVQVAETask(AttentiveVQVAE(1, "none", width=4, latent=4, codes=8, revive=0.05), PatchDiscriminator(4))
data = CelebAHQDataModule(image_size=16, batch_size=4, train_images=16, test_images=4, val_images=0)
trainer = L.Trainer(accelerator="cpu", devices=2, strategy=sys.argv[2], max_epochs=2, logger=False, callbacks=[Save()],
                    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                    default_root_dir=sys.argv[1], use_distributed_sampler=False)
trainer.fit(task, data)
"""


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Both ranks end with the same weights and codebooks."""
    script = tmp_path / "ddp.py"
    script.write_text(DDP)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    done = processes.run(str(script), [str(tmp_path), "ddp_find_unused_parameters_true"], environment)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    same = [name for name in first if "running" not in name and "tracked" not in name]  # BatchNorm is each rank's own
    assert any("codebook" in name for name in same)
    assert all(torch.equal(first[name], second[name]) for name in same)


@pytest.mark.parametrize("strategy", ["ddp", "ddp_find_unused_parameters_true"])
def test_a_strategy_that_awaits_all_gradients_is_rejected(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())  # Lightning leaves its address and rank there
    refused = pytest.raises(UserError, match="ddp_find_unused_parameters_true") if strategy == "ddp" else nullcontext()
    try:
        with refused:
            trainer(tmp_path, strategy=strategy).fit(task(), faces())
    finally:
        torch.distributed.destroy_process_group()


def test_only_held_out_images_count(tmp_path: Path) -> None:
    """Splits of training images, and images that are no procedural faces, leave codes and eyes alone."""
    data = CelebAHQDataModule(image_size=16, batch_size=4, train_images=12, test_images=4, eval_batch_size=4)
    data.test_splits = ("heldout", "train_set")
    one = task()
    trainer(tmp_path).test(one, data, verbose=False)
    (use,) = one.use["heldout"]
    assert int(use.compute().counts.sum()) == 4 * 2 * 2  # a code for each of 2x2 latents of 4 held-out images
    numbers = one.test_metrics()
    assert "heldout/eye_color" in numbers
    assert "train_set/eye_color" not in numbers
    photos = STL10DataModule(corruption=Uncorrupted(), image_size=16, batch_size=4, train_images=12, test_images=4)
    trainer(tmp_path).test(one, photos, verbose=False)
    assert "heldout/eye_color" not in one.test_metrics()


def test_counting_operations_changes_nothing(tmp_path: Path) -> None:
    """It runs in training mode, in which codebooks and BatchNorm learn from whatever they see."""
    one = task(lr=1e-3)
    trainer(tmp_path).test(one, faces(), verbose=False)
    before = {name: value.clone() for name, value in one.state_dict().items()}
    assert one.gflops_forward() > 0
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    counts = one.parameter_counts()
    assert counts["params_total"] >= counts["params_trainable"]
