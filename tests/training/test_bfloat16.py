"""bfloat16 on CPUs with and without instructions for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_fits import FEW, SHALLOW, attnae, config_of, part
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import _get_current_dispatch_mode

from attnae.data.batch import Batch
from attnae.papers.moe_denoiser import MoEDenoiserTask
from attnae.training import bfloat16
from attnae.training.bfloat16 import RoundedProducts
from attnae.training.task import Prediction

ULP = 2.0**-7
"""Relative distance of neighboring bfloat16 numbers, at most; rounding errs by half of it."""

sizes = st.integers(1, 9)


def halves(*shape: int) -> Tensor:
    return torch.randn(*shape).bfloat16()


def check(result: Tensor, exact: Tensor, terms: Tensor) -> None:
    """Compares with a float64 result, within the error that one rounding and a float32 sum may have.

    Args:
        result: Rounded result.
        exact: Float64 result.
        terms: Sum of the absolute values of its terms.
    """
    assert result.dtype == torch.bfloat16
    tolerance = exact.abs() * ULP / 2 + terms * 2.0**-20
    assert ((result.double() - exact).abs() <= tolerance).all()


@settings(max_examples=50)
@given(n=sizes, m=sizes, k=st.integers(1, 400), seed=st.integers(0, 2**31))
def test_matrix_products_are_rounded_once(n: int, m: int, k: int, seed: int) -> None:
    torch.manual_seed(seed)
    a, b, c = halves(3, n, k), halves(3, k, m), halves(3, n, m)
    x, y, z = a.double(), b.double(), c.double()
    with RoundedProducts():
        results = torch.mm(a[0], b[0]), torch.addmm(c[0], a[0], b[0]), torch.bmm(a, b), torch.baddbmm(c, a, b)
    size = x.abs() @ y.abs()
    exact = (x @ y)[0], (x @ y + z)[0], x @ y, x @ y + z
    terms = size[0], (size + z.abs())[0], size, size + z.abs()
    for result, product, each in zip(results, exact, terms, strict=True):
        check(result, product, each)


@settings(max_examples=25)
@given(
    channels=st.integers(1, 5),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 2),
    transposed=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_convolutions_and_their_gradients_are_rounded_once(
    channels: int, kernel: int, stride: int, transposed: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    x, w, b = halves(2, channels, 8, 8), halves(channels, channels, kernel, kernel), halves(channels)
    g = halves(*convolve(x.float(), w.float(), b.float(), stride=stride).shape)

    def results(*tensors: Tensor) -> list[Tensor]:
        images, weights, bias = (tensor.clone().requires_grad_() for tensor in tensors[:3])
        y = convolve(images, weights, bias, stride=stride)
        return [y.detach(), *torch.autograd.grad(y, (images, weights, bias), tensors[3])]

    with RoundedProducts():
        ours = results(x, w, b, g)
    exact = results(x.double(), w.double(), b.double(), g.double())
    terms = results(x.double().abs(), w.double().abs(), b.double().abs(), g.double().abs())
    for result, product, each in zip(ours, exact, terms, strict=True):
        check(result, product, each)


def test_equals_the_kernels_of_bfloat16_but_for_the_order_of_summation() -> None:
    """A step of a small network under autocast, with PyTorch's own kernels and rounded."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3, 1, 1), nn.Flatten(), nn.Linear(512, 16)
    )
    images = torch.rand(4, 3, 16, 16)

    def step(half: bool) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = net(images)
        loss = output.float().square().mean()
        return [output.detach().float(), *torch.autograd.grad(loss, list(net.parameters()))]

    def distances(some: list[Tensor], others: list[Tensor]) -> list[float]:
        return [((a - b).norm() / b.norm()).item() for a, b in zip(some, others, strict=True)]

    native, exact = step(True), step(False)
    with RoundedProducts():
        ours = step(True)
    between, to_exact = distances(ours, native), distances(native, exact)
    assert max(between) < 0.01
    # Arithmetic of another precision would be no nearer.
    assert sum(between) < sum(to_exact) * 2 / 3, (between, to_exact)


def test_leaves_other_precisions_alone() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(5, 7), torch.randn(7, 3)
    before = a @ b, a.half() @ b.half(), a.double() @ b.double()
    with RoundedProducts():
        after = a @ b, a.half() @ b.half(), a.double() @ b.double()
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("kernels", "precision", "told"),
    [
        (False, "bf16-mixed", "rounded float32"),
        (False, "32-true", None),
        (True, "bf16-mixed", None),
    ],
)
def test_a_record_says_how_bfloat16_was_computed(
    kernels: bool, precision: str, told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bfloat16, "has_kernels", lambda: kernels)
    evaluated = []
    predictions = MoEDenoiserTask.predictions

    def watched(task: MoEDenoiserTask, batch: Batch, split: str) -> dict[str, Prediction]:
        evaluated.append(torch.is_inference_mode_enabled())
        return predictions(task, batch, split)

    monkeypatch.setattr(MoEDenoiserTask, "predictions", watched)
    command = ["-c", config_of("moe_denoising", "dncnn"), *FEW, *SHALLOW, f"--trainer.precision={precision}"]
    done = attnae("fit", *command, "--trainer.default_root_dir", tmp_path)
    assert done.code == 0, done.err
    hardware = part(tmp_path, "fit.json")["hardware"]
    assert (hardware["precision"], hardware.get("bfloat16")) == (precision, told)
    evaluated.clear()
    done = attnae(
        "test", *command, "--weights", tmp_path / "weights.safetensors", "--trainer.default_root_dir", tmp_path
    )
    assert done.code == 0, done.err
    # Where products are rounded, they are in tests, too: in inference mode, kernels without instructions would be used.
    assert set(evaluated) == {told is None}
    assert _get_current_dispatch_mode() is None


def test_ends_with_a_failed_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfloat16, "has_kernels", lambda: False)
    command = ["fit", "-c", config_of("moe_denoising", "dncnn"), *FEW, *SHALLOW, "--trainer.precision=bf16-mixed"]
    done = attnae(
        *command, "--model.init_args.lr=1e30", "--trainer.max_epochs=3", "--trainer.default_root_dir", tmp_path
    )
    assert done.code != 0
    assert _get_current_dispatch_mode() is None
