"""Runs ``attnae-bench`` on comparisons that take less time than the start of the process."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attnae import result
from attnae.bench import app
from attnae.bench.catalog import lookup

PROGRAM = [sys.executable, "-m", "attnae.bench.app"]
SMALL = ("trainer.accelerator=cpu", "data.init_args.train_images=32", "data.init_args.test_images=16",
         "data.init_args.val_images=8", "data.init_args.batch_size=16")  # fmt: skip
TINY = (*SMALL, "data.init_args.image_size=16", "model.init_args.net.init_args.image_size=16",
        "model.init_args.net.init_args.channels=[4,4,4,4]", "model.init_args.net.init_args.latent_dim=8")  # fmt: skip


def options(*settings: str) -> list[str]:
    """Overrides as command-line arguments."""
    return [word for setting in settings for word in ("--set", setting)]


RUN = ["run", "saaae_vs_vae", *options(*TINY), "--label", "tiny"]
ENDLESS = [*RUN, "--variants", "vae", *options("trainer.max_epochs=100000")]


@dataclass
class Done:
    """A finished command."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        return self.out + self.err


def start(*arguments: str | Path, cwd: Path, path: Path | None = None) -> subprocess.Popen[str]:
    """Starts the command in the background; programs in the folder ``path`` take precedence over those of the system."""
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], cwd=cwd, stdout=pipe, stderr=pipe, text=True, env=environment
    )


def ended(process: subprocess.Popen[str], patience: float = 240) -> Done:
    """Waits for the command and checks its output: no traceback, and no control codes in a pipe."""
    began = time.monotonic()
    out, err = process.communicate(timeout=patience)
    return checked(Done(process.returncode, out, err, time.monotonic() - began))


def checked(done: Done) -> Done:
    """Asserts what holds for every command."""
    assert "Traceback" not in done.text, done.text
    assert "\x1b" not in done.text, "control codes in a pipe"
    return done


def bench(*arguments: str | Path, cwd: Path, path: Path | None = None) -> Done:
    """Runs ``attnae-bench`` to completion, in this process: trainings are forked from one that has imported the libraries."""
    out, err, words = io.StringIO(), io.StringIO(), list(map(str, arguments))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr("sys.argv", ["attnae-bench", *words])
        patch.setattr(lookup, "_others", {})
        if path:
            patch.setenv("PATH", f"{path}:{os.environ['PATH']}")
        began = time.monotonic()
        try:
            code = app.main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        seconds = time.monotonic() - began
    return checked(Done(code, out.getvalue(), err.getvalue(), seconds))


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Polls until ``what`` returns a true value while the process runs."""
    patience = time.monotonic() + 240
    while not (found := what()):
        assert process.poll() is None, process.communicate()
        if time.monotonic() > patience:
            process.kill()  # it might train for hours
            pytest.fail("nothing happened within four minutes")
        time.sleep(0.02)
    return found


def training(process: subprocess.Popen[str], run: str) -> int:
    """PID of the process that trains a run, such as ``vae/seed1``; a runner forks it from one that it has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process has ended
            if (path / "comm").read_text() == f"{run}\n" and process.pid in (parent(path), parent(path, 2)):
                found.append(int(path.name))
    assert len(found) == 1
    return found[0]


def parent(path: Path, generations: int = 1) -> int:
    """PID of an ancestor of the process with this folder in ``/proc``."""
    for _ in range(generations):
        number = next(
            line.split()[1] for line in (path / "status").read_text().splitlines() if line.startswith("PPid:")
        )
        path = path.with_name(number)
    return int(path.name)


def folders(cwd: Path, variant: str = "*") -> list[Path]:
    """Run folders of a variant."""
    return sorted(cwd.glob(f"runs/*/*/{variant}/seed*"))


def folder(cwd: Path, variant: str) -> Path:
    """Folder of the only run of a variant."""
    (found,) = folders(cwd, variant)
    return found


def readme(cwd: Path, label: str = "tiny") -> str:
    """Text of the report."""
    return (cwd / "reports/saaae_vs_vae" / label / "README.md").read_text(encoding="utf-8")


def wait_for_an_epoch(process: subprocess.Popen[str], cwd: Path, variant: str = "vae") -> None:
    """Waits until an epoch is finished and its checkpoint is written."""
    wait_for(lambda: any((run / "checkpoints/last.ckpt").exists() for run in folders(cwd, variant)), process)


def log(run: Path) -> str:
    """Log of the commands of a run."""
    return (run / "log.txt").read_text(encoding="utf-8")


def curves(run: Path) -> dict[str, list[float]]:
    """Curves of a complete run, except times."""
    return {k: v for k, v in result.read_result(run / "result.json").curves.items() if "seconds" not in k}


def equal(one: Path, other: Path) -> None:
    """Asserts that two complete runs have bitwise equal weights, metrics and curves."""
    assert result.read_result(one / "result.json").metrics == result.read_result(other / "result.json").metrics
    assert curves(one) == curves(other)
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()


def images(root: Path, train: int, test: int, size: int = 16, nested: bool = False) -> Path:
    """A folder of random PNGs."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for index in range(count):
            path = root / split / (("cats", "dogs")[index % 2] if nested else ".") / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
    return root


def table(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table after a heading."""
    below = text.split(f"\n## {heading}\n", 1)[1].split("\n## ")[0]
    lines = list(takewhile(lambda line: line.startswith("|"), below[below.index("\n|") + 1 :].splitlines()))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def refused(done: Done, *culprits: str) -> None:
    """Asserts that a command failed with a one-line error message that contains the culprits."""
    assert done.code == 2, done.text
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("attnae-bench: error: ")
    for culprit in culprits:
        assert culprit in line
