"""Import rules, and response times of the runner."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from response import limit, responds_quickly

import attnae

PACKAGE = Path(attnae.__file__).parent
HEAVY = {"torch", "torchvision", "torchmetrics", "lightning", "jsonargparse", "matplotlib", "numpy", "PIL", "skimage",
         "scipy", "pandas", "pyarrow", "datasets", "huggingface_hub", "wandb", "safetensors", "einops"}  # fmt: skip

MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
NETS = [name for name, path in MODULES.items() if name.startswith("attnae.papers.") and path.name == "net.py"]


# -- loaded packages ----------------------------------------------------------------------------------------------


def loaded(code: str, cwd: Path) -> set[str]:
    """Heavy packages in ``sys.modules`` after running code in a new interpreter."""
    script = f"import atexit, json, sys\natexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n{code}"
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=False)
    return HEAVY & {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["list"],
        ["status"],
        ["run", "saaae_vs_vae", "--dry-run"],
        ["run", "saaae_vs_vae", "--dry-run", "--set", "mask_ratio=0.5"],
        ["show", "saaae_vs_vae", "--keys"],
        ["rum"],
        ["show", "saaae_vs_vae"],
        ["config", "saaae_vs_vae", "--variant", "vae"],
        ["doctor"],
        ["clean", "."],
        ["compare", ".", "."],
        ["--print-completion", "bash"],
    ],
    ids=" ".join,
)
def test_runner_commands_import_no_heavy_packages(arguments: list[str], tmp_path: Path) -> None:
    assert loaded(f"from attnae.bench.app import main\nmain({arguments!r})", tmp_path) == set()


@pytest.mark.parametrize(
    "module",
    [
        *(
            "attnae",
            "attnae.cli",
            "attnae.result",
            "attnae.data",
            "attnae.metrics.columns",
            "attnae.inference.commands",
            "attnae.inference.models",
            "attnae.inference.summary",
        ),
        *("attnae.data.content", "attnae.data.location", "attnae.data.official", "attnae.data.walk"),
    ],
)
def test_light_modules(module: str, tmp_path: Path) -> None:
    assert loaded(f"import {module}", tmp_path) == set()


def test_networks_load_without_lightning(tmp_path: Path) -> None:
    found = loaded("from attnae.papers.saaae import VAE, SAAAE", tmp_path)
    assert not found & {"lightning", "jsonargparse", "matplotlib", "torchmetrics", "skimage"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["--help"],
        ["status", "."],
        ["show", "saaae_vs_vae"],
        ["config", "saaae_vs_vae", "--variant", "vae"],
        ["clean", "."],
    ],
    ids=" ".join,
)
def test_runner_commands_respond_quickly(arguments: list[str], tmp_path: Path) -> None:
    responds_quickly(arguments, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models"], ""),
        (["apply", "--help"], ""),
        (["apply", "nowhere", "photo.png", "-o", "out"], "nowhere does not exist"),
        (["apply", "empty", "photo.png", "-o", "out"], "neither a run nor an exported model"),
        (["apply", "model", "missing.png", "-o", "out"], "missing.png does not exist"),
        (["apply", "model", "empty", "-o", "out"], "contains no such files"),
        (["apply", "model", "photo.png", "-o", "photo.png"], "is a file"),
        (["apply", "model", "photo.png", "-o", "out", "--sigma", "2"], "--sigma"),
        (["apply", "model", "photo.png", "-o", "out", "--sigma", "0.1"], "is not a denoiser"),
        (["apply", "model", "photo.png", "-o", "out", "--mask", "missing.png"], "There is no mask"),
        (["apply", "model", "photo.png"], "required: -o"),
        (["encode", "model", "missing.png", "-o", "out"], "missing.png does not exist"),
        (["decode", "model", "missing.codes", "-o", "out"], "missing.codes does not exist"),
        (["sample", "model", "-o", "out.jpg"], "PNG file"),
        (["export", "model", "photo.png"], "is a file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_reported_quickly(arguments: list[str], said: str, tmp_path: Path) -> None:
    """No heavy packages, and well under half a second of CPU time."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").touch()
    mask = {"class_path": "attnae.data.PatchMask"}
    config = {"format": 1, "model": {"class_path": "x"}, "image_size": 16, "corruption": mask}
    (tmp_path / "model" / "config.yaml").write_text(json.dumps(config))
    (tmp_path / "photo.png").touch()
    if said == "":
        assert (
            loaded(f"import sys\nfrom attnae.cli import main\nsys.argv[1:] = {arguments!r}\nmain()", tmp_path) == set()
        )
    worked = []
    for _ in range(3):
        began = sum(os.times()[2:4])
        command = [sys.executable, "-m", "attnae.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        worked.append(sum(os.times()[2:4]) - began)
        assert done.returncode == (2 if said else 0), done.stderr
        assert said in done.stderr
        assert done.stderr.count("\n") == bool(said)
    assert 0 < min(worked) < limit()


# -- layers --------------------------------------------------------------------------------------------------------


def imports(module: str, everywhere: bool = True) -> Iterator[str]:
    """Absolute names of the imports of a module, except those under ``if TYPE_CHECKING``.

    Args:
        module: Dotted name.
        everywhere: Also imports inside functions.
    """
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            # `from attnae.bench import plan` imports a module; `from attnae.bench.plan import Run` imports a name
            yield from (full if (full := f"{source}.{alias.name}") in MODULES else source for alias in node.names)
        elif everywhere or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += ast.iter_child_nodes(node)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("net", NETS)
def test_networks_import_only_torch(net: str) -> None:
    """Networks, including their imports from the same paper, import only torch, einops and the standard library."""
    paper, seen, waiting = net.rpartition(".")[0], set(), [net]
    while waiting:
        module = waiting.pop()
        seen.add(module)
        for name in imports(module):
            if within(name, paper) and name in MODULES:
                waiting += {name} - seen
            else:
                assert name.split(".")[0] in {"torch", "einops", *sys.stdlib_module_names}, f"{module} imports {name}"


BELOW = {
    "attnae.bench": ("attnae.bench", "attnae.result", "attnae.errors", "attnae.files", "attnae.paths", "attnae.data.location",
                     "attnae.data.cache_folder", "attnae.data.content", "attnae.data.walk", "attnae.metrics.columns",
                     "attnae.online", "attnae.parser", "attnae.streams"),
    "attnae.bench.running": ("attnae.bench.running", "attnae.bench.plan", "attnae.bench.identity", "attnae.bench.store",
                             "attnae.bench.request", "attnae.bench.sharing", "attnae.bench.jobs", "attnae.bench.markdown",
                             "attnae.data.content", "attnae.result", "attnae.errors", "attnae.files", "attnae.paths"),
    "attnae.bench.sharing": ("attnae.bench.identity", "attnae.result", "attnae.errors", "attnae.files", "attnae.paths"),
    "attnae.bench.identity": ("attnae.result", "attnae.errors", "attnae.files"),
    "attnae.bench.reporting": ("attnae.bench.reporting", "attnae.bench.catalog.benchmark", "attnae.bench.catalog",
                               "attnae.bench.markdown", "attnae.bench.store", "attnae.bench.sharing", "attnae.bench.identity",
                               "attnae.bench.labels", "attnae.result", "attnae.errors", "attnae.files", "attnae.paths",
                               "attnae.metrics.columns"),
    "attnae.bench.keys": ("attnae.bench.keys", "attnae.bench.catalog", "attnae.errors", "attnae.files", "attnae.paths"),
    "attnae.bench.catalog": ("attnae.bench.catalog", "attnae.metrics.columns", "attnae.errors", "attnae.files",
                             "attnae.paths"),
    "attnae.inference": ("attnae.inference", "attnae.training", "attnae.data", "attnae.metrics", "attnae.result", "attnae.errors",
                   "attnae.files", "attnae.paths", "attnae.bench.catalog", "attnae.parser", "attnae.trust"),
    "attnae.training": ("attnae.training", "attnae.data", "attnae.metrics", "attnae.result", "attnae.errors", "attnae.files",
                        "attnae.paths", "attnae.online", "attnae.streams"),
    "attnae.data": ("attnae.data", "attnae.errors", "attnae.files", "attnae.paths"),
    "attnae.data.walk": ("attnae.errors",),
    "attnae.data.official": ("attnae.data.decode", "attnae.errors", "attnae.files", "attnae.paths"),
    "attnae.data.cache_folder": ("attnae.errors", "attnae.files", "attnae.paths"),
    "attnae.data.formats": (),
    "attnae.data.layout": ("attnae.data.formats", "attnae.data.walk", "attnae.errors"),
    "attnae.data.archive": ("attnae.data.formats", "attnae.data.walk", "attnae.errors"),
    "attnae.data.hub": ("attnae.data.cache_folder", "attnae.errors"),
    "attnae.data.location": ("attnae.data.archive", "attnae.data.formats", "attnae.data.hub", "attnae.data.layout",
                             "attnae.data.official", "attnae.data.walk", "attnae.errors"),
    "attnae.metrics": ("attnae.metrics", "attnae.errors"),
    "attnae.result": ("attnae.errors", "attnae.files", "attnae.paths"),
    "attnae.files": ("attnae.errors", "attnae.paths"),
    "attnae.online": ("attnae.paths",),
    "attnae.parser": ("attnae.errors",),
    "attnae.paths": (),
    "attnae.streams": ("attnae.paths",),
    "attnae.trust": ("attnae.errors",),
    "attnae.errors": (),
    "attnae._version": (),
}  # fmt: skip
"""Allowed imports of each part of the package."""


def test_no_import_cycles() -> None:
    """Top-level imports form no cycle."""
    open_, done = list[str](), set[str]()

    def visit(module: str) -> None:
        assert module not in open_, f"circle: {' -> '.join([*open_[open_.index(module) :], module])}"
        if module not in done:
            open_.append(module)
            for name in sorted(set(imports(module, everywhere=False)) & MODULES.keys()):
                visit(name)
            open_.pop()
            done.add(module)

    for module in MODULES:
        visit(module)


PROCESSES = {
    ("attnae.bench.running.child", "attnae.cli"),
    ("attnae.bench.running.child", "attnae.streams"),
    ("attnae.bench.running.classes", "attnae.trust"),
}
"""Additional imports of modules that only run as separate processes, without the runner."""


@pytest.mark.parametrize("part", BELOW)
def test_imports_respect_layers(part: str) -> None:
    for module in MODULES:
        if within(module, part):
            for name in imports(module):
                if within(name, "attnae") and (module, name) not in PROCESSES:
                    assert within(name, "attnae._version", *BELOW[part]), f"{module} imports {name}"


IMAGES_WITHOUT_TORCH = {
    "archive",
    "cache",
    "cache_folder",
    "content",
    "decode",
    "faces",
    "formats",
    "hub",
    "layout",
    "location",
    "official",
    "parquet",
    "photos",
    "sources",
    "versions",
    "walk",
}
"""Modules of ``attnae.data`` that the runner uses to inspect datasets."""


@pytest.mark.parametrize("module", sorted(IMAGES_WITHOUT_TORCH))
def test_images_are_decoded_without_torch(module: str) -> None:
    for name in imports(f"attnae.data.{module}"):
        assert name.split(".")[0] not in {"torch", "torchvision", "lightning", "torchmetrics"}, name
        if within(name, "attnae.data"):
            assert name == "attnae.data" or name.split(".")[2] in IMAGES_WITHOUT_TORCH, name


def test_runner_imports_no_torch() -> None:
    """Also not inside functions; packages that only reports need are allowed there."""
    for module in MODULES:
        if within(module, "attnae.bench"):
            heavy = {
                name
                for name in imports(module)
                if name.split(".")[0] in HEAVY - {"numpy", "PIL", "matplotlib", "scipy", "pandas"}
            }
            assert not heavy, f"{module} imports {heavy}"


def test_papers_do_not_import_each_other() -> None:
    for module in MODULES:
        if within(module, "attnae.papers") and module.count(".") > 2:
            paper = ".".join(module.split(".")[:3])
            others = {n for n in imports(module) if within(n, "attnae.papers", "attnae.bench") and not within(n, paper)}
            assert not others, f"{module} imports {others}"
