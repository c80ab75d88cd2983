"""Models that travel with the package: found by name, listed, verified, and never confused with a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny_runs import save

import attnae
from attnae import cli, files
from attnae.errors import UserError
from attnae.files import shipped
from attnae.inference import commands, folders
from attnae.inference.load import Model
from attnae.paths import shown
from attnae.result import Result

REAL = sorted(path.name for path in shipped("models").iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def exported(denoiser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one model."""
    root = tmp_path_factory.mktemp("checkout")
    assert commands.run(["export", str(denoiser), str(root / "models" / "tiny_denoiser"), "--no-graph"]) == 0
    return root


@pytest.fixture
def checkout(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one model; elsewhere is the working directory."""
    root = Path(shutil.copytree(exported, tmp_path / "checkout"))
    monkeypatch.setattr(files, "PACKAGE", root / "attnae")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return root


def test_an_export_in_the_folder_is_a_shipped_model(checkout: Path, denoiser: Path) -> None:
    assert list(folders.shipped_models()) == ["tiny_denoiser"]
    assert {path.name for path in (checkout / "models" / "tiny_denoiser").iterdir()} == {
        "README.md", "config.yaml", "model.safetensors", "result.json",
    }  # fmt: skip
    model = attnae.load("tiny_denoiser")
    assert isinstance(model, Model)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(model(images), attnae.load(denoiser)(images))
    source = save(Path("photos/a.png"), 20, 20)
    assert commands.run(["apply", "tiny_denoiser", str(source), "-o", "out", "--sigma", "0.2"]) == 0
    assert Path("out/a.png").is_file()


def test_listing(checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["attnae", "models"])
    assert cli.main() == 0
    printed = capsys.readouterr().out
    assert f"Model cards: {shown(checkout / 'models')}/*/README.md" in printed
    for word in (
        "tiny_denoiser",
        "denoise, 16x16",
        "4 images of embedded photos",
        "PSNR 20.00 dB, SSIM 0.5000",
        "CC0",
        "MB",
    ):
        assert word in printed
    shutil.rmtree(checkout / "models")
    assert cli.main() == 0
    assert "No models" in capsys.readouterr().out


def test_a_folder_of_that_name(checkout: Path, vqvae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It takes precedence if it holds a model, and attnae says so; any other folder hides nothing."""
    source = save(tmp_path / "a.png", 16, 16)
    command = ["apply", "tiny_denoiser", str(source), "-o"]
    Path("tiny_denoiser").mkdir()
    assert commands.run([*command, "one"]) == 0
    assert attnae.load("tiny_denoiser").task.corruption == "noise"
    assert not capsys.readouterr().err
    Path("tiny_denoiser").rmdir()
    shutil.copytree(vqvae, "tiny_denoiser")
    assert attnae.load("tiny_denoiser").task.corruption == ""
    assert commands.run([*command, "two"]) == 0
    assert capsys.readouterr().err == "tiny_denoiser: using the folder, not the shipped model of the same name.\n"


@pytest.mark.parametrize("name", ["tiny", "../models/tiny_denoiser", "TINY_DENOISER", "", "tiny_denoiser/x"])
def test_names_that_are_none(checkout: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"does not exist.* shipped model: tiny_denoiser\.|neither a run"):
        attnae.load(name)


def test_damage_is_noticed(checkout: Path) -> None:
    path = checkout / "models" / "tiny_denoiser" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"the file is damaged \(its digest does not match\)"):
        attnae.load("tiny_denoiser")


# -- the models themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_every_shipped_model_is_complete(name: str) -> None:
    folder = shipped("models", name)
    assert {path.name for path in folder.iterdir()} == {"README.md", "config.yaml", "model.safetensors", "result.json"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3e6
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata()["blake2b"]
    stored = folders.describe(name)
    assert isinstance(stored.origin, Result)
    assert stored.origin.git["commit"]
    assert not stored.origin.git["dirty"]
    card = (folder / "README.md").read_text(encoding="utf-8")
    for word in (
        stored.origin.git["commit"],
        "attnae-bench run",
        "## Limits",
        f"{stored.origin.metrics['heldout/psnr_mean']:.2f}",
    ):
        assert word in card
    parameters = sum(tensor.numel() for tensor in attnae.load(name).task.net.parameters())
    assert f"{parameters:,} parameters" in card
