"""Every command and every Python example in the READMEs works: executed where it needs no download, cluster or GPU and takes
seconds; the rest as ``--dry-run`` or by the parser."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from attnae import cli
from attnae.bench import app
from attnae.papers.moe_denoiser import MoEDenoiser
from attnae.papers.moe_denoiser.net import released_names

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    REPOSITORY / "README.md",
    *(
        REPOSITORY / "docs" / "guide" / f"{name}.md"
        for name in ("options", "own-idea", "models", "python", "clusters", "training")
    ),
    *sorted((REPOSITORY / "attnae" / "papers").glob("*/README.md")),
]

FEW = {"data.init_args.train_images": 32, "data.init_args.test_images": 8, "data.init_args.batch_size": 16,
       "trainer.accelerator": "cpu", "trainer.max_epochs": 1}  # fmt: skip
NET = "model.init_args.net.init_args"
SMALL = {
    "saaae_vs_vae": {**FEW, "data.init_args.image_size": 16, f"{NET}.image_size": 16, f"{NET}.channels": [4, 4, 4, 4]},
    "attentive_vqvae": {
        **FEW,
        "data.init_args.image_size": 32,
        f"{NET}.width": 4,
        f"{NET}.latent": 4,
        "model.init_args.discriminator.init_args.width": 4,
    },
    "moe_denoising": FEW,
}
"""Settings that make the runs small; what the commands are tried on."""


def examples(language: str) -> Iterator[tuple[str, str]]:
    """Document and text of the code in the documents' fences of a language."""
    for path in DOCUMENTS:
        for kind, text in re.findall(
            r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            if kind == language:
                yield path.relative_to(REPOSITORY).as_posix(), text


def commands() -> list[str]:
    """All of attnae's commands, without their comments."""
    lines = [line for kind in ("", "bash") for _, text in examples(kind) for line in text.splitlines()]
    return list(dict.fromkeys(re.split(r"\s+#", line)[0].strip() for line in lines if line.startswith("attnae")))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which everything is there that the commands name."""
    root = tmp_path_factory.mktemp("reader")
    pixels = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    for name in ("DIR", "FACES"):
        for split in ("train", "test"):
            (root / name / split).mkdir(parents=True)
            Image.fromarray(pixels).save(root / name / split / "a.png")
    (root / "photos").mkdir()
    Image.fromarray(data.astronaut()[:40, :50]).save(root / "photos" / "astronaut.png")
    torch.save(released_names(MoEDenoiser().state_dict()), root / "model.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for benchmark, variants in (("saaae_vs_vae", "vae,saaae"), ("attentive_vqvae", "a"), ("moe_denoising", "moe")):
            settings = [word for key, value in SMALL[benchmark].items() for word in ("--set", f"{key}={value}")]
            assert app.main(["run", benchmark, "--label", "quick", "--variants", variants, *settings]) == 0
        for name in ("A", "B"):
            (root / name).symlink_to("runs")
        yield root


def words_of(command: str, root: Path) -> list[str]:
    """As a shell passes them on, made small, or without effect where they would take long."""
    program, *words = shlex.split(command)
    words = [str(path) for word in words for path in (sorted(root.glob(word)) if "*" in word else [word])]
    if program == "attnae-bench" and words[0] == "run":
        words += ["--dry-run"]
    if words[0] == "fit":
        words = [word for word in words if word != "..."]
        words += ["-c", "configs/saaae.yaml"] * ("-c" not in words)
        words += [f"--{key}={value}" for key, value in SMALL["saaae_vs_vae"].items()]
        words += ["--print_config"] * ("WandbLogger" in words)
    return [program, *words]


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_command(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *words = words_of(command, place)
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", [program, *words])
    try:
        code = app.main(words) if program == "attnae-bench" else cli.main()
    except SystemExit as end:
        code = end.code
    assert code in (0, None)


@pytest.mark.slow
@pytest.mark.parametrize(("document", "text"), list(examples("python")))
def test_python(document: str, text: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    size = {"attentive_vqvae": 256, "moe_denoiser": 32}.get(Path(document).parent.name, 64)
    names = {name: torch.rand(2, 3, size, size) for name in ("masked", "noisy", "images")}
    exec(compile(text, document, "exec"), names)
    assert names["images"].shape == (2, 3, size, size)
    assert names["images"].isfinite().all()


def test_commands_are_found() -> None:
    found = commands()
    assert len(found) > 30
    assert "attnae-bench run saaae_vs_vae" in found
