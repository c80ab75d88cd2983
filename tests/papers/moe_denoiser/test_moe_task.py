"""Evaluation of the MoE denoiser: dead rows, and half precision."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from attnae.data import Batch
from attnae.papers.moe_denoiser import MoEDenoiser, MoEDenoiserTask
from attnae.papers.moe_denoiser.baselines import DnCNN

SMALL: dict[str, Any] = {"image_size": 16, "width": 8, "heads": 2, "depth": 1, "budgets": (4, None), "feedforward": 8}


def task_of(net: nn.Module) -> MoEDenoiserTask:
    """Simulates a test."""
    torch.manual_seed(0)
    task = MoEDenoiserTask(net).eval()
    task._trainer = SimpleNamespace(testing=True)  # type: ignore[assignment]
    task.on_test_start()
    return task


def batch_of(count: int, seed: int = 0) -> Batch:
    images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return Batch(images, (images + 0.1).clamp(0, 1), None, torch.arange(count))


@torch.no_grad()
def numbers_of(net: MoEDenoiser, dead: dict[tuple[int, int, int], float]) -> dict[str, float]:
    """A test of two batches with rows that are stuck, by color, row and column within a patch."""
    task = task_of(net)
    for (color, row, column), level in dead.items():
        # The bias is shared by a color's 16 rows: a constant token makes one row constant.
        net.patch_unembed.weight[:, color, row, column] = 0
        net.patch_unembed.weight[0, color, row, column] = level
    net.blocks[-1].register_forward_hook(
        lambda *a: (torch.cat([torch.ones(*a[2][0].shape[:2], 1), a[2][0][..., 1:]], -1), a[2][1])
    )
    for seed in (1, 2):
        task.predictions(batch_of(3, seed), "heldout")
    return task.test_metrics()


def test_dead_rows_are_counted() -> None:
    torch.manual_seed(0)
    net = MoEDenoiser(**SMALL)
    with torch.no_grad():
        net.patch_unembed.weight.mul_(0.01)
        net.patch_unembed.bias.fill_(0.5)  # type: ignore[union-attr]
    alive = numbers_of(net, {})
    assert alive["heldout/dead_rows"] == alive["heldout/dead"] == 0
    some = numbers_of(net, {(0, 0, 1): -9.0, (2, 3, 3): 9.0})
    assert some["heldout/dead_rows"] == 2
    assert some["heldout/dead"] == pytest.approx(2 / 48)


def test_a_row_active_in_one_patch_is_not_dead() -> None:
    torch.manual_seed(0)
    task = task_of(MoEDenoiser(**SMALL))
    task.saturated = torch.zeros(3, 16, 16, dtype=torch.bool)
    task.saturated[1, 2::4, 3::4] = True  # the row of color 1 at (2, 3), in all 16 patches
    task.saturated[0, 0::4, 0::4] = True
    task.saturated[0, 8, 8] = False
    numbers = task.test_metrics()
    assert numbers["heldout/dead_rows"] == 1
    assert numbers["heldout/dead"] == pytest.approx(31 / 768)


def test_networks_without_patches_have_no_rows() -> None:
    task = task_of(DnCNN())
    with torch.no_grad():
        task.predictions(batch_of(2), "heldout")
    assert "heldout/dead" in task.test_metrics()
    assert "heldout/dead_rows" not in task.test_metrics()


def test_bfloat16_gives_float32_images_near_those_of_float32() -> None:
    torch.manual_seed(0)
    task, batch = task_of(MoEDenoiser(**SMALL)), batch_of(8)
    with torch.no_grad():
        exact, routing = task.denoise(batch.input)
        with torch.autocast("cpu", torch.bfloat16):
            rounded, half = task.denoise(batch.input)
    assert rounded.dtype == half[0].dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.02)
    torch.testing.assert_close(half[0], routing[0], rtol=0, atol=0.01)
