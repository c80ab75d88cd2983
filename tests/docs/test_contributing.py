"""CONTRIBUTING.md is followed to the letter in a copy of the repository: files written, changes applied, commands run."""

import csv
import json
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
TERMINAL = """
import contextlib, io, json, os, sys, traceback
from attnae.bench.running import processes
lasting = {f"attnae.bench.running.{name}" for name in ("processes", "forkserver")}
for line in sys.stdin:
    program, *words = json.loads(line)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if program == "attnae":
                done = processes.run(os.path.abspath("attnae/cli.py"), words, os.environ)
                code = done.returncode
                print(done.stdout, end="")
                print(done.stderr, end="", file=sys.stderr)
            else:
                from attnae.bench import app
                sys.argv = [program, *words]
                code = app.main(words)
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
    for name in [name for name in sys.modules if name.startswith("attnae") and name not in lasting]:
        del sys.modules[name]
"""
"""Executes commands with the code of the copy as it is at the time.

Only the process that forks trainings lasts: it imports Lightning once, and nothing of attnae.
"""


class Block(NamedTuple):
    chapter: str
    kind: str
    text: str


def blocks() -> Iterator[Block]:
    """The code of the walk, without the first chapter, which sets a machine up."""
    for chapter in (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL):
            yield Block(chapter.splitlines()[0], kind, text)


def follow(block: Block, root: Path, terminal: subprocess.Popen[str]) -> str:
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
    return "".join(run(line, root, terminal) for line in block.text.splitlines())


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"}


def run(line: str, root: Path, terminal: subprocess.Popen[str]) -> str:
    command, _, target = line.partition(" > ")
    words = shlex.split(command + (SMALL if command.startswith("attnae-bench run") else ""))
    if words[0] in ("attnae", "attnae-bench"):
        assert terminal.stdin
        assert terminal.stdout
        print(json.dumps(words), file=terminal.stdin, flush=True)
        answer = terminal.stdout.readline()
        assert answer, f"{line}: the process that executes the commands has ended"
        code, out, err = json.loads(answer)
    else:
        words[0] = sys.executable if words[0] == "python" else words[0]
        done = subprocess.run(words, cwd=root, env=environment(root), capture_output=True, text=True)
        code, out, err = done.returncode, done.stdout, done.stderr
    assert not code, f"{line}\n{out}\n{err}"
    if target:
        (root / target).write_text(out, encoding="utf-8")
    return str(out)


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
    command, pipe = [sys.executable, "-c", TERMINAL], subprocess.PIPE
    with subprocess.Popen(command, cwd=root, env=environment(root), stdin=pipe, stdout=pipe, text=True) as terminal:
        for block in blocks():
            said[block.chapter] = said.get(block.chapter, "") + follow(block, root, terminal)
    return said


@pytest.mark.slow  # five trainings of seconds
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
