"""Programs that are forked from a process with the libraries behave like processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attnae.bench.running import launch, processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are forked on Linux only")

TELL = """
import json, os, sys
import torch
print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "variable": os.environ.get("VARIABLE"),
                  "threads": torch.get_num_threads(), "name": __name__, "leader": os.getpid() == os.getsid(0),
                  "comm": open("/proc/self/comm").read().strip(), "attnae": "attnae" in sys.modules}))
print("told", file=sys.stderr)
print(sys.stdin.read(), end="", file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are GPUs: no program here uses them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def started(tmp_path: Path, text: str, lifeline: int | None = None) -> processes.Forked:
    with (tmp_path / "out.txt").open("wb") as out:
        process = processes.start(written(tmp_path, text), [], os.environ, out.fileno(), lifeline=lifeline)
    assert isinstance(process, processes.Forked)
    return process


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def server() -> int:
    (one,) = processes._servers.values()
    return one.process.pid


@pytest.mark.slow
def test_a_program_gets_what_a_new_process_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = []
    for threads, variable in (("1", "ä\n"), ("2", None)):
        environment = {key: value for key, value in os.environ.items() if key != "VARIABLE"}
        environment |= {"OMP_NUM_THREADS": threads, **({"VARIABLE": variable} if variable else {})}
        done = processes.run(written(tmp_path, TELL), ["--a", "b c", ""], environment, "given\n")
        assert (done.returncode, done.stderr) == (0, "told\ngiven\n")
        told.append(json.loads(done.stdout))
    same = {
        "arguments": ["--a", "b c", ""],
        "folder": str(tmp_path),
        "name": "__main__",
        "leader": True,
        "comm": "attnae",
    }
    assert told == [
        {**same, "variable": "ä\n", "threads": 1, "attnae": False},
        {**same, "variable": None, "threads": 2, "attnae": False},
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 0),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit('message')", 1),
        ("1 / 0", 1),
        ("import os; os._exit(7)", 7),
        ("import atexit, sys; atexit.register(print, 'last', file=sys.stderr); sys.exit(True)", 1),
        ("import sys, threading; threading.Timer(0.2, print, ['last'], {'file': sys.stderr}).start()", 0),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("this is no Python", 1),
    ],
)
def test_exit_code(text: str, code: int, tmp_path: Path) -> None:
    alone = subprocess.run([sys.executable, written(tmp_path, text)], capture_output=True, text=True, check=False)
    done = processes.run(written(tmp_path, text), [], os.environ)
    assert done.returncode == alone.returncode == code
    assert done.stderr.splitlines()[-1:] == alone.stderr.splitlines()[-1:]


@pytest.mark.slow
def test_a_program_that_cannot_be_entered_fails_and_the_server_goes_on(tmp_path: Path) -> None:
    """Its folder was removed, or is another user's: the number of the process is not its exit code."""
    with (tmp_path / "out.txt").open("wb") as out:
        streams = (out.fileno(),) * 3
        request = {"program": "p.py", "arguments": [], "environment": dict(os.environ), "name": "p"}
        process = processes._forked({**request, "folder": str(tmp_path / "nowhere")}, streams)
    assert process.pid > 1
    assert process.wait(60) == 1
    assert processes.run(written(tmp_path, "print('next')"), [], os.environ).stdout == "next\n"


@pytest.mark.parametrize("number", [-1, 0, 1])
def test_exit_codes_are_not_taken_for_processes(number: int) -> None:
    """A signal to process group 0 or 1 would reach others."""
    read, write = os.pipe()
    os.write(write, processes.NUMBER.pack(number))
    with pytest.raises(ConnectionError):
        processes.Forked(read)
    os.close(write)


@pytest.mark.slow
def test_changed_code_is_read_again(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "own.py").write_text(f"number = {number}  # {'x' * number}\n", encoding="utf-8")
        text = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import own; print(own.number)"
        assert processes.run(written(tmp_path, text), [], os.environ).stdout == f"{number}\n"


@pytest.mark.slow
def test_waits_polls_and_is_killed(tmp_path: Path) -> None:
    process = started(tmp_path, "import time; print('begun', flush=True); time.sleep(600)")
    while not (tmp_path / "out.txt").read_text():  # Python may swallow what a signal raises before
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C: Python's own handler is in place
    assert process.wait(60) in (-signal.SIGINT, 1, 130)
    assert process.poll() == process.wait() == process.returncode
    assert "KeyboardInterrupt" in (tmp_path / "out.txt").read_text()


@pytest.mark.slow
def test_a_killed_server_is_replaced(tmp_path: Path) -> None:
    process = started(tmp_path, "import time; time.sleep(600)")
    first = server()
    os.kill(first, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL  # nobody knows how it ends
    os.killpg(process.pid, signal.SIGKILL)  # what the runner does with a failed run
    assert started(tmp_path, "print('again')").wait(240) == 0
    assert (tmp_path / "out.txt").read_text() == "again\n"
    assert server() != first


@pytest.mark.slow
def test_other_variables_for_libraries_need_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one ends with its programs."""
    before = processes._servers.copy()
    process = started(tmp_path, "import time; time.sleep(2)")
    first = server()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    text = "import os; print(os.environ['TORCH_HOME'])"
    assert processes.run(written(tmp_path, text), [], os.environ).stdout == f"{tmp_path}\n"
    assert server() != first
    assert process.wait(60) == 0
    before.clear()
    patience = time.monotonic() + 60
    while not gone(first):
        assert time.monotonic() < patience
        time.sleep(0.05)


@pytest.mark.slow
def test_server_ends_with_its_runner(tmp_path: Path) -> None:
    runner = (
        "import os, signal, sys\n"
        "from attnae.bench.running import processes\n"
        "out = open(sys.argv[2], 'wb')\n"
        "process = processes.start(sys.argv[1], [], os.environ, out.fileno())\n"
        "(server,) = processes._servers.values()\n"
        "print(process.pid, server.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    program = written(tmp_path, "import time; time.sleep(3)")
    words = [sys.executable, "-c", runner, program, str(tmp_path / "out.txt")]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    patience = time.monotonic() + 60
    while not all(map(gone, pids)):
        assert time.monotonic() < patience
        time.sleep(0.05)


def test_ignored_signals_stay_ignored() -> None:
    """nohup ignores SIGHUP, and shells ignore Ctrl-C for what runs in the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with launch._signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
