"""CONTRIBUTING.md is followed to the letter in a copy of the repository: files written, changes applied, commands run."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = (
    " --set trainer.max_epochs=1 --set data.init_args.train_images=64 --set data.init_args.test_images=16 --label quick"
)
COMMANDS = {"attnae": "attnae.cli", "attnae-bench": "attnae.bench.app"}


class Block(NamedTuple):
    chapter: str
    kind: str
    text: str


def blocks() -> Iterator[Block]:
    """The code of the walk, without the first chapter, which sets a machine up."""
    for chapter in (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL):
            yield Block(chapter.splitlines()[0], kind, text)


def follow(block: Block, root: Path) -> str:
    """Does what a block says; returns what its commands print."""
    if block.kind == "diff":
        patch = ["git", "apply", "--recount", "-C1", "-"]  # lines may have moved since it was written
        subprocess.run(patch, input=block.text, text=True, check=True, cwd=root)
        return ""
    if block.kind != "bash":
        name, text = block.text.split("\n", 1)
        path = root / name.removeprefix("# ")
        assert not path.exists() or path.parent == root / "linear_filter"  # written by attnae-bench new
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return ""
    return "".join(run(line, root) for line in block.text.splitlines())


def run(line: str, root: Path) -> str:
    command, _, target = line.partition(" > ")
    words = shlex.split(command + (SMALL if command.startswith("attnae-bench run") else ""))
    if words[0] in COMMANDS:
        words[:1] = [sys.executable, "-m", COMMANDS[words[0]]]
    words[0] = sys.executable if words[0] == "python" else words[0]
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"}
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    if target:
        (root / target).write_text(done.stdout, encoding="utf-8")
    return done.stdout


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the commands of each chapter have printed; ``root`` is the copy."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("attnae", "benchmarks", "configs", "templates"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    (root / "data" / "textures").mkdir(parents=True)
    images = np.random.default_rng(0).integers(256, size=(308, 32, 32, 3), dtype=np.uint8)
    np.savez(root / "data" / "textures" / "textures.npz", train=images[:300], test=images[300:])
    said = {"root": str(root)}
    for block in blocks():
        said[block.chapter] = said.get(block.chapter, "") + follow(block, root)
    return said


@pytest.mark.slow  # five trainings of seconds, each of which imports Lightning
class TestWalk:
    def test_paper(self, followed: dict[str, str]) -> None:
        report = Path(followed["root"], "reports/linear_filter/quick/README.md").read_text(encoding="utf-8")
        assert "# Linear filter: demonstration on embedded photos" in report
        assert "A larger filter removes more noise" in report
        assert "the paper's filter" in followed["Add a paper"]
        assert not Path(followed["root"], "linear_filter").exists()

    def test_variant(self, followed: dict[str, str]) -> None:
        results = Path(followed["root"], "reports/linear_filter/quick/results.csv").read_text(encoding="utf-8")
        assert {line.split(",")[0] for line in results.splitlines()[1:]} == {"small", "large", "pixelwise"}
        assert "large/seed1" not in followed["Add a variant"]  # finished runs are not repeated

    def test_metric(self, followed: dict[str, str]) -> None:
        root = Path(followed["root"])
        report = (root / "reports/linear_filter/quick/README.md").read_text(encoding="utf-8")
        assert "largest error" in report  # among the definitions; a page shows fewer columns than results.csv
        with (root / "reports/linear_filter/quick/results.csv").open(encoding="utf-8", newline="") as stream:
            worst = {row["variant"]: row["heldout/worst"] for row in csv.DictReader(stream)}
        assert 0 < float(worst["large"]) <= 1
        assert "| `worst` | largest error |" in (root / "attnae/metrics/README.md").read_text(encoding="utf-8")

    def test_dataset(self, followed: dict[str, str]) -> None:
        assert Path(followed["root"], "runs/textures/weights.safetensors").is_file()

    def test_style(self, followed: dict[str, str]) -> None:
        ruff = [sys.executable, "-m", "ruff", "check", "attnae/papers/linear_filter", "attnae/data/textures.py"]
        subprocess.run(ruff, cwd=followed["root"], check=True)
