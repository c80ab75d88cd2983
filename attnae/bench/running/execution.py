"""One run: its commands in their own processes, then ``result.json``."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from attnae import result
from attnae.bench import jobs, store
from attnae.bench.run import Run
from attnae.errors import UserError
from attnae.files import PACKAGE, dump_yaml, shipped, write_text

FIT, TEST, DONE, FAILED, HELD = "training", "testing", "complete", "failed", "held"

COMMAND = """\
import signal, sys
sys.path[:] = [entry for entry in sys.path if entry]
signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a cluster's warning is meant for the runner, which ends its children
from attnae import cli
sys.argv[0] = cli.__file__  # what Lightning starts once more for each further device
cli.console()
"""

GUARD = """\
import os, signal, threading
def follow():
    os.read(LIFELINE, 1)  # returns when the runner is gone, however it has ended: it alone holds the pipe's other end
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=follow, daemon=True).start()
"""
"""What comes before it on the runner's own machine: a training whose runner was killed would go on beside the next one."""

HOLDER = ".runner"
"""File in a run's folder that says which runner works on it."""

GRACE = 20.0
"""Seconds that an interrupted child has to end by itself."""


class Execution:
    """Takes a run from wherever it stands to its result.

    A finished training is not repeated, an interrupted one goes on from its last checkpoint. ``result.json`` comes last
    and atomically; a failure becomes a result, too, with its reason.

    Args:
        run: What to do.
        timeout: Minutes after which this attempt is ended and has failed; ``None`` for as long as it takes.
        launch: What to put before the training's command where several machines or a cluster train together.
    """

    def __init__(self, run: Run, timeout: float | None = None, launch: tuple[str, ...] = ()):
        self.run, self.stage, self.reason = run, FIT, ""
        self.timeout, self.launch = timeout, launch
        self.environment: dict[str, str] = {}
        self.before: result.Result | None = None  # what stands until a further test is through: see `Run.again`
        self.process: subprocess.Popen[bytes] | None = None
        self.lifeline: int | None = None  # the end of a pipe that tells the running command that this process lives
        self.lock = FileLock(run.folder / ".lock")
        self.log: IO[bytes] | None = None
        self.began = self.finished = self.ended = 0.0

    def start(self, environment: dict[str, str]) -> None:
        """Starts the first command that is still to do; a run that another runner works on is held.

        Args:
            environment: Further environment variables: threads and devices to use.
        """
        self.environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",  # no checkpoint may carry code
            "WANDB_SILENT": "true",  # the log's last line says why a run has failed
            # Of SLURM's names, the one by which Lightning knows that a job's tasks are not for it; see `launch` for those
            # that are.
            "SLURM_JOB_NAME": "interactive",
            **environment,
        }
        self.began = time.time()
        try:
            self.run.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Cannot write to {self.run.folder}: {error.strerror}. Choose another folder with --out."
            ) from error
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            self.stage, self.reason = HELD, f"another runner works on it{self._holder()}"
            return
        except OSError as error:  # without the lock nothing may be written, not even that it has failed
            self.stage, self.reason = FAILED, f"cannot write to the run's folder: {error.strerror}"
            self.finished = time.time()
            return
        last = store.read(self.run)
        self.before = last if last and last.status == "complete" else None
        if self.before and not self.run.again:  # by another runner, since this one has looked
            self.stage, self.began, self.finished = DONE, time.time(), time.time()
            self._release()
            return
        try:
            (self.run.folder / HOLDER).write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
            stale = ("progress.json", "test.json") + (() if self.before else ("result.json",))
            for name in stale:  # of a failed or interrupted attempt
                (self.run.folder / name).unlink(missing_ok=True)
            write_text(self.run.folder / "stated.yaml", dump_yaml(self.run.configuration))
            for part in self._parts():
                part.unlink(missing_ok=True)
            self.log = (self.run.folder / "log.txt").open("ab")
        except OSError as error:
            self._finish(FAILED, f"cannot write to the run's folder: {error.strerror}")
            return
        if self.run.fit and not self.before and not self._trained():
            self._spawn(FIT, self._resumed(self.run.fit))
        else:
            self._spawn(TEST, self.run.test)

    def poll(self) -> bool:
        """Moves on when a command has ended; returns whether the run is over."""
        if self.process is not None and self.timeout is not None and time.time() - self.began > 60 * self.timeout:
            if not self.ended:
                self.ended = time.time()
                self.interrupt()
            elif time.time() - self.ended > GRACE:
                self._signal(signal.SIGKILL)
        if self.process is not None and (code := self.process.poll()) is not None:
            if code:
                self._signal(signal.SIGKILL)  # other devices' processes would wait for the one that has failed
            self._forget()
            if self.ended:
                self._finish(FAILED, f"timed out after {self.timeout:g} minutes")
            elif code:
                self._finish(FAILED, self._why(code))
            elif self.stage == FIT:
                self._spawn(TEST, self.run.test)
            else:
                self._finish(DONE)
        return self.stage in (DONE, FAILED, HELD)

    def interrupt(self) -> None:
        """Asks the running command to end."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        """To the running command and all that it has started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Waits for an interrupted command, kills it if it stays, and lets go of the run without a result."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
            self._signal(signal.SIGKILL)
            self.process.wait()
            self._forget()
        self._release()

    def _forget(self) -> None:
        """Lets go of a command that has ended."""
        if self.lifeline is not None:
            os.close(self.lifeline)
        self.process = self.lifeline = None

    @property
    def progress(self) -> dict[str, Any]:
        """The training's last heartbeat, see ``attnae.training.progress``; empty before the first."""
        try:
            beat: dict[str, Any] = json.loads((self.run.folder / "progress.json").read_text(encoding="utf-8"))
            return beat
        except (OSError, ValueError):
            return {}

    @property
    def epochs_done(self) -> float:
        """Epochs of the training that are over, with the running one's part."""
        beat = self.progress
        return float(beat["epoch"] + beat["step"] / max(beat["steps"], 1)) if beat else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate for the rest of the training: at the speed of this attempt, validation and checkpoints included."""
        beat, done = self.progress, self.epochs_done
        if self.stage != FIT or not beat or done <= beat["first_epoch"]:
            return None
        left: float = beat["seconds"] / (done - beat["first_epoch"]) * (beat["epochs"] - done)
        return max(left, 0.0)

    @property
    def output(self) -> list[str]:
        """Lines that the last command has written."""
        try:
            text = (self.run.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [line.rstrip() for line in text.rsplit("$ attnae ", 1)[-1].splitlines()[1:] if line.strip()]

    def _trained(self) -> bool:
        return (self.run.folder / "fit.json").exists() and (self.run.folder / "weights.safetensors").exists()

    def _resumed(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        (self.run.folder / "weights.safetensors").unlink(missing_ok=True)  # without fit.json it is nobody's result
        checkpoint = self.run.folder / "checkpoints" / "last.ckpt"
        return (*arguments, "--ckpt_path", checkpoint.as_posix()) if checkpoint.exists() else arguments

    def _spawn(self, stage: str, arguments: tuple[str, ...]) -> None:
        assert self.log is not None
        self.stage, arguments = stage, (*arguments, *self.run.logger)
        launch = self.launch if stage == FIT else ()
        command, inherited = COMMAND, list[int]()
        try:
            if not launch:
                end, self.lifeline = os.pipe()
                command, inherited = f"LIFELINE = {end}\n{GUARD}{COMMAND}", [end]
            self.log.write(f"$ attnae {' '.join(arguments)}\n".encode())
            self.log.flush()
            self.process = subprocess.Popen(
                # Not -m: it would import whatever lies in the working folder. Configurations are the ones that were hashed.
                [*launch, sys.executable, "-c", command, *(_resolved(argument) for argument in arguments)],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,  # Ctrl-C reaches the runner alone, which ends its children in order
                pass_fds=inherited,
            )
        except OSError as error:  # a full disk, too many open files or processes, no memory
            self._forget()
            self._finish(FAILED, f"{stage} could not be started: {error.strerror}")
        finally:
            for end in inherited:
                os.close(end)

    def _why(self, code: int) -> str:
        """The error line of the log, else its last line."""
        lines = [line.strip() for line in self.output]
        marked = [line.split("error: ", 1)[1] for line in lines if line.startswith("attnae: error: ")]
        if marked:
            return marked[-1]
        if code < 0:
            on = "--retest tests it again" if self.before else "with --retry-failed it goes on where it stopped"
            return f"{self.stage} was killed by {signal.Signals(-code).name}; {on}"
        return f"{self.stage} ended with code {code}: {lines[-1] if lines else 'no output'}"

    def _finish(self, stage: str, reason: str = "") -> None:
        folder, run, before = self.run.folder, self.run, self.before
        values: dict[str, Any] = {}
        git = git_state()
        try:
            if stage == DONE:
                test = result.read_part(folder / "test.json")
                if before:
                    git = {**before.git, "tested": {**git, "versions": test.versions}}
                    values = _tested_again(before, test)
                else:
                    values = _joined([test, result.read_part(folder / "fit.json")] if run.fit else [test])
        except UserError as error:
            stage, reason = FAILED, str(error)
        if stage == FAILED and before:  # a further test that fails takes nothing away
            self.stage, self.reason, self.finished = stage, f"{reason}; what it measured before stands", time.time()
            self._release()
            return
        record = result.Result(
            **values,
            benchmark=run.benchmark,
            label=run.label,
            profile=run.profile,
            variant=run.variant,
            seed=run.seed,
            status="complete" if stage == DONE else "failed",
            reason=reason,
            commands=run.commands,
            git=git,
            config_hash=run.config_hash,
            wall_seconds=before.wall_seconds if before else round(time.time() - self.began, 1),
        )
        try:
            result.write(record, folder / "result.json")
            if (
                stage == DONE
            ):  # a SAAAE checkpoint with its optimizer is 0.9 GB; what is needed is in weights.safetensors
                shutil.rmtree(folder / "checkpoints", ignore_errors=True)
                for name in ("fit.json", "test.json", "progress.json", jobs.RECORD):
                    (folder / name).unlink(missing_ok=True)
        except UserError as error:
            stage, reason = FAILED, str(error)
        self.stage, self.reason, self.finished = stage, reason, time.time()
        self._release()

    def _parts(self) -> list[Path]:
        """Files that a killed process was writing, see ``attnae.files.atomic``: nobody else works here."""
        hidden = [path for place in ("", "checkpoints/", "images/") for path in self.run.folder.glob(f"{place}.?*.*")]
        return [path for path in hidden if path.is_file()]

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return f" ({(self.run.folder / HOLDER).read_text(encoding='utf-8')})"
        return ""

    def _release(self) -> None:
        with contextlib.suppress(OSError):  # what a full disk has not taken is lost
            if self.log is not None:
                self.log.close()
        with contextlib.suppress(OSError):
            (self.run.folder / HOLDER).unlink(missing_ok=True)
        self.lock.release()


def _joined(parts: list[result.Part]) -> dict[str, Any]:
    """A test and its training as one; of what both know, such as the hardware, the last one's word counts."""
    values: dict[str, Any] = {}
    for part in fields(result.Part):
        found = [value for p in parts if (value := getattr(p, part.name))]
        if found and isinstance(found[0], dict):
            values[part.name] = {key: value for each in found for key, value in each.items()}
        elif found:
            values[part.name] = found[-1]
    return values


def _tested_again(before: result.Result, test: result.Part) -> dict[str, Any]:
    """A complete result with what a further test has measured; what it has not, such as LPIPS, stays.

    Raises:
        UserError: It has seen other images.
    """
    if test.data.get("digest") != before.data.get("digest"):
        raise UserError("the images have changed since it was trained")
    values = {part.name: getattr(before, part.name) for part in fields(result.Part)}
    training = {key: value for key, value in before.metrics.items() if key in before.curves}
    values["metrics"] = {**before.metrics, **test.metrics, **training}
    values["efficiency"] = {**before.efficiency, **test.efficiency}
    return {**values, "images": test.images}


def _resolved(argument: str) -> str:
    return str(shipped(argument)) if argument.startswith("configs/") else argument


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that attnae runs from; empty when it is installed from a wheel."""
    root = Path(PACKAGE).parent
    if not (root / ".git").exists():
        return {}
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--", "attnae", "configs", "benchmarks"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit, "dirty": bool(re.search(r"\S", changes))}
