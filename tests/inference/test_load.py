"""Loading runs and exported models, and rejecting untrusted content."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

import attnae
from attnae.errors import UserError
from attnae.inference.codes import pixels_per_code
from attnae.inference.load import Model
from attnae.inference.sample import interpolated


@pytest.fixture
def copy(denoiser: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(denoiser, tmp_path / "run"))


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    edit(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(UserError) as raised:
        attnae.load(folder)
    line = str(raised.value)
    assert "\n" not in line
    for word in words:
        assert word in line


def test_a_loaded_run_equals_its_network(run: Path) -> None:
    model = attnae.load(run)
    assert isinstance(model, Model)
    images = torch.rand(2, 3, model.size, model.size)
    assert not model.task.training
    assert not any(parameter.requires_grad for parameter in model.task.parameters())
    if model.task.corruption == "mask":
        posterior = model.task.net.encode(2 * images - 1)
        expected = (model.task.net.decode(posterior.mean) + 1) / 2
    else:
        expected = model.task.net(images)
    torch.testing.assert_close(model(images), expected.clamp(0, 1))


def test_a_network_of_another_task_is_refused(copy: Path) -> None:
    other = {"class_path": "attnae.papers.attentive_vqvae.AttentiveVQVAETask"}
    change(copy, lambda config: config.update(model={**config["model"], **other}))
    change(copy, lambda config: config["model"].update(init_args={"net": config["model"]["init_args"]["net"]}))
    refused(copy, "config.yaml", "net of AttentiveVQVAETask must be AttentiveVQVAE, not ")


def test_an_image_does_not_depend_on_its_batch(run: Path) -> None:
    """Also for SAAAE, whose gate takes its minimum and maximum over a batch."""
    model = attnae.load(run)
    images = torch.rand(5, 3, model.size, model.size)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone, atol=1e-5, rtol=0)


def test_any_size_in_tiles_or_none(denoiser: Path, saaae: Path) -> None:
    image = torch.rand(1, 3, 21, 50)
    assert attnae.load(denoiser)(image).shape == image.shape
    with pytest.raises(ValueError, match="resize them to 16x16"):
        attnae.load(saaae)(image)
    with pytest.raises(ValueError, match="is not an inpainting model"):
        attnae.load(denoiser)(image, torch.zeros(1, 1, 21, 50, dtype=torch.bool))
    with pytest.raises(ValueError, match="must be"):
        attnae.load(denoiser)(image[0])


def test_a_mask_hides(saaae: Path) -> None:
    model = attnae.load(saaae)
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[..., 4:8, 4:8] = True
    images = torch.rand(1, 3, 16, 16)
    other = torch.where(mask, torch.rand(1, 3, 16, 16), images)
    assert torch.equal(model(images, mask), model(other, mask))
    assert not torch.equal(model(images), model(other))


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 1, 16, 16), (3, 3, 16, 16), (3, 1, 8, 8)])
def test_masks_of_another_shape(saaae: Path, shape: tuple[int, ...]) -> None:
    """They would be broadcast over the wrong dimension."""
    with pytest.raises(ValueError, match=r"mask must be bool \(3, 1, 16, 16\)"):
        attnae.load(saaae)(torch.rand(3, 3, 16, 16), torch.zeros(shape, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask must be bool"):
        attnae.load(saaae)(torch.rand(3, 3, 16, 16), torch.zeros(3, 1, 16, 16))


def test_any_floating_point_numbers(run: Path) -> None:
    model = attnae.load(run)
    images = torch.rand(2, 3, model.size, model.size).half()
    assert torch.equal(model(images), model(images.float()))
    assert torch.equal(model(images.double()), model(images.float()))
    with pytest.raises(ValueError, match=r"floating-point numbers in \[0, 1\], got torch.uint8"):
        model(torch.zeros(1, 3, model.size, model.size, dtype=torch.uint8))


@pytest.mark.parametrize("images", [np.zeros((1, 3, 16, 16), np.float32), Image.new("RGB", (16, 16)), None])
def test_images_that_are_no_tensor(saaae: Path, images: Any) -> None:
    model = attnae.load(saaae)
    with pytest.raises(TypeError, match="images must be a tensor of torch, got"):
        model(images)
    with pytest.raises(TypeError, match="mask must be a tensor of torch, got ndarray"):
        model(torch.zeros(1, 3, 16, 16), np.zeros((1, 1, 16, 16), bool))


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_devices_that_do_not_exist(saaae: Path, device: str) -> None:
    with pytest.raises(UserError, match=f"cannot use the device '{device}'"):
        attnae.load(saaae, device)


class Payload:
    """Creates a file when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_pickles_are_not_read(copy: Path, tmp_path: Path) -> None:
    for write in (lambda path: path.write_bytes(pickle.dumps(Payload(tmp_path / "ran"))),
                  lambda path: torch.save({"net.x": Payload(tmp_path / "ran")}, path)):  # fmt: skip
        write(copy / "weights.safetensors")
        refused(copy, "weights.safetensors")
    assert not (tmp_path / "ran").exists()


def test_yaml_tags_are_not_constructed(copy: Path, tmp_path: Path) -> None:
    (copy / "config.yaml").write_text(f"model: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']\n")
    refused(copy, "config.yaml")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "path",
    [
        "os.system", "subprocess.Popen", "torch.nn.Linear", "attnae.files.write_text", "attnae.files.os.system",
        "attnae.papers.moe_denoiser.task.Path", "attnae.papers.moe_denoiser.MoEDenoiser", "attnae.papers.saaae.Missing",
        "attnae.papers.saaae.task.np.ndarray", "attnae.papers..saaae.SAAAETask", "attnae.bench.plan.Run", "", 7, None, [],
    ],
)  # fmt: skip
def test_foreign_tasks(copy: Path, path: Any) -> None:
    change(copy, lambda config: config["model"].update(class_path=path))
    refused(copy, "config.yaml")


@pytest.mark.parametrize("path", ["torch.nn.Identity", "os.system", "attnae.papers.moe_denoiser.MoEDenoiserTask.x"])
def test_foreign_networks(copy: Path, path: str) -> None:
    change(copy, lambda config: config["model"]["init_args"]["net"].update(class_path=path))
    refused(copy, "config.yaml", path.split(".")[0])


def test_foreign_corruptions(copy: Path) -> None:
    change(copy, lambda config: config["data"]["init_args"].update(corruption={"class_path": "os.Path"}))
    refused(copy, "attnae.data")
    change(copy, lambda config: config["data"]["init_args"].update(corruption={"class_path": "attnae.data.Nothing"}))
    refused(copy, "does not exist in this version")
    change(
        copy, lambda config: config["data"]["init_args"].update(corruption={"class_path": "attnae.data.Uncorrupted.x"})
    )
    refused(copy, "config.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", "x"),
        ("patch_size", 5),
        ("heads", 3),
        ("nonsense", 1),
        ("budgets", []),
        ("depth", 0),
        ("width", None),
    ],
)
def test_arguments_that_do_not_fit(copy: Path, key: str, value: Any) -> None:
    change(copy, lambda config: config["model"]["init_args"]["net"]["init_args"].update({key: value}))
    refused(copy, "MoEDenoiser")


@pytest.mark.parametrize("value", [0, -1, 2.5, True, None, "16", 10**9])
def test_invalid_image_sizes(copy: Path, value: Any) -> None:
    change(copy, lambda config: config["data"]["init_args"].update(image_size=value))
    refused(copy, "image_size")


def test_image_sizes_that_the_network_does_not_accept(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    change(folder, lambda config: config["data"]["init_args"].update(image_size=33))
    model, images = attnae.load(folder), torch.rand(1, 3, 33, 33)
    with pytest.raises(UserError, match=r"config\.yaml: .* does not accept images of image_size 33"):
        model(images)
    if model.task.codes:
        with pytest.raises(UserError, match="image_size 33"):
            pixels_per_code(model)
    if model.task.latents:
        with pytest.raises(UserError, match="image_size 33"):
            interpolated(model, images[0], images[0], 1)


def test_weights_of_another_network(copy: Path) -> None:
    change(copy, lambda config: config["model"]["init_args"]["net"]["init_args"].update(feedforward=12))
    refused(copy, "do not fit MoEDenoiser", "must be")


def test_missing_unexpected_and_damaged_weights(copy: Path) -> None:
    path = copy / "weights.safetensors"
    state = load_file(path)
    save_file({name: tensor for name, tensor in state.items() if name != "net.pos_embed"}, path)
    refused(copy, "lack", "pos_embed")
    save_file({**state, "net.more": torch.zeros(1)}, path)
    refused(copy, "hold", "more")
    save_file({**state, "net.pos_embed": torch.full_like(state["net.pos_embed"], torch.nan)}, path)
    refused(copy, "pos_embed is not finite")
    path.write_bytes(path.read_bytes()[:100])
    refused(copy, "weights.safetensors")


def test_invalid_folders(copy: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "does not exist")
    refused(tmp_path, "neither a run nor an exported model")
    refused(copy / "config.yaml", "is not a folder")
    (copy / "weights.safetensors").rename(copy / "elsewhere")
    refused(copy, "needs no training")
    (copy / "result.json").unlink()
    refused(copy, "not finished")
    (copy / "config.yaml").write_text("model: {}\n")
    refused(copy, "not the configuration of a run")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [("version", 99, "has format 99"), ("status", "failed", "has failed"), ("metrics", 1, "metrics")],
)
def test_incomplete_results(copy: Path, key: str, value: Any, word: str) -> None:
    import json

    path = copy / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    refused(copy, word)
