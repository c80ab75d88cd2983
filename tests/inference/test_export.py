"""Exported models and samples."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_runs import save

import attnae
from attnae.data import PatchMask
from attnae.errors import UserError
from attnae.inference import commands, export
from attnae.inference.load import Model
from attnae.papers.moe_denoiser import DnCNN, MoEDenoiserTask
from attnae.result import Part


@pytest.fixture(scope="module")
def exported(denoiser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "denoiser"
    assert commands.run(["export", str(denoiser), str(folder)]) == 0
    return folder


def test_round_trip(run: Path, tmp_path: Path) -> None:
    """Every paper's model can be reloaded, and its graph accepts any batch size."""
    commands.run(["export", str(run), str(tmp_path / "out")])
    model, back = attnae.load(run), attnae.load(tmp_path / "out")
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    for count in (1, 2, 5):
        images = torch.rand(count, 3, model.size, model.size)
        assert torch.equal(model(images), back(images))
        with torch.no_grad():
            torch.testing.assert_close(program(images), model(images), atol=1e-4, rtol=0)
    assert back.title == model.title
    commands.run(["export", str(tmp_path / "out"), str(tmp_path / "again"), "--no-graph"])  # an export is a model, too
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "out" / "model.safetensors"
    ).read_bytes()


def test_training_only_modules_are_not_exported(vqvae: Path, tmp_path: Path) -> None:
    commands.run(["export", str(vqvae), str(tmp_path / "out"), "--no-graph"])
    assert not [name for name in load_file(tmp_path / "out" / "model.safetensors") if "discriminator" in name]
    assert "iscriminator" not in (tmp_path / "out" / "config.yaml").read_text()


def test_plain_pytorch(exported: Path) -> None:
    """The code in the model card works."""
    code = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)[1]
    assert "MoEDenoiser(" in code
    names: dict[str, Any] = {}
    exec(code.replace("DIR", str(exported)), names)
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(names["net"](images), attnae.load(exported)(images))


def test_card(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    for word in ("abc123", "embedded photos", "20.00", "| published |", "CC0", "attnae fit -c", "attnae.load"):
        assert word in card


def test_existing_folders(denoiser: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not empty"):
        commands.run(["export", str(denoiser), str(exported)])
    assert commands.run(["export", str(denoiser), str(exported), "--overwrite"]) == 0
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match="which was not written by attnae export"):
        commands.run(["export", str(denoiser), str(tmp_path), "--overwrite"])
    with pytest.raises(UserError, match="is a file"):
        commands.run(["export", str(denoiser), str(tmp_path / "mine")])
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


class Drifting(DnCNN):
    """A network that is not determined by its weights."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 1 - super().forward(images)


def test_a_model_that_reloads_differently_is_not_exported(tmp_path: Path) -> None:
    net = {"class_path": "attnae.papers.moe_denoiser.DnCNN", "init_args": {"depth": 2, "channels": 4}}
    config = {"class_path": "attnae.papers.moe_denoiser.MoEDenoiserTask", "init_args": {"net": net}}
    task = MoEDenoiserTask(Drifting(2, 4)).eval()
    about = {"model": config, "image_size": 16, "corruption": None}
    with pytest.raises(UserError, match="output of the exported weights differs"):
        export.write(Model(task, 16, PatchMask(), about, Part(), tmp_path), tmp_path)


def test_another_format(exported: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump({**config, "format": 2}))
    with pytest.raises(UserError, match="format 2"):
        attnae.load(copy)


# -- samples -----------------------------------------------------------------------------------------------------------


def test_samples(saaae: Path, tmp_path: Path) -> None:
    from PIL import Image

    for count, shape in ((3, (20, 56)), (11, (38, 146))):  # rows of 8, 2 pixels around each 16x16
        commands.run(["sample", str(saaae), "-o", str(tmp_path / f"{count}.png"), "--count", str(count)])
        with Image.open(tmp_path / f"{count}.png") as image:
            assert (image.height, image.width) == shape
    with pytest.raises(UserError, match="exists"):
        commands.run(["sample", str(saaae), "-o", str(tmp_path / "3.png")])
    with pytest.raises(UserError, match="from 1 to 10,000"):
        commands.run(["sample", str(saaae), "-o", str(tmp_path / "many.png"), "--count", "10001"])
    with pytest.raises(UserError, match="not a PNG file"):
        commands.run(["sample", str(saaae), "-o", str(tmp_path / "3.gif")])


def test_interpolation_between_two_images(saaae: Path, tmp_path: Path) -> None:
    from attnae.inference.sample import interpolated, prior, read_square

    model: Model = attnae.load(saaae)
    first, last = (read_square(model, save(tmp_path / f"{seed}.png", 16, 16, seed)) for seed in (0, 1))
    way = interpolated(model, first, last, 5)
    torch.testing.assert_close(way[[0, -1]], model(torch.stack([first, last])))
    middle = model.task.to_latents(torch.stack([first, last])).mean(0, keepdim=True)
    torch.testing.assert_close(way[2:3], model.task.from_latents(middle))
    assert torch.equal(prior(model, 2, 1), prior(model, 4, 1)[:2])
    assert not torch.equal(prior(model, 2, 1), prior(model, 2, 2))
    names = [str(tmp_path / "0.png"), str(tmp_path / "1.png")]
    assert commands.run(["sample", str(saaae), "-o", str(tmp_path / "way.png"), "--between", *names]) == 0


def test_models_without_a_prior(denoiser: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prior"):
        commands.run(["sample", str(denoiser), "-o", str(tmp_path / "x.png")])


# -- the command line --------------------------------------------------------------------------------------------------


def test_help_is_fast_and_errors_are_one_line(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom attnae.cli import main\n"
        "for words in (['apply', '--help'], ['apply', 'x'], ['apply', 'nowhere', 'x.png'], ['--print-completion', 'bash']):\n"
        "    sys.argv = ['attnae', *words]\n"
        "    try:\n        print('rc', main())\n    except SystemExit as end:\n        print('rc', end.code)\n"
        "print('heavy', sorted({'torch', 'lightning', 'numpy', 'PIL'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("rc")] == ["rc 0", "rc 2", "rc 2", "rc 0"]
    assert "heavy []" in done.stdout
    assert "--between" in done.stdout
    errors = done.stderr.splitlines()
    assert len(errors) == 2
    assert all(error.startswith("attnae: error: ") for error in errors)
