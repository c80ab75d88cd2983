"""How much time a command that needs no training may take."""

import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

SECONDS = 0.5
IMPORTS = "import argparse, filelock, json, rich.console, rich.live, rich.table, yaml"
TIMES = 5
"""What a command may take, in terms of importing the libraries that all of them use, on a slow machine."""


@cache
def limit() -> float:
    """Half a second, or more on a slow machine."""
    needed = []
    for _ in range(3):
        began = sum(os.times()[2:4])
        subprocess.run([sys.executable, "-c", IMPORTS], check=True)
        needed.append(sum(os.times()[2:4]) - began)
    return max(SECONDS, TIMES * min(needed))


def responds_quickly(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """Runs ``attnae-bench`` several times and checks its processor time, and that it waits for nothing else."""
    command = [Path(sys.executable).with_name("attnae-bench"), *arguments]
    if not command[0].exists():  # type: ignore[union-attr]
        command = [sys.executable, "-m", "attnae.bench.app", *arguments]
    worked, waited = [], []

    def waits() -> bool:
        return min(waited) >= 2 * min(worked) + 0.5  # another test may use the CPU half of the time

    while len(worked) < 3 or (waits() and len(worked) < 20):  # more tests may use it for a while
        began, clock = sum(os.times()[2:4]), time.perf_counter()  # CPU time of child processes
        done = subprocess.run(command, cwd=cwd, capture_output=True, check=False, env={**os.environ, "COLUMNS": "120"})
        worked.append(sum(os.times()[2:4]) - began)
        waited.append(time.perf_counter() - clock)
    assert 0 < min(worked) < limit()
    assert not waits()
    return done
