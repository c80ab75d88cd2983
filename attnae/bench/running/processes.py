"""Starts programs that need PyTorch and Lightning: trainings, trials, and the check of a benchmark's classes.

Importing the libraries takes seconds. On Linux without GPUs, they are imported once, see
:mod:`attnae.bench.running.forkserver`. CUDA would have to be initialized after the fork, and macOS may end forked processes
that use its frameworks; there, each program is a new process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnae.bench.running import forkserver, resources
from attnae.bench.running.forkserver import NUMBER

READ_AT_IMPORT = ("GOMP_", "HOME", "KMP_", "LANG", "LC_", "LD_", "MKL_", "MPL", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH",
                  "TMP", "TORCH", "XDG_")  # fmt: skip
"""Beginnings of the environment variables that libraries may read when they are imported."""

ALWAYS = {
    "PYTHONUNBUFFERED": "1",
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",  # no checkpoint may carry code
}


class Forked:
    """A forked process, with the part of :class:`subprocess.Popen` that the runner uses.

    Args:
        status: Pipe with the number of the process and, when it has ended, its exit code.

    Raises:
        ConnectionError: The server has ended, or could not fork.
    """

    def __init__(self, status: int):
        self.status = status
        self.returncode: int | None = None
        read = os.read(status, NUMBER.size)
        if not read:
            os.close(status)
            raise ConnectionError(errno.ECONNRESET, "the process that starts runs has ended")
        (self.pid,) = NUMBER.unpack(read)
        if self.pid <= 1:  # an exit code: it ended before it could write; a signal to such a number would reach others
            os.close(status)
            raise ConnectionError(errno.ECHILD, "a process could not be started")

    def poll(self) -> int | None:
        """The exit code, negative for a signal; ``None`` while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end of the process and returns its exit code.

        Raises:
            subprocess.TimeoutExpired: It did not end within ``timeout`` seconds.
        """
        if self.returncode is None:
            if not select.select([self.status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            read = os.read(self.status, NUMBER.size)  # nothing if the server was killed
            self.returncode = int(NUMBER.unpack(read)[0]) if read else -signal.SIGKILL
            os.close(self.status)
        return self.returncode


class _Server:
    """The process that forks. It ends with this one, when its children have ended."""

    def __init__(self, environment: dict[str, str]):
        self.socket, end = socket.socketpair()
        with end:
            self.process = subprocess.Popen(
                [sys.executable, forkserver.__file__, str(end.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                pass_fds=[end.fileno()],
            )
        resources.share_priority(self.process.pid)

    def fork(self, request: dict[str, Any], descriptors: Sequence[int]) -> Forked:
        """Waits until the libraries are imported, if they are not yet.

        Raises:
            OSError: The server has ended, or could not fork.
        """
        status, theirs = os.pipe()
        body = json.dumps(request).encode()
        try:
            socket.send_fds(self.socket, [NUMBER.pack(len(body))], [*descriptors[:3], theirs, *descriptors[3:]])
            self.socket.sendall(body)
        except BaseException:
            os.close(status)
            raise
        finally:
            os.close(theirs)
        return Forked(status)


_servers: dict[str, _Server] = {}
"""The last server, by what its libraries have read."""


def start(
    program: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    output: int,
    errors: int | None = None,
    given: int | None = None,
    lifeline: int | None = None,
    launch: Sequence[str] = (),
    name: str = "attnae",
) -> Forked | subprocess.Popen[bytes]:
    """Starts a Python program in a session of its own.

    Args:
        program: Its file.
        arguments: Its arguments.
        environment: Its environment variables, without those that all programs get.
        output: File descriptor of its standard output.
        errors: File descriptor of its standard error; ``None`` for the same.
        given: File descriptor of its standard input; ``None`` for an empty one.
        lifeline: A file descriptor to pass on; its number becomes the first argument.
        launch: Prefix of the command for several machines or a cluster.
        name: What ``ps`` and ``top`` call it, where it is forked.

    Raises:
        OSError: It cannot be started.
    """
    environment = {**environment, **ALWAYS}
    passed = [] if lifeline is None else [lifeline]
    if launch or sys.platform != "linux" or resources.visible_gpus():
        process: Forked | subprocess.Popen[bytes] = subprocess.Popen(
            [*launch, sys.executable, program, *map(str, passed), *arguments],
            stdin=subprocess.DEVNULL if given is None else given,
            stdout=output,
            stderr=subprocess.STDOUT if errors is None else errors,
            env=environment,
            start_new_session=True,  # only the runner receives Ctrl-C, and stops its children in order
            pass_fds=passed,
        )
    else:
        request = {"program": program, "arguments": list(arguments), "environment": environment, "name": name}
        with Path(os.devnull).open("rb") as nothing:
            streams = (nothing.fileno() if given is None else given, output, output if errors is None else errors)
            process = _forked({**request, "folder": str(Path.cwd())}, (*streams, *passed))
    resources.share_priority(process.pid)
    return process


def _forked(request: dict[str, Any], descriptors: Sequence[int]) -> Forked:
    """Has the program of a request forked, by a new server if the last one was killed."""
    try:
        return _server(request["environment"]).fork(request, descriptors)
    except ConnectionError:
        _servers.clear()
        return _server(request["environment"]).fork(request, descriptors)
    except BaseException:  # interrupted, perhaps within a request; the server goes on until its programs have ended
        _servers.clear()
        raise


def _server(environment: Mapping[str, str]) -> _Server:
    """The server for programs with this environment."""
    own = {name: value for name, value in environment.items() if name != "OMP_NUM_THREADS"}  # set after the fork
    if "PYTHONPATH" in own:  # the working folder of the server stays the one it was started in
        own["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, own["PYTHONPATH"].split(os.pathsep)))
    read = sorted(item for item in own.items() if item[0].startswith(READ_AT_IMPORT))
    key = json.dumps([os.getpid(), read])
    if key not in _servers:
        _servers.clear()  # one is kept, of half a gigabyte; the others end with their programs
        _servers[key] = _Server(own)
    return _servers[key]


def run(
    program: str, arguments: Sequence[str], environment: Mapping[str, str], given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a Python program to its end and returns what it has printed.

    Args:
        program: Its file.
        arguments: Its arguments.
        environment: Its environment variables.
        given: Its standard input.

    Raises:
        OSError: It cannot be started.
    """
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        source.write(given.encode())
        source.seek(0)
        process = start(program, arguments, environment, out.fileno(), errors.fileno(), source.fileno())
        try:
            code = process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        texts = []
        for stream in (out, errors):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
    return subprocess.CompletedProcess([program, *arguments], code, *texts)
