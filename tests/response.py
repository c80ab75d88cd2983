"""How much processor time a command that needs no training may take."""

import os
import subprocess
import sys
from functools import cache

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
