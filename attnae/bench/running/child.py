"""The process that executes one command of a run: ``python child.py LIFELINE ARGUMENT...``.

``LIFELINE`` is the inherited end of a pipe whose other end the runner alone holds, or ``-`` on a cluster, whose
scheduler ends what its jobs leave behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path


def main() -> None:
    """Runs the command line ``attnae`` on the arguments after the first."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
    lifeline = sys.argv.pop(1)
    if lifeline != "-":
        threading.Thread(target=_follow, args=(int(lifeline),), daemon=True).start()
    signal.signal(
        signal.SIGUSR2, signal.SIG_IGN
    )  # a cluster's warning is meant for the runner, which ends its children
    from attnae import cli

    sys.argv[0] = cli.__file__  # what Lightning starts once more for each further device
    cli.console()


def _follow(lifeline: int) -> None:
    """Ends this process and all that it has started when the runner is gone, however it ended.

    A training whose runner was killed would otherwise go on beside the next one.
    """
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
