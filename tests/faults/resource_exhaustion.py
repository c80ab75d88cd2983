"""Lack of resources: disk space, memory, open files, time, or write permission."""

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
    fault,
    refused,
    run_arguments,
    scratch,
    trainings,
    wait_until,
)

from attnae import result

SIZES = ("16k", "64k", "4k", "8k", "32k", "96k", "112k", "128k")
"""Disk sizes at which a run fails at its log, its configuration, or its first or second checkpoint."""


def mounted(folder: Path, options: str) -> tuple[str, ...]:
    """Command prefix that mounts a small or read-only file system in a folder, visible only to that command."""
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
    """Command prefix that limits resources with ``ulimit``."""
    return ("sh", "-c", f'ulimit {limit} && exec "$@"', "sh")


def row(cwd: Path) -> result.Result:
    """Result of the failed run, which must also be in the report."""
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
    "Exhausted resources",
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
    "Exhausted resources",
    "The disk of the image cache is full",
    "One line states the required and the available disk space, before anything is trained",
    short=0,
    long=1,
)
def full_cache(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)
    before = mounted(cwd / "cache", "size=100k")
    with tally.attempt("cache"):
        refused(bench(*run_arguments("saaae_vs_vae"), cwd=cwd, before=before), "for the image cache", "MB left")
        assert not list(cwd.glob("runs/**/log.txt"))


@fault(
    "Exhausted resources",
    "A folder is read-only: the runs, one run, the reports, the cache",
    "Read-only runs, reports and caches are an error in one line before training; a read-only run folder fails that run, "
    "and the others continue",
    short=1,
    long=4,
)
def read_only(tally: Tally, times: int, folder: Path) -> None:
    command = run_arguments("saaae_vs_vae")
    for kind in ("runs", "reports", "cache", "a run")[:times]:
        cwd = scratch(folder)
        with tally.attempt(kind):
            if kind == "a run":
                bench(
                    *command, "--seeds", "3,", cwd=cwd
                )  # decodes the images, which the name of a run's folder depends on
                planned = bench(*command, "--dry-run", cwd=cwd).out.splitlines()[0].rsplit(" ", 1)[1]
                done = bench(*command, "--seeds", "2", cwd=cwd, before=mounted(cwd / planned, "ro"))
                said(done, "Read-only file system")
                rest = [result.read_result(path) for path in cwd.glob("runs/*/tiny/*/*/result.json")]
                assert sorted((one.seed, one.status) for one in rest) == [(2, "complete"), (3, "complete")], done.text
            else:
                done = bench(*command, cwd=cwd, before=mounted(cwd / kind, "ro"))
                said(done, "Read-only file system")
                assert done.code == 2
                assert not list(cwd.glob("runs/**/metrics.csv"))


@fault(
    "Exhausted resources",
    "A training requests more memory than available",
    "The row of the run states that it ran out of memory, and the size of the request",
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
    "Exhausted resources",
    "The limit of open files is too low for the runner or for the training",
    "One line, or a failed run, with `Too many open files`",
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
    "Exhausted resources",
    "A training hangs and ignores signals",
    "`--timeout` kills it after a grace period of 20 s; the row states it",
    short=0,
    long=1,
)
def hanging(tally: Tally, times: int, folder: Path) -> None:
    cwd = scratch(folder)
    with tally.attempt("SIGSTOP"):
        process = background(*run_arguments("saaae_vs_vae", 10_000), "--timeout", "1.5", cwd=cwd)
        assert wait_until(lambda: any(cwd.glob("runs/**/metrics.csv"))), "it did not start"
        (child,) = trainings(process.pid)
        os.kill(child, signal.SIGSTOP)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 1, out + err
        assert "timed out after 1.5 minutes" in row(cwd).reason
