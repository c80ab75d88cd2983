"""The process that executes one command of a run: ``python child.py LIFELINE ARGUMENT...``.

``LIFELINE`` is the inherited end of a pipe whose other end only the runner holds, or ``-`` on a cluster, whose
scheduler terminates leftover processes of its jobs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path


def main() -> None:
    """Runs ``attnae`` with the arguments after the first."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
    lifeline = sys.argv.pop(1)
    if lifeline != "-":
        threading.Thread(target=_follow, args=(int(lifeline),), daemon=True).start()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # the cluster's warning is for the runner, which stops its children
    from attnae import cli

    sys.argv[0] = cli.__file__  # the script that Lightning starts for each additional device
    cli.console()


def _follow(lifeline: int) -> None:
    """Kills this process group when the runner ends for any reason.

    Otherwise, a training whose runner was killed would continue next to its successor.
    """
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
