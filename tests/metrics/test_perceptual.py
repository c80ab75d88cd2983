"""Perceptual measures with networks that need no download: the arithmetic against independent sources, the refusals for real."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torchmetrics.image import FrechetInceptionDistance, LearnedPerceptualImagePatchSimilarity
from torchvision.models import alexnet

from attnae.errors import UserError
from attnae.metrics.perceptual import Perceptual


class ChannelMeans(nn.Module):
    num_features = 3

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


@pytest.fixture
def perceptual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Perceptual:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # where torch keeps downloads; torchvision trusts what is there
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(alexnet().state_dict(), tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth")
    lpips = LearnedPerceptualImagePatchSimilarity("alex", reduction="none", normalize=True)
    return Perceptual(lpips, lambda: FrechetInceptionDistance(ChannelMeans()))


def test_numbers(perceptual: Perceptual) -> None:
    x, y = torch.rand(24, 3, 32, 32), torch.rand(24, 3, 32, 32) ** 2
    lpips = torch.cat([perceptual.update("heldout", y[i : i + 8], x[i : i + 8]) for i in (0, 8, 16)])
    same = perceptual.update("same", x, x)
    assert lpips.shape == (24,)
    assert (lpips > 0).all()
    assert same.abs().max() == 0

    a, b = (images.mean((2, 3)).double().numpy() for images in (x, y))
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    found = perceptual.compute()
    assert found["heldout/rfid"] == pytest.approx(expected, rel=1e-3)
    assert found["same/rfid"] == pytest.approx(0, abs=1e-6)


def test_a_protocol_loads_the_network_once(perceptual: Perceptual) -> None:
    made, create = [], perceptual.frechet
    perceptual.frechet = lambda: made.append(create()) or made[-1]  # type: ignore[func-returns-value]
    for protocol in ("heldout", "heldout", "same"):
        perceptual.update(protocol, torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))
    assert len(made) == 2


def test_one_image_has_no_distance(perceptual: Perceptual) -> None:
    perceptual.update("heldout", torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    assert perceptual.compute() == {}


def test_images_too_small_for_alexnet(perceptual: Perceptual) -> None:
    with pytest.raises(UserError, match="8x8 are too small"):
        perceptual.update("heldout", torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8))


def test_a_failed_download_of_weights_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there, wherever the test runs
    with pytest.raises(UserError, match=r"cannot be downloaded .* leave out perceptual=true"):
        Perceptual.pretrained(torch.device("cpu"))
