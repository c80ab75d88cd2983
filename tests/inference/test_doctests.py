"""Doctests of the public API."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest
import torch

import attnae.bench as bench
from attnae.data import PatchMask
from attnae.inference.load import Model
from attnae.papers.moe_denoiser import DnCNN, MoEDenoiserTask
from attnae.result import Part

MODULES = [
    "attnae.inference.tiles", "attnae.inference.images", "attnae.inference.pictures", "attnae.inference.load",
    "attnae.inference.codes",
    "attnae.papers.saaae.net", "attnae.papers.attentive_vqvae.net", "attnae.papers.attentive_vqvae.quantizer",
    "attnae.papers.attentive_vqvae.discriminator", "attnae.papers.moe_denoiser.net", "attnae.papers.moe_denoiser.baselines",
    "attnae.bench.api", "attnae.bench.reporting.latex", "attnae.metrics.functional", "attnae.metrics.images", "attnae.data.noise",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # examples read the committed reports
    torch.manual_seed(0)
    untrained = Model(MoEDenoiserTask(DnCNN(2, 4)).eval(), 16, PatchMask(), {}, Part(), Path())
    module = import_module(name)
    done = doctest.testmod(
        module, extraglobs={"model": untrained, "torch": torch, "bench": bench}, optionflags=doctest.ELLIPSIS
    )
    assert done.attempted, f"{name} has no examples"
    assert not done.failed
