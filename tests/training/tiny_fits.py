"""Runs ``attnae`` on tiny networks, in this process: importing Lightning takes seconds."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import lightning  # noqa: F401 - its log must not keep a redirected standard error
import pytest
import torch
from safetensors.torch import load_file

from attnae.bench import catalog
from attnae.cli import main
from attnae.files import dump_yaml

IMAGES = {"image_size": 16, "train_images": 32, "test_images": 16, "batch_size": 16}
NET = {"image_size": 16, "channels": [4, 4, 4, 4], "latent_dim": 8}


@cache
def config_of(benchmark: str, variant: str) -> str:
    """A file with the configuration of a variant, in the first profile."""
    loaded = catalog.load(benchmark)
    path = Path(tempfile.mkdtemp()) / f"{benchmark}-{variant}.yaml"
    path.write_text(dump_yaml(loaded.configuration(variant, next(iter(loaded.profiles)))), encoding="utf-8")
    return str(path)


VAE, SAAAE = config_of("saaae_vs_vae", "vae"), config_of("saaae_vs_vae", "saaae")
TIMES = ("epoch_seconds", "epoch_cpu_seconds", "seconds")


def keys(prefix: str, values: dict[str, Any]) -> list[str]:
    return [f"--{prefix}.init_args.{name}={json.dumps(value)}" for name, value in values.items()]


TINY = [*keys("data", IMAGES), *keys("model.init_args.net", NET), "--trainer.accelerator=cpu"]

FEW = [*keys("data", {"train_images": 4, "test_images": 2, "batch_size": 2}), "--trainer.accelerator=cpu"]

FEW_32 = [
    *keys("data", {"image_size": 32, "train_images": 8, "test_images": 4, "batch_size": 4}),
    "--trainer.accelerator=cpu",
]

NARROW_NET = keys("model.init_args.net", {"width": 4, "latent": 4, "codes": 8})

NARROW = [
    *FEW_32,
    *NARROW_NET,
    *keys("model.init_args.discriminator", {"width": 4}),
]

NARROW_MOE = [
    *FEW,
    *keys("model.init_args.net", {"width": 16, "heads": 2, "depth": 1, "router_hidden": 8, "feedforward": 16}),
]

SHALLOW = keys("model.init_args.net", {"depth": 2, "channels": 4})
"""For DnCNN."""

SMALL: dict[str, list[str]] = {
    "saaae_vs_vae": TINY,
    "attentive_vqvae": NARROW,
    "vqvae_adversary": [*FEW_32, *NARROW_NET],
    "vq_codebooks": [*FEW_32, *keys("model.init_args.net", {"width": 4})],
}
"""Overrides that make a benchmark's configs small; without an entry its networks train as they are, on few images."""


class Outcome(NamedTuple):
    """Output of a command."""

    code: int
    out: str
    err: str


def attnae(*arguments: str | Path) -> Outcome:
    """Runs ``attnae`` with these arguments in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["attnae", *map(str, arguments)])
        patch.setattr(os, "environ", os.environ.copy())  # Lightning leaves the seed there
        try:
            code = main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Outcome(code, out.getvalue(), err.getvalue())


def fit(folder: Path, *arguments: str | Path, config: str = VAE, epochs: int = 1) -> Path:
    """Trains a tiny network; returns the run's folder."""
    done = attnae(
        "fit", "-c", config, *TINY, f"--trainer.max_epochs={epochs}", "--trainer.default_root_dir", folder, *arguments
    )
    assert done.code == 0, done.err
    return folder


def evaluate(run: Path, *arguments: str | Path, command: str = "test") -> Path:
    """Evaluates a finished run with its own config and weights."""
    done = attnae(command, "-c", run / "config.yaml", "--weights", run / "weights.safetensors", *arguments)
    assert done.code == 0, done.err
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights.safetensors")


def same_bits(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def curves(run: Path) -> list[dict[str, str]]:
    """Rows of ``metrics.csv`` without what depends on the clock."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows(run)]


def part(run: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / name).read_text(encoding="utf-8"))
    return content


def refused(done: Outcome, *culprits: str, code: int = 2) -> None:
    """A single line that names the cause."""
    assert done.code == code, done
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("attnae: error: ")
    for culprit in culprits:
        assert culprit in lines[0]
    assert "Traceback" not in done.out + done.err
