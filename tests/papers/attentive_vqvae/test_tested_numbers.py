"""What a test reports: recomputed BatchNorm statistics, the ratio of symmetry, bits per pixel, eye color of aligned faces."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from attnae.data import CelebAHQDataModule
from attnae.metrics.faces import ALIGNED, eye_color_error
from attnae.papers.attentive_vqvae import AttentiveVQVAE, AttentiveVQVAETask
from attnae.papers.attentive_vqvae.recompute import has_batchnorm, with_recomputed_batchnorm

QUIET: dict[str, Any] = {
    **{"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False},
    **{"accelerator": "cpu", "devices": 1},
}


def data(root: Path | None = None, **arguments: Any) -> CelebAHQDataModule:
    small: dict[str, Any] = {"image_size": 16, "batch_size": 4, "train_images": 14, "test_images": 6, "val_images": 0}
    return CelebAHQDataModule(root=root, **{**small, **arguments})


def task(net: dict[str, Any] | None = None, **arguments: Any) -> AttentiveVQVAETask:
    """With statistics that do not fit the data."""
    torch.manual_seed(0)
    one = AttentiveVQVAETask(AttentiveVQVAE(1, "none", width=4, latent=4, codes=8, **(net or {})), **arguments)
    with torch.no_grad():
        for layer in one.net.modules():
            if type(layer) is nn.BatchNorm2d and layer.running_mean is not None and layer.running_var is not None:
                layer.running_mean.fill_(0.3)
                layer.running_var.fill_(2)
    for quantizer in one.net.quantizers:
        quantizer.get_buffer("codebook").normal_()
    return one


def metrics_of(one: AttentiveVQVAETask, folder: Path, module: CelebAHQDataModule | None = None) -> dict[str, float]:
    L.Trainer(default_root_dir=folder, **QUIET).test(one, module or data(), verbose=False)
    return one.test_metrics()


# -- BatchNorm statistics -----------------------------------------------------------------------------------------


def test_statistics_are_those_of_torchs_update_bn() -> None:
    module, one = data(), task()
    module.setup("test")
    pixels = torch.from_numpy(module.pixels("train")[:12].copy()).permute(0, 3, 1, 2).float() / 255
    reference = task().net
    for quantizer in reference.quantizers:
        quantizer.forward = lambda latents, learn, q=quantizer: type(q).forward(q, latents, False)  # type: ignore[method-assign]
    update_bn([pixels[start : start + 4] for start in (0, 4, 8)], reference)
    found = with_recomputed_batchnorm(one.net, module, 14)  # 3 whole batches; the last 2 images are left out
    for name, value in reference.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(found.state_dict()[name], value, msg=name)
        elif "tracked" not in name:
            assert torch.equal(found.state_dict()[name], one.net.state_dict()[name]), name
    assert not any(part.training for part in found.modules())


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    module, one = data(), task()
    module.setup("test")
    found = with_recomputed_batchnorm(one.net, module, 3)
    pixels = torch.from_numpy(module.pixels("train")[:3].copy()).permute(0, 3, 1, 2).float() / 255
    features = one.net.base[0](pixels)
    assert found.base[1].main[0].running_mean is not None
    torch.testing.assert_close(found.base[1].main[0].running_mean, features.mean((0, 2, 3)))


def test_both_protocols_are_reported_and_the_weights_stay_as_trained(tmp_path: Path) -> None:
    plain, both = task(), task(recompute_batchnorm=12)
    trained = {name: value.clone() for name, value in both.state_dict().items()}
    expected, numbers = metrics_of(plain, tmp_path), metrics_of(both, tmp_path)
    assert both.state_dict().keys() == trained.keys()
    assert all(torch.equal(value, trained[name]) for name, value in both.state_dict().items())
    for key, value in expected.items():
        assert numbers[key.replace("heldout/", "heldout_as_trained/")] == pytest.approx(value), key
    assert numbers["heldout/mse"] != pytest.approx(expected["heldout/mse"])
    assert {key for key in numbers if key.startswith("heldout/")} == expected.keys()
    assert both.figures(tmp_path)
    with_copy = task(recompute_batchnorm=12)
    with_copy.net = both.recomputed[0]
    with_copy.recompute_batchnorm = 0
    assert metrics_of(with_copy, tmp_path)["heldout/mse"] == pytest.approx(numbers["heldout/mse"])


def test_other_weights_have_separate_statistics(tmp_path: Path) -> None:
    """As when each of the last epochs is tested: weights are loaded into the same task, one after the other."""
    one, other = task(recompute_batchnorm=12), task(recompute_batchnorm=12)
    with torch.no_grad():
        for parameter in other.net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    first, expected = metrics_of(one, tmp_path), metrics_of(other, tmp_path)
    one.load_state_dict(other.state_dict())
    assert metrics_of(one, tmp_path) == pytest.approx(expected)
    assert first["heldout/mse"] != pytest.approx(expected["heldout/mse"])


@pytest.mark.parametrize("norm", ["affine", "group"])
def test_without_batch_norm_there_is_nothing_to_recompute(tmp_path: Path, norm: str) -> None:
    one = task({"norm": norm}, recompute_batchnorm=12)
    assert not has_batchnorm(one.net)
    assert not [key for key in metrics_of(one, tmp_path) if key.startswith("heldout_as_trained")]


def test_prediction_is_as_trained(tmp_path: Path) -> None:
    one = task(recompute_batchnorm=12)
    metrics_of(one, tmp_path)
    assert one.recomputed
    L.Trainer(default_root_dir=tmp_path, **QUIET).predict(one, data())
    assert not one.recomputed


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="recompute_batchnorm must not be negative, got -1"):
        task(recompute_batchnorm=-1)
    with pytest.raises(ValueError, match="aligned must be null or one of celeba, got 'lfw'"):
        task(aligned="lfw")


# -- symmetry, bits, eyes -----------------------------------------------------------------------------------------


def test_symmetry_ratio_and_bits_per_pixel(tmp_path: Path) -> None:
    one, module = task(), data()
    module.setup("test")
    faces = torch.from_numpy(module.pixels("test").copy()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():  # codes that are latents of these images: several of them are in use
        latents = one.net.eval().arens[0](one.net.base(faces)).permute(0, 2, 3, 1).flatten(0, 2)
        one.net.lowest.get_buffer("codebook").copy_(latents[::3])
    numbers = metrics_of(one, tmp_path)
    images = one.quality["heldout"].per_image()
    mae = images["sae"].mean() / (3 * 16 * 16)
    assert numbers["heldout/symmetry_ratio"] == pytest.approx(float(images["symmetry"].mean() / mae))
    share = one.use["heldout"][0].counts.double() / 24  # 6 images of 2x2 codes
    entropy = -sum(float(s) * math.log2(s) for s in share if s)
    assert entropy > 0
    assert numbers["heldout/bits_per_pixel"] == pytest.approx(entropy * 24 / (6 * 16 * 16))


def test_bits_per_pixel_sums_over_levels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = AttentiveVQVAETask(AttentiveVQVAE(2, "none", width=4, latent=4, codes=8))
    numbers = metrics_of(one, tmp_path)
    bits = [math.log2(numbers[f"heldout/perplexity_{level}"]) for level in (1, 2)]
    assert numbers["heldout/bits_per_pixel"] == pytest.approx(bits[0] / 64 + bits[1] / 256)


def draw(eyes: tuple[Tensor, Tensor] | None = None) -> Tensor:
    image = torch.full((3, 218, 178), 0.6)
    for x, color in zip((69, 108), eyes or (), strict=False):
        image[:, 108:116, x - 4 : x + 5] = color[:, None, None]
    return image


def aligned_folder(folder: Path) -> Path:
    from PIL import Image

    torch.manual_seed(0)
    for split, count in (("train", 14), ("test", 6)):
        (folder / split).mkdir(parents=True)
        for index in range(count):
            image = draw((torch.rand(3), torch.rand(3)))
            Image.fromarray((image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(
                folder / split / f"{index}.png"
            )
    return folder


def test_eye_color_of_aligned_faces_is_measured_at_the_eyes(tmp_path: Path) -> None:
    """The files are drawn with colored eyes where CelebA's alignment puts them, and read as any folder is."""
    module = data(aligned_folder(tmp_path / "faces"), image_size=64)
    module.setup("test")
    images = torch.from_numpy(module.pixels("test").copy()).permute(0, 3, 1, 2).float() / 255
    gray = torch.full_like(images, 0.6)
    error = eye_color_error(gray, images, *ALIGNED["celeba"].of(images))
    torch.manual_seed(0)
    colors = torch.rand(20, 2, 3)[14:]  # in the order in which they were drawn
    torch.testing.assert_close(error, (colors[:, 0] - colors[:, 1]).abs().mean(1), atol=0.03, rtol=0.1)


def test_eye_color_of_folders_only_if_configured_as_aligned(tmp_path: Path) -> None:
    folder = aligned_folder(tmp_path / "faces")
    assert "heldout/eye_color" not in metrics_of(task(), tmp_path, data(folder))
    assert metrics_of(task(aligned="celeba"), tmp_path, data(folder))["heldout/eye_color"] > 0
    assert metrics_of(task(aligned="celeba"), tmp_path)["heldout/eye_color"] == pytest.approx(
        metrics_of(task(), tmp_path)["heldout/eye_color"]
    )  # embedded portraits know their own eyes


FACES = Path(__file__).parents[3] / "data" / "celeba" / "test"


@pytest.mark.skipif(not FACES.is_dir(), reason="needs CelebA's aligned images in data/celeba")
def test_celebas_eyes_are_where_the_mean_face_is_darkest() -> None:
    from attnae.data.decode import read_image

    paths = sorted(FACES.iterdir())[:200]
    mean = np.mean([read_image(path, 178, Counter()) for path in paths], (0, 3))
    for x, y in ALIGNED["celeba"].centers:
        row, column = int(y * 178), int(x * 178)
        around = mean[row - 8 : row + 9, column - 8 : column + 9]
        darkest = np.unravel_index(around.argmin(), around.shape)
        assert abs(darkest[0] - 8) <= 2
        assert abs(darkest[1] - 8) <= 3
