"""Links of all Markdown files lead to files of the repository, as on a forge."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a checkout")


def tracked() -> set[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout.decode()
    return {REPOSITORY / name for name in names.split("\0") if name}


def anchors(page: Path) -> set[str]:
    """Of headings, as a forge names them, and of ``<a id>``."""
    text = re.sub(r"^(```+).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    named = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a id="([^"]+)">', text))


def test_relative_links_lead_to_tracked_files() -> None:
    files = tracked()
    folders = {parent for path in files for parent in path.parents}
    pages = [path for path in files if path.suffix == ".md" and "golden" not in path.parts and path.is_file()]
    broken = []
    for page in pages:
        text = re.sub(r"^(```+).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for address in re.findall(r'\]\(([^()\s]+)(?: "[^"]*")?\)', re.sub(r"`[^`\n]*`", "", text)):
            path, _, anchor = address.partition("#")
            if re.match(r"[a-z]+:", address):
                continue
            target = (page.parent / unquote(path)).resolve() if path else page
            if target not in files | folders or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(REPOSITORY)}: {address}")
    assert len(pages) > 50
    assert not broken
