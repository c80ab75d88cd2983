"""Sphinx settings. ``sphinx-build -W docs docs/_build`` builds the site without a network."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
sys.path[:0] = [str(REPOSITORY), str(HERE)]

import inventories  # noqa: E402

from attnae import __version__  # noqa: E402

project = "attnae"
author = "The attnae maintainers"
copyright = author
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = []
suppress_warnings = ["myst.header"]  # reports begin some parts at the third level
html_theme = "furo"
html_title = f"attnae {release}"
html_copy_source = False

intersphinx_mapping = {
    site: (address, str(HERE / "_inventories" / f"{site}.inv")) for site, (address, _) in inventories.SITES.items()
}
nitpicky = False  # other names of foreign packages are plain text

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # Lightning writes its own markup
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes stay in the class and are no second entry

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r"^\$ "
copybutton_prompt_is_regexp = True

# -- pages that live elsewhere -------------------------------------------------------------------------------------------

COPIES = HERE / "_copied"
"""Pages of the repository, copied at build time with what they show; ignored by git."""


@cache
def copied_files() -> list[Path]:
    """Pages, pictures and tables that the site takes from elsewhere; demonstrations of one machine are left out."""
    patterns = ("reports/**/*.md", "reports/**/*.png", "reports/**/*.csv", "attnae/papers/*/*.md")
    found = [path for pattern in patterns for path in REPOSITORY.glob(pattern)]
    found = [path for path in found if not any(part.startswith("quick") for part in path.relative_to(REPOSITORY).parts)]
    names = ("attnae/metrics/README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
    return sorted(found) + [REPOSITORY / name for name in names]


def adapted(page: Path, files: set[Path]) -> str:
    """Text of a page in which anchors are MyST targets, and links that the site does not contain are their text alone."""

    def link(match: re.Match[str]) -> str:
        text, address = match.group(1), match.group(2)
        if re.match(r"[a-z]+:|#", address) or (page.parent / address).resolve() in files:
            return match.group(0)
        return text

    text = re.sub(r'^<a id="([^"]+)"></a>$', r"(\1)=", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.sub(r'(?<!!)\[([^\[\]]*)\]\(([^()\s]+)(?: "[^"]*")?\)', link, text)


def to_copies(app: Any, docname: str, source: list[str]) -> None:
    """Points links of the site's own pages, which a forge follows into the repository, to the copies."""
    page = HERE / docname
    if COPIES in page.parents:
        return
    files = set(copied_files())

    def link(match: re.Match[str]) -> str:
        path = (page.parent / match.group(2)).resolve()
        if path not in files:
            return match.group(0)
        return f"{match.group(1)}({os.path.relpath(COPIES / path.relative_to(REPOSITORY), page.parent)}{match.group(3) or ''})"

    source[0] = re.sub(r"(\[[^\[\]]*\])\((\.\./[^()\s#]+)(#[^()\s]*)?\)", link, source[0])


def copy_pages() -> None:
    """Copies them; a page that did not change keeps its time, so that Sphinx does not read it again."""
    files = copied_files()
    targets = {COPIES / path.relative_to(REPOSITORY): path for path in files}
    for old in [path for path in COPIES.rglob("*") if path.is_file() and path not in targets]:
        old.unlink()
    for target, path in targets.items():
        content = adapted(path, set(files)).encode() if path.suffix == ".md" else path.read_bytes()
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def without_fields(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out fields of named tuples, which the class documents."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Any) -> None:
    """Copies the pages before Sphinx looks for them."""
    copy_pages()
    inventories.write(HERE / "_inventories")
    app.connect("source-read", to_copies)
    app.connect("autodoc-skip-member", without_fields)
