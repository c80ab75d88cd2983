"""A process that has imported PyTorch and Lightning and forks itself for each program: ``python forkserver.py SOCKET``.

Imports nothing of attnae: a forked program imports the code that is on the disk when it starts. The fork server of
:mod:`multiprocessing` would import the runner's main module again in each child, which may be a user's script.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

LIBRARIES = ("lightning.pytorch.cli", "torchmetrics.image", "torchvision.utils", "matplotlib.figure", "torch._dynamo")
"""What every training imports sooner or later."""

NUMBER = struct.Struct("i")
"""How numbers are sent: the size of a request, a process, an exit code."""


def main() -> None:
    """Imports the libraries and serves. In a forked process, executes its program."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
    gc.disable()  # a fifth of the time: imports create a million objects, and hardly any garbage
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):  # the program will say so
            importlib.import_module(name)
    gc.freeze()  # programs neither examine nor copy the memory that they share with the server
    gc.enable()
    program = serve(socket.socket(fileno=int(sys.argv[1])))
    code = execute(program) if program else 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a full disk, or closed by the program
            stream.flush()
    os._exit(code)  # to take down modules one by one takes seconds, and would copy the memory that is shared


def serve(requests: socket.socket) -> str:
    """Forks for each request. In a forked process, returns the file of its program; in the server, nothing when the runner
    and all forked processes have ended.

    A request is a JSON object: ``program``, ``arguments``, ``environment``, ``folder`` and ``name``. It comes with file
    descriptors: standard input, output and error, a pipe for the number of the process and its exit code, and further
    ones, whose numbers become the first arguments.
    """
    ended, wakeup = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler, nothing is written to the wakeup descriptor
    children: dict[int, int] = {}
    awaited: list[Any] = [ended, requests]
    while requests in awaited or children:
        ready = select.select(awaited, [], [])[0]
        if ended in ready:
            os.read(ended, 4096)
            children = {pid: status for pid, status in children.items() if not _ended(pid, status)}
        if requests not in ready:
            continue
        head, descriptors, _, _ = socket.recv_fds(requests, NUMBER.size, 8)
        if not head:
            awaited.remove(requests)
            continue
        body = requests.recv(NUMBER.unpack(head)[0], socket.MSG_WAITALL)
        status = descriptors.pop(3)
        try:
            pid = os.fork()
        except OSError:  # no memory, or too many processes
            os.close(status)
        else:
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (requests.detach(), ended, wakeup, *children.values()):
                    os.close(other)
                return become(json.loads(body), descriptors, status)
            children[pid] = status
        for descriptor in descriptors:
            os.close(descriptor)
    return ""


def _ended(pid: int, status: int) -> bool:
    """Whether a process has ended; if it has, sends its exit code."""
    done, code = os.waitpid(pid, os.WNOHANG)
    if done:
        with contextlib.suppress(OSError):  # the runner has ended
            os.write(status, NUMBER.pack(os.waitstatus_to_exitcode(code)))
        os.close(status)
    return bool(done)


def become(request: dict[str, Any], descriptors: list[int], status: int) -> str:
    """Gives the forked process what a new one would have, in a session of its own; returns the file of its program."""
    os.setsid()
    os.write(status, NUMBER.pack(os.getpid()))  # first: the next number is the exit code
    os.close(status)
    streams, further = descriptors[:3], descriptors[3:]
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    with contextlib.suppress(OSError, ValueError):
        Path("/proc/self/comm").write_text(request["name"], encoding="utf-8")  # for ps, top and pkill
    with contextlib.suppress(ValueError, KeyError):
        # The variable is read when the library is loaded, which was before the fork.
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.argv[:] = [request["program"], *map(str, further), *request["arguments"]]
    return str(request["program"])


def execute(program: str) -> int:
    """Executes a program and returns its exit code."""
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
