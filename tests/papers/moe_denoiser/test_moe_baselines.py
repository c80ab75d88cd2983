"""FLOPs of DnCNN; shapes, agreement with scikit-image, and tuning of the classical denoisers."""

import importlib.util
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
from skimage import data
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from attnae.papers.moe_denoiser import ClassicalDenoiser, DnCNN, MoEDenoiser, choose_strength
from attnae.papers.moe_denoiser.baselines import STRENGTHS, Method

SIGMA = 0.2
METHODS = [method for method in get_args(Method) if method != "bm3d" or importlib.util.find_spec("bm3d")]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: the networks are too small for two, which would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    """Clean and noisy 32x32 pieces of a photograph."""
    photo = torch.from_numpy(data.astronaut()[::4, ::4].copy()).permute(2, 0, 1) / 255  # (3, 128, 128)
    clean = photo.unfold(1, 32, 32).unfold(2, 32, 32).permute(1, 2, 0, 3, 4).flatten(0, 1)[4:12]  # (8, 3, 32, 32)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return clean, (clean + SIGMA * noise).clamp(0, 1)


def error(images: Tensor, clean: Tensor) -> float:
    return (images - clean).square().mean().item()


def flops(net: nn.Module) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.rand(1, 3, 32, 32))
    return counter.get_total_flops()


def test_dncnn_has_the_flops_of_the_moe_denoiser() -> None:
    ours = flops(DnCNN())
    assert ours == pytest.approx(flops(MoEDenoiser()), rel=0.02)
    assert ours == pytest.approx(0.09e9, rel=0.1)
    assert sum(parameter.numel() for parameter in DnCNN().parameters()) == 42_987


def test_dncnn_subtracts_noise_and_clamps_in_evaluation_only() -> None:
    net, images = DnCNN(depth=3, channels=4), torch.rand(2, 3, 20, 12)
    with torch.no_grad():
        net.noise[-1].weight.zero_()  # type: ignore[operator]
        net.noise[-1].bias.fill_(0.5)  # type: ignore[operator]
    torch.testing.assert_close(net(images), images - 0.5)
    torch.testing.assert_close(net.eval()(images), (images - 0.5).clamp(0, 1))


def test_dncnn_initialization_preserves_the_signal() -> None:
    torch.manual_seed(0)
    net, images = DnCNN(), torch.rand(2, 3, 16, 16)
    for layer in net.noise[:-1]:
        images = layer(images)
    assert 0.1 < images.std() < 10
    net(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.ne(0).any() for parameter in net.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_classical_denoisers_preserve_the_shape(method: Method, pictures: tuple[Tensor, Tensor]) -> None:
    clean, noisy = pictures
    denoiser = ClassicalDenoiser(method, 0.5)
    output = denoiser(noisy, SIGMA)
    assert list(denoiser.parameters()) == []
    assert (output.shape, output.dtype, output.device) == (noisy.shape, noisy.dtype, noisy.device)
    assert output.min() >= 0
    assert output.max() <= 1
    if method == "noisy":
        assert torch.equal(output, noisy)
    else:
        assert error(output, clean) < 0.8 * error(noisy, clean)
    each = denoiser(noisy, torch.tensor([SIGMA, 0.0] * 4))
    torch.testing.assert_close(each[::2], output[::2], atol=1e-5, rtol=0)
    assert torch.equal(each[1::2], noisy[1::2])


def test_classical_denoisers_match_scikit_image(pictures: tuple[Tensor, Tensor]) -> None:
    noisy = pictures[1][:1]
    array = noisy[0].permute(1, 2, 0).numpy()
    expected = {
        "wavelet": denoise_wavelet(array, sigma=0.14, convert2ycbcr=True, rescale_sigma=True, channel_axis=-1),
        "tv": denoise_tv_chambolle(array, weight=0.14, channel_axis=-1),
        "nlm": denoise_nl_means(array, patch_size=5, patch_distance=6, h=0.14, sigma=0.2, channel_axis=-1),
    }
    for method, image in expected.items():
        found = ClassicalDenoiser(method, 0.7)(noisy, SIGMA)[0].permute(1, 2, 0)  # type: ignore[arg-type]
        torch.testing.assert_close(found, torch.as_tensor(image).clamp(0, 1).float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["wavelet", "tv", "nlm"])
def test_chosen_strength_is_the_best_candidate(method: Method, pictures: tuple[Tensor, Tensor]) -> None:
    clean, noisy = pictures
    chosen = choose_strength(method, clean, noisy, SIGMA)
    errors = [error(ClassicalDenoiser(method, strength)(noisy, SIGMA), clean) for strength in STRENGTHS]
    assert error(chosen(noisy, SIGMA), clean) == min(errors)
    assert STRENGTHS[0] < chosen.strength < STRENGTHS[-1]  # the candidates reach far enough


def test_noisy_needs_no_choice(pictures: tuple[Tensor, Tensor]) -> None:
    assert choose_strength("noisy", *pictures, SIGMA).method == "noisy"


@pytest.mark.skipif(importlib.util.find_spec("bm3d") is not None, reason="bm3d is installed")
def test_missing_bm3d_is_reported() -> None:
    with pytest.raises(ImportError, match="pip install bm3d"):
        ClassicalDenoiser("bm3d")


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf, torch.tensor([0.1, -0.1])])
@pytest.mark.parametrize("method", ["noisy", "tv"])
def test_bad_noise_levels(method: Method, sigma: Any) -> None:
    with pytest.raises(ValueError, match="sigma must be finite and not negative"):
        ClassicalDenoiser(method)(torch.rand(2, 3, 8, 8), sigma)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="unknown method 'median'"):
        ClassicalDenoiser("median")  # type: ignore[arg-type]
    for strength in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="strength must be positive and finite"):
            ClassicalDenoiser("tv", strength)
    with pytest.raises(ValueError, match="expected clean and noisy images of equal shape and at least one candidate"):
        choose_strength("tv", torch.rand(1, 3, 8, 8), torch.rand(2, 3, 8, 8), SIGMA)
    with pytest.raises(ValueError, match="depth must be at least 2"):
        DnCNN(depth=1)


def test_importing_is_fast() -> None:
    code = "import sys, attnae.papers.moe_denoiser; print([m for m in ('lightning', 'skimage', 'bm3d') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
