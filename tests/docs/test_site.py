"""The documentation builds without warnings; its links and pictures exist; every public name is in the reference."""

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx", reason="sphinx is not installed: pip install '.[docs]', Python 3.11 or newer")

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = (
    "attnae",
    "attnae.bench",
    "attnae.data",
    "attnae.papers.saaae",
    "attnae.papers.attentive_vqvae",
    "attnae.papers.moe_denoiser",
)


class Page(HTMLParser):
    """Addresses of a page's links and pictures, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [value for name in ("href", "src") if (value := found.get(name)) is not None]
        self.anchors |= {value for name in ("id", "name") if (value := found.get(name))}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(out / "doctrees"),
        "docs",
        str(out / "html"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out / "html"


def pages(site: Path) -> Iterator[tuple[Path, Page]]:
    for path in sorted(site.rglob("*.html")):
        if path.name not in ("genindex.html", "search.html", "py-modindex.html"):
            yield path, Page(path)


def test_links_and_pictures_exist(site: Path) -> None:
    found = dict(pages(site))
    assert len(found) > 25
    broken = []
    for path, page in found.items():
        for address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.exists() or (
                parts.fragment and there in found and unquote(parts.fragment) not in found[there].anchors
            ):
                broken.append(f"{path.relative_to(site)}: {address}")
    assert not broken


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    anchors = " ".join(Page(site / "api.html").anchors)
    for name in PUBLIC:
        module = importlib.import_module(name)
        for public in module.__all__:
            if public in ("__version__", "api"):
                continue
            shown = getattr(module, public)
            home = f"{shown.__module__}.{shown.__qualname__}"
            assert re.search(rf"(^|\s)({re.escape(home)}|{re.escape(name)}\.{public})(\s|$)", anchors), (
                f"{name}.{public}"
            )


def test_reports_and_findings_are_pages_of_the_site(site: Path) -> None:
    for report in (ROOT / "reports").glob("*/*/README.md"):
        if "quick" not in report.parent.name:
            assert (site / "_pages" / report.relative_to(ROOT).with_suffix(".html")).is_file()
    assert (site / "_pages/reports/FINDINGS.html").is_file()
