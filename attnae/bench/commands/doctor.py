"""``attnae-bench doctor``: checks packages, devices, disk space, data and accounts on this machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from rich.markup import escape

from attnae._version import __version__
from attnae.bench import catalog, tracking
from attnae.bench.catalog.configuration import section
from attnae.bench.commands.arguments import Subparsers, add_out
from attnae.bench.running.resources import cores
from attnae.bench.terminal import console, grid, size
from attnae.data.cache_folder import wanted_folder
from attnae.data.location import HINTS, OFFICIAL, Location, locate
from attnae.errors import UserError
from attnae.paths import shown

OK, NOTE, BROKEN = "ok", "note", "broken"

MALICIOUS = {"lightning": ("2.6.2", "2.6.3"), "pytorch-lightning": ("2.6.2", "2.6.3")}
"""Releases known to contain malware."""

PATIENCE = 60
"""Time limit in seconds for torch to report its devices."""

Finding = tuple[str, str, str]
"""State, subject and message."""


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("doctor", help="check this machine: packages, devices, disk space, data and accounts")
    add_out(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, for a bug report")
    parser.set_defaults(handler=doctor)


def doctor(options: argparse.Namespace) -> int:
    """Prints the findings; returns 1 only if nothing can run."""
    findings = [*_packages(), *_devices(), *_machine(options.out), *_data(), _wandb(), _slurm()]
    if options.json:
        print(json.dumps(_as_json(findings), indent=2))
        return 1 if any(state == BROKEN for state, _, _ in findings) else 0
    table = grid()
    for state, subject, text in findings:
        color = {OK: "green", NOTE: "yellow", BROKEN: "red"}[state]
        table.add_row(f"[{color}]{state}[/]", escape(subject), escape(text))
    out = console()
    out.print(table)
    broken = [subject for state, subject, _ in findings if state == BROKEN]
    out.print(f"Fix these problems first: {', '.join(broken)}." if broken else "Ready: attnae-bench list")
    return 1 if broken else 0


def _as_json(findings: list[Finding]) -> dict[str, Any]:
    """The findings for a bug report. ``versions`` has None for a required package that is not installed."""
    versions = {"attnae": __version__, "python": platform.python_version(), "platform": platform.platform()}
    packages: dict[str, str | None] = {}
    for need in _requirements():
        try:
            packages[need.name] = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            packages[need.name] = None
    return {
        "versions": {**versions, **packages},
        "findings": [{"state": state, "subject": subject, "text": text} for state, subject, text in findings],
    }


def _requirements() -> Iterator[Requirement]:
    """Packages required on this machine, without extras."""
    for text in metadata.requires("attnae") or []:
        need = Requirement(text)
        if not need.marker or need.marker.evaluate({"extra": ""}):
            yield need


def _packages() -> Iterator[Finding]:
    """Checks Python and all required packages without importing them."""
    yield OK, "attnae", f"{__version__}, Python {platform.python_version()}"
    wrong, versions = [], []
    for need in _requirements():
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{need.name} is missing")
            continue
        versions.append(f"{need.name} {version}")
        if not need.specifier.contains(version, prereleases=True):
            wrong.append(f"{need.name} {version} is not {need.specifier}")
    for name, bad in MALICIOUS.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if version in bad:
            advice = "Do not import it; uninstall it and rotate all credentials on this machine"
            yield BROKEN, "packages", f"{name} {version} is a malicious release. {advice}"
    if wrong:
        yield BROKEN, "packages", f"{', '.join(wrong)}. Fix with `{sys.executable} -m pip install --upgrade attnae`"
    yield OK, "packages", ", ".join(versions)


def _devices() -> Iterator[Finding]:
    """Lists the GPUs known to the driver and, if there are any, checks whether torch can use them."""
    query = ["nvidia-smi", "--query-gpu=index,name,memory.total,driver_version", "--format=csv,noheader"]
    listed = _output(query, 10)
    if not listed and sys.platform != "darwin":
        yield NOTE, "devices", "no NVIDIA GPU, so training runs on the CPU. Try a demonstration profile first"
        return
    for line in listed.splitlines():
        yield OK, "devices", line.strip()
    script = "import torch; print(torch.__version__, torch.cuda.device_count(), torch.backends.mps.is_available())"
    answer = _output([sys.executable, "-c", script], PATIENCE).split()
    if len(answer) != 3:
        yield NOTE, "devices", f"torch cannot be imported, or did not respond within {PATIENCE} s"
    elif answer[1] == "0" and answer[2] == "False":
        yield (
            NOTE,
            "devices",
            f"torch {answer[0]} cannot use them, so training runs on the CPU. Install a build that matches your driver",
        )
    else:
        yield OK, "devices", f"torch {answer[0]} can use {answer[1] if answer[1] != '0' else 'MPS'}"


def _machine(out: Path) -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield (
        OK,
        "machine",
        f"{cores()} of {os.cpu_count()} cores, {size(memory)} memory, {platform.system()} {platform.machine()}",
    )
    for title, folder in (("runs", out), ("image cache", wanted_folder())):
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free = f"{shown(folder)}: {size(shutil.disk_usage(there).free)} free"
        if there.is_dir() and os.access(there, os.W_OK):
            yield OK, title, free
        else:
            yield BROKEN if title == "runs" else NOTE, title, f"{free}, but {shown(there)} is not writable"


def _data() -> Iterator[Finding]:
    """Checks the data folder of every dataset, then lists other usable folders in ``data/``."""
    roots = {}
    for name in catalog.names():
        benchmark = catalog.load(name)
        for profile in benchmark.profiles:
            if root := section(benchmark.configuration(benchmark.baseline, profile), "data", "init_args").get("root"):
                roots[benchmark.dataset] = (benchmark.embedded, root)
    for dataset, (embedded, root) in roots.items():
        found = _located(dataset, embedded, root)
        if found:
            yield OK, dataset, f"{root}: {found.title}"
        elif dataset in OFFICIAL:
            yield NOTE, dataset, f"not found in {root}. It can be downloaded: {HINTS[dataset]}"
        else:
            yield (
                NOTE,
                dataset,
                f"not found in {root}, and there is no automatic download. Put the images there or use --data-root",
            )
    known = {root for _, root in roots.values()}
    for folder in sorted(path for path in Path("data").glob("*") if path.is_dir() and path.as_posix() not in known):
        looks = (_located(dataset, embedded, folder.as_posix()) for dataset, (embedded, _) in roots.items())
        if found := next(filter(None, looks), None):
            yield OK, "data", f"--data-root {folder} ({found.kind})"
    yield OK, "data", "demonstration profiles use embedded images"


def _located(dataset: str, embedded: str, root: str) -> Location | None:
    try:
        return locate(dataset, embedded, root)
    except UserError:
        return None


def _wandb() -> Finding:
    state = tracking.login()
    return (OK, "W&B", state.text) if state.usable else (NOTE, "W&B", f"{state.text} (only needed for --wandb)")


def _slurm() -> Finding:
    if shutil.which("sinfo") is None:
        return NOTE, "SLURM", "sinfo is not on the PATH (only needed for --launcher slurm)"
    lines = _output(["sinfo", "--noheader", "--format=%P %a %D nodes %G"], 3).splitlines()
    return (
        (OK, "SLURM", "; ".join(" ".join(line.split()) for line in lines))
        if lines
        else (NOTE, "SLURM", "sinfo does not respond")
    )


def _output(command: list[str], seconds: float) -> str:
    """Output of a command; empty if it is missing, fails or times out."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
