"""The package works from a wheel, without a checkout."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import attnae
from attnae.files import shipped

CHECKOUT = Path(attnae.__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (CHECKOUT / "pyproject.toml").exists(), reason="there is no checkout to build from")


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode and "hatchling" in done.stderr and "No matching distribution" in done.stderr:
        pytest.skip("hatchling is neither installed nor to be fetched")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    here = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    pip("wheel", ".", "--no-deps", "--quiet", "-w", folder, *here)
    (built,) = folder.glob("attnae-*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--quiet", "--target", folder, wheel)
    return folder


def python(site: Path, *arguments: str, cwd: Path) -> str:
    """Runs the installed package outside of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_contains_configs_and_benchmarks(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder in ("benchmarks", "configs"):
        files = {f"attnae/_files/{path.relative_to(CHECKOUT).as_posix()}" for path in shipped(folder).rglob("*.yaml")}
        assert files
        assert files <= names
    models = {
        f"attnae/_files/models/{path.relative_to(shipped('models')).as_posix()}"
        for path in shipped("models").rglob("*")
        if path.is_file()
    }
    assert models
    assert models <= names
    assert wheel.stat().st_size < 8e6
    assert "attnae/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "reports/", "data/", "runs/"))]


def test_installed_runner_lists_and_plans(site: Path, tmp_path: Path) -> None:
    where = python(site, "-c", "import attnae.files; print(attnae.files.shipped('configs'))", cwd=tmp_path).strip()
    assert Path(where) == site / "attnae/_files/configs"
    listed = python(site, "-m", "attnae.bench.app", "list", cwd=tmp_path)
    names = [path.stem for path in (CHECKOUT / "benchmarks").glob("*.yaml")]
    assert names
    assert all(name in listed for name in names)
    for name in names:
        planned = python(site, "-m", "attnae.bench.app", "run", name, "--dry-run", cwd=tmp_path)
        assert f"attnae-bench config {name} --variant " in planned
        assert "attnae fit -c run.yaml " in planned


def test_installed_training_finds_its_configs(site: Path, tmp_path: Path) -> None:
    configs = ["-c", "configs/saaae.yaml"]
    printed = python(site, "-m", "attnae.cli", "fit", *configs, "--print_config", cwd=tmp_path)
    assert "class_path: attnae.papers.saaae.SAAAE" in printed
    shown = python(site, "-m", "attnae.bench.app", "config", "saaae_vs_vae", "--variant", "vae", cwd=tmp_path)
    assert "class_path: attnae.papers.saaae.VAE" in shown
    assert "batch_size: 64" in shown
