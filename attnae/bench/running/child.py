"""The process that executes commands of a run: ``python child.py LIFELINE ARGUMENT... [--then ARGUMENT...]``.

``LIFELINE`` is the inherited end of a pipe whose other end only the runner holds, or ``-`` on a cluster, whose
scheduler terminates leftover processes of its jobs.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from pathlib import Path

THEN = "--then"
"""Separates a command from the one to run after it has succeeded."""


def main() -> None:
    """Runs ``attnae`` with the arguments after the first, once for each command."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
    lifeline = sys.argv.pop(1)
    if lifeline != "-":
        threading.Thread(target=_follow, args=(int(lifeline),), daemon=True).start()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # the cluster's warning is for the runner, which stops its children
    from attnae import cli
    from attnae.streams import replace_unprintable

    replace_unprintable()
    words = sys.argv[1:]
    sys.argv[0] = cli.__file__  # the script that Lightning starts for each additional device
    first, then = (words[: words.index(THEN)], words[words.index(THEN) + 1 :]) if THEN in words else (words, [])
    sys.argv[1:] = first
    code = cli.main()
    if then and not code:
        gc.collect()  # the trainer and the optimizer's state, which refer to each other
        print(f"$ attnae {' '.join(then)}", flush=True)  # as the runner logs the first one
        sys.argv[1:] = then
        code = cli.main()
    sys.exit(code)


def _follow(lifeline: int) -> None:
    """Kills this process group when the runner ends for any reason.

    Otherwise, a training whose runner was killed would continue next to its successor.
    """
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
