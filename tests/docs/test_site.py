"""The documentation site: it builds without a warning, its links and pictures exist, and it names everything that is public."""

import argparse
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import attnae
from attnae.bench import app
from attnae.inference import commands as inference

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
TOOLS = ("sphinx", "myst_parser", "furo", "sphinx_copybutton", "sphinx_design")
MISSING = [name for name in TOOLS if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (pip install -e '.[docs]')"),
    pytest.mark.skipif(not (DOCS / "conf.py").is_file(), reason="the site is built from a checkout"),
]

EXPORTING = ("attnae", "attnae.bench", "attnae.data", "attnae.papers.attentive_vqvae", "attnae.papers.moe_denoiser",
             "attnae.papers.saaae")  # fmt: skip
"""Packages that list their public names."""

WHOLE = ("attnae.metrics", "attnae.training", "attnae.inference")
"""Packages whose modules are public as they are."""


class Page(HTMLParser):
    """Addresses and anchors of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value and (tag, name) != ("link", "href"):
                self.addresses.append(value)
            if name == "id" and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once. It must not need a network: proxies lead nowhere."""
    out = tmp_path_factory.mktemp("site")
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    words += ["-d", str(tmp_path_factory.mktemp("doctrees")), str(DOCS), str(out)]
    environment = {**os.environ, **nowhere, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_links_and_pictures_exist(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            missing = parts.fragment and target in pages and not anchored(pages[target], parts.fragment)
            if missing or not target.is_file():
                broken.append(f"{path.name}: {address}")
    assert not broken


def anchored(page: Page, fragment: str) -> bool:
    return unquote(fragment) in page.anchors or fragment in page.anchors


def test_pages_of_the_repository_are_included(site: Path) -> None:
    for name in ("reports/README", "reports/FINDINGS", "attnae/metrics/README", "CONTRIBUTING"):
        assert (site / "_copied" / f"{name}.html").is_file()
    assert "effects.png" in (site / "_copied/reports/FINDINGS.html").read_text(encoding="utf-8")


def public_names() -> list[str]:
    """Names that packages export, and classes and functions of the modules that are public as they are."""
    names = [f"{package}.{name}" for package in EXPORTING for name in importlib.import_module(package).__all__]
    for package in WHOLE:
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
            module = importlib.import_module(f"{package}.{found.name}")
            names += [f"{module.__name__}.{name}" for name, value in vars(module).items()
                      if not name.startswith("_") and inspect.isroutine(value) | inspect.isclass(value)
                      and value.__module__ == module.__name__]  # fmt: skip
    return names


def test_every_public_name_is_in_the_reference(pages: dict[Path, Page]) -> None:
    anchors = set().union(*(page.anchors for path, page in pages.items() if path.parent.name == "reference"))
    assert attnae.__all__
    assert not [name for name in public_names() if name not in anchors]


def test_types_of_torch_link_to_its_documentation(site: Path) -> None:
    page = (site / "reference/papers.html").read_text(encoding="utf-8")
    assert 'href="https://docs.pytorch.org/docs/stable/tensors.html#torch.Tensor"' in page
    assert 'href="https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module"' in "".join(
        path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html")
    )


def test_code_of_the_gallery_is_shown(site: Path) -> None:
    for script in (DOCS / "gallery").glob("*.py"):
        if script.name == "build.py":
            continue
        text = unescape(re.sub("<[^>]+>", "", (site / f"gallery/{script.stem}.html").read_text(encoding="utf-8")))
        assert script.read_text(encoding="utf-8").splitlines()[0] in text


def commands() -> list[str]:
    """Commands of attnae in the guide."""
    fences = [
        fence
        for page in sorted((DOCS / "guide").glob("*.md"))
        for fence in re.findall(r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    ]
    lines = [line for fence in fences for line in fence.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith("attnae")))


@pytest.mark.parametrize("command", commands())
def test_commands_are_understood(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "attnae-bench":
        app.parser(words[:1]).parse_args(words)
    else:
        parser = argparse.ArgumentParser()
        inference.add_commands(parser.add_subparsers(required=True))
        parser.parse_args(words)
