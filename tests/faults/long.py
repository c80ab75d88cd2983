"""The long form: injects every fault as often as stated in the catalog, and writes a page of the results.

    python tests/faults/long.py --out reports/reliability.md

What has been tried is kept in the folder --work: the same command goes on after an interruption. It takes about twenty
minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import catalog
from harness import Fault, Impossible, Tally

from attnae.bench.markdown import escape
from attnae.bench.running.outcome import git_state
from attnae.files import write_text

PACKAGES = ("attnae", "torch", "lightning", "jsonargparse", "safetensors", "filelock", "pillow", "numpy")


UNTRIED: dict[str, Any] = {
    "tried": 0, "failures": [], "notes": [], "impossible": "", "seconds": 0, "date": "", "git": {},
}  # fmt: skip
"""Of a fault that is still to be tried."""


def tried(fault: Fault, work: Path, now: bool) -> dict[str, Any]:
    """What came of a fault: from the folder if it has been tried, else by trying it if that is wanted now."""
    path = work / f"{fault.inject.__name__}.json"
    if not path.exists():
        if not now:
            return UNTRIED
        began, tally, impossible = time.monotonic(), Tally(), ""
        folder = Path(tempfile.mkdtemp(prefix=f"{fault.inject.__name__}-"))
        print(f"{fault.family}: {fault.name}", flush=True)
        try:
            fault.inject(tally, fault.long, folder)
        except Impossible as reason:
            impossible = str(reason)
        shutil.rmtree(folder, ignore_errors=True)
        record = {
            "tried": tally.tried,
            "failures": tally.failures,
            "notes": tally.notes,
            "impossible": impossible,
            "seconds": round(time.monotonic() - began),
            "date": time.strftime("%Y-%m-%d"),
            "git": git_state(),
        }
        write_text(path, json.dumps(record, indent=1))
        print(
            f"  {tally.tried - len(tally.failures)} of {tally.tried} survived", *tally.failures, sep="\n  ", flush=True
        )
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def page(records: list[tuple[Fault, dict[str, Any]]]) -> str:
    """The page as Markdown: what happens is too long for a table."""
    commits = {r["git"]["commit"][:12] + ("+changes" if r["git"]["dirty"] else "") for _, r in records if r["git"]}
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    total, failed = sum(r["tried"] for _, r in records), sum(len(r["failures"]) for _, r in records)
    lines = [
        "# Reliability: faults and their outcomes",
        "",
        "Faults from outside, put through the commands that people type on tiny runs, and checked against what is "
        f"promised: **{total - failed} of {total} survived.** Written by `python tests/faults/long.py`; CI runs a short "
        "form of the same catalog (`pytest tests/faults`).",
        "",
        f"- {platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}",
        f"- tried {', '.join(sorted({r['date'] for _, r in records} - {''}))} at commit "
        f"{', '.join(sorted(commits)) or '-'}, {sum(r['seconds'] for _, r in records) / 60:.0f} minutes in all on "
        f"{os.cpu_count()} cores that did other work, too",
    ]
    for family in dict.fromkeys(fault.family for fault, _ in records):
        lines += ["", f"## {family}", ""]
        for fault, r in records:
            if fault.family == family:
                survived = f"{r['tried'] - len(r['failures'])} of {r['tried']}" if r["tried"] else "not tried"
                happens = fault.happens + "".join(f"; {note}" for note in r["notes"])
                if r["impossible"]:
                    happens += f" ({r['impossible']})"
                lines.append(f"- {escape(fault.name)}. **{survived}:** {escape(happens)}.")
        problems = [each for fault, r in records if fault.family == family for each in r["failures"]]
        lines += [f"- Not survived: {escape(each)}" for each in problems]
    return "\n".join([*lines, "", catalog.LIMITS.strip(), ""])


def main() -> int:
    """Tries what has not been tried, and writes the page."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--out", type=Path, default=Path("reports/reliability.md"))
    options.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "attnae-faults")
    options.add_argument("--only", nargs="*", help="names of faults, as functions are called; the others wait")
    chosen = options.parse_args()
    records = [
        (fault, tried(fault, chosen.work, chosen.only is None or fault.inject.__name__ in chosen.only))
        for fault in catalog.CATALOG
    ]
    write_text(chosen.out, page(records))
    return 1 if any(record["failures"] for _, record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
