"""Too little of something: disk, memory, open files, time, or the right to write."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from harness import (
    Done,
    Impossible,
    Tally,
    background,
    bench,
    children,
    fault,
    run_arguments,
    scratch,
    wait_until,
)

from attnae import result

SIZES = ("16k", "64k", "4k", "8k", "32k", "96k", "112k", "128k")
"""Of disks that are too small: a run ends at its log, its configuration, or its first or second checkpoint."""


def mounted(folder: Path, options: str) -> tuple[str, ...]:
    """What to put before a command so that it alone sees another, small or read-only, file system in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    script = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    prefix = (
        "unshare",
        "--mount",
        *(() if os.getuid() == 0 else ("--map-root-user",)),
        "sh",
        "-c",
        script,
        str(folder),
    )
    try:
        possible = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        possible = False
    if not possible:
        raise Impossible("file systems cannot be mounted here")
    return prefix


def limited(limit: str) -> tuple[str, ...]:
    """What to put before a command to limit it as ``ulimit`` does."""
    return ("sh", "-c", f'ulimit {limit} && exec "$@"', "sh")


def row(cwd: Path) -> result.Result:
    """The result of the one failed run, which is in the report, too."""
    (path,) = cwd.glob("runs/*/tiny/*/*/result.json")
    found = result.read_result(path)
    assert found.status == "failed"
    assert "\n" not in found.reason
    assert "Traceback" not in path.with_name("log.txt").read_text(encoding="utf-8"), "a traceback in the log"
    (page,) = cwd.glob("reports/*/tiny/README.md")
    assert "## Failed runs" in page.read_text(encoding="utf-8")
    return found


def said(done: Done, word: str) -> None:
    assert done.code in (1, 2), f"code {done.code}: {done.text[-300:]}"
    assert word in done.text, done.text[-600:]


@fault(
    "Starved",
    "The disk of the runs is full: at the log, the configuration, the first checkpoint or a later one, whichever comes first",
    "The run fails with `No space left on device`, without a traceback",
    short=1,
    long=len(SIZES),
)
def full_disk(tally: Tally, times: int, folder: Path) -> None:
    for size in SIZES[:times]:
        cwd = scratch(folder)
        before = mounted(cwd / "runs", f"size={size}")
        with tally.attempt(size):
            said(bench(*run_arguments("saaae_vs_vae"), cwd=cwd, before=before), "No space left on device")


@fault(
    "Starved",
    "The disk of the image cache is full",
    "The row of the run says how much the cache needs and what is left; the report is written",
    short=0,
    long=1,
)
def full_cache(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)
    before = mounted(cwd / "cache", "size=100k")
    with tally.attempt("cache"):
        said(bench(*run_arguments("saaae_vs_vae"), cwd=cwd, before=before), "left")
        assert "for the image cache" in row(cwd).reason


@fault(
    "Starved",
    "A folder is read-only: of the runs, of one run, of the reports, of the cache",
    "Runs and reports are refused in one line before anything trains; a run's own folder or the cache make a failed run, "
    "and the others go on",
    short=1,
    long=4,
)
def read_only(tally: Tally, times: int, folder: Path) -> None:
    command = run_arguments("saaae_vs_vae")
    for kind in ("runs", "reports", "cache", "a run")[:times]:
        cwd = scratch(folder)
        with tally.attempt(kind):
            if kind == "a run":
                planned = bench(*command, "--dry-run", cwd=cwd).out.splitlines()[0].rsplit(" ", 1)[1]
                done = bench(*command, "--seeds", "2", cwd=cwd, before=mounted(cwd / planned, "ro"))
                said(done, "Read-only file system")
                rest = [result.read_result(path) for path in cwd.glob("runs/*/tiny/*/*/result.json")]
                assert [(one.seed, one.status) for one in rest] == [(2, "complete")], done.text
            else:
                done = bench(*command, cwd=cwd, before=mounted(cwd / kind, "ro"))
                said(done, "Read-only file system")
                assert done.code == (1 if kind == "cache" else 2)
                assert kind == "cache" or not list(cwd.glob("runs/**/metrics.csv"))


@fault(
    "Starved",
    "A training asks for more memory than there is",
    "The row of the run says that memory was out, and how much was asked for at once",
    short=0,
    long=1,
)
def no_memory(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)
    with tally.attempt("40 GB"):
        large = {"model.init_args.net.init_args.latent_dim": 10**9}
        said(bench(*run_arguments("saaae_vs_vae", **large), cwd=cwd, before=limited("-v 16000000")), "Out of memory")
        assert "GB at once" in row(cwd).reason


@fault(
    "Starved",
    "Too few open files are allowed: for the runner, or for the training",
    "One line, or a failed run, that says `Too many open files`",
    short=0,
    long=4,
)
def no_files(tally: Tally, times: int, folder: Path) -> None:
    for count in (8, 6, 7, 9)[:times]:
        with tally.attempt(f"{count} files"):
            said(
                bench(*run_arguments("saaae_vs_vae"), cwd=scratch(folder), before=limited(f"-n {count}")),
                "Too many open files",
            )


@fault(
    "Starved",
    "A training hangs and does not listen to signals",
    "`--timeout` ends it after its grace of 20 s; the row says so",
    short=0,
    long=1,
)
def hanging(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)
    with tally.attempt("SIGSTOP"):
        process = background(*run_arguments("saaae_vs_vae", 10_000), "--timeout", "1.5", cwd=cwd)
        assert wait_until(lambda: any(cwd.glob("runs/**/metrics.csv"))), "it did not start"
        (child,) = children(process.pid)
        os.kill(child, signal.SIGSTOP)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 1, out + err
        assert "timed out after 1.5 minutes" in row(cwd).reason
