"""Builds the documentation: ``sphinx-build -W docs docs/_build``. Needs no network.

Pages that live elsewhere in the repository (reports, READMEs of the papers, metrics, CONTRIBUTING) are copied to
``docs/_pages`` before each build, so nothing is written twice.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from attnae import __version__  # noqa: E402

project = "attnae"
author = "the attnae authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# Reports and READMEs are written for a forge: headings may skip levels, `text` is a fence without a lexer.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_rtype = False
napoleon_use_ivar = True  # else fields of named tuples are described twice
html_theme = "furo"
html_title = f"attnae {release}"
html_show_copyright = False

PAGES = HERE / "_pages"
COPIED = {
    "reports": "reports",
    "attnae/metrics/README.md": "metrics.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    **{f"attnae/papers/{name}/README.md": f"papers/{name}.md" for name in ("saaae", "attentive_vqvae", "moe_denoiser")},
}
KINDS = (".md", ".png", ".csv")


def relinked(text: str, source: Path, target: Path) -> str:
    """Links of a page that was moved: to other copied pages where there are some, else plain text."""

    def renew(found: re.Match[str]) -> str:
        bang, words, address = found["bang"], found["words"], found["address"]
        path, anchor, rest = re.fullmatch(r"([^#\s]*)(#\S*)?(.*)", address, re.DOTALL).groups()  # type: ignore[union-attr]
        if re.match(r"[a-z]+:", address) or not path:
            return found[0]
        there = (source.parent / path).resolve()
        for copied, place in COPIED.items():
            whole = (ROOT / copied).resolve()
            if there == whole or whole in there.parents:
                page = PAGES / place / there.relative_to(whole) if there != whole else PAGES / place
                page = page / "README.md" if page.suffix == "" else page
                if (ROOT / copied if there == whole else there).exists() and page.suffix in KINDS:
                    return f"{bang}[{words}]({_relative(page, target.parent)}{anchor or ''}{rest})"
        return found[0] if bang else words

    return re.sub(
        r"(?P<bang>!?)\[(?P<words>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<address>[^()]*(?:\([^()]*\)[^()]*)*)\)", renew, text
    )


def _relative(path: Path, start: Path) -> str:
    up = 0
    while start not in path.parents:
        start, up = start.parent, up + 1
    return "../" * up + path.relative_to(start).as_posix()


def copy_pages() -> None:
    """Copies pages and their pictures to ``docs/_pages``."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for name, place in COPIED.items():
        source = ROOT / name
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        for file in files:
            if not file.is_file() or file.suffix not in KINDS or "quick" in file.parts:
                continue
            target = PAGES / place / file.relative_to(source) if source.is_dir() else PAGES / place
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix != ".md":
                shutil.copyfile(file, target)
                continue
            text = re.sub(r'<a id="(\w+)"></a>\n', r"(\1)=\n", file.read_text(encoding="utf-8"))
            text = relinked(text, file, target)
            reached = "" if name != "reports" or file.parent == source else "---\norphan: true\n---\n\n"
            target.write_text(reached + text, encoding="utf-8")


copy_pages()
