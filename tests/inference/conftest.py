"""Runs that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import KINDS, write_run


@pytest.fixture(scope="session", params=sorted(KINDS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / request.param, request.param)


@pytest.fixture(scope="session")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "denoiser", "denoiser")


@pytest.fixture(scope="session")
def vqvae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "vqvae", "vqvae")


@pytest.fixture(scope="session")
def saaae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "saaae", "saaae")
