"""Runs the examples of the gallery and keeps what they print and draw beside them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLES = ("compare", "grid", "denoise", "rate", "plain_pytorch")


def main(words: list[str]) -> None:
    """Runs the named examples, or all; options are passed on.

    Raises:
        subprocess.CalledProcessError: An example failed.
    """
    first_option = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    for name in words[:first_option] or EXAMPLES:
        start = time.monotonic()
        command = [sys.executable, HERE / f"{name}.py", *words[first_option:]]
        subprocess.run(command, check=True)
        print(f"{name}: {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
