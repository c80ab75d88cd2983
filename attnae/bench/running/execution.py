"""Executes one run: runs its commands in separate processes, then writes ``result.json``."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from attnae import result
from attnae.bench import jobs, plan, store
from attnae.bench.identity import Run
from attnae.bench.running import child, outcome, processes
from attnae.data.content import EXPECTED
from attnae.errors import UserError
from attnae.files import dump_yaml, write_text

FIT, TEST, DONE, FAILED, LOCKED = "training", "testing", "complete", "failed", "locked"

HOLDER = ".runner"
"""File in a run's folder with the runner that holds its lock."""

WARNING = "attnae: warning: "
"""Prefix of log lines that the runner displays."""

GRACE = 20.0
"""Seconds that an interrupted child process has to exit before it is killed."""


class Execution:
    """Completes a run from its current state.

    A finished training is not repeated; an interrupted one resumes from its last checkpoint. ``result.json`` is written
    last and atomically. A failure is also written as a result, with its reason.

    Args:
        run: Run to execute.
        timeout: Minutes after which this attempt is stopped and fails; ``None`` for no limit.
        launch: Prefix of the training command for several machines or a cluster.
    """

    def __init__(self, run: Run, timeout: float | None = None, launch: tuple[str, ...] = ()):
        self.run, self.stage, self.reason = run, FIT, ""
        self.timeout, self.launch = timeout, launch
        self.environment: dict[str, str] = {}
        self.before: result.Result | None = None  # kept until a retest has succeeded, see `Run.retest`
        self.process: processes.Forked | subprocess.Popen[bytes] | None = None
        # One process for both commands imports torch and Lightning once. Not where several processes train, or where a
        # logger's connection belongs to a command.
        self.joined = run.id.devices * run.id.nodes == 1 and not launch and not run.logger
        self.lifeline: int | None = None  # a pipe end; when it closes, the running command exits
        self.lock = FileLock(run.folder / ".lock")
        self.log: IO[bytes] | None = None
        self.log_begin = 0  # bytes of earlier attempts
        self.began = self.finished = self.ended = 0.0

    def start(self, environment: dict[str, str]) -> None:
        """Starts the first remaining command, unless another runner has locked the run.

        Args:
            environment: Additional environment variables, for threads and devices.
        """
        self.environment, self.began = _environment(environment), time.monotonic()
        self.environment[EXPECTED] = self.run.id.data_digest
        if not self._claim():
            return
        try:
            last = store.read(self.run)
        except UserError as error:  # of a newer version, written in the meantime, or the disk
            self._end(FAILED, str(error))
            return
        self.before = last if last and last.status == "complete" else None
        if self.before and not self.run.retest:  # completed by another runner in the meantime
            self._end(DONE)
        elif plan.code_changed(self.run):  # its result would be one of the former code
            self._end(FAILED, "the code changed after the command was started. Rerun it")
        elif self._prepare():
            if self.run.trains and not self.before and not self._trained():
                self._spawn(FIT, self._resumed(self.run.fit), self.run.test if self.joined else ())
            else:
                self._spawn(TEST, self.run.test)

    def _claim(self) -> bool:
        """Creates the run's folder and acquires its lock; returns whether that succeeded."""
        try:
            self.run.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Cannot write to {self.run.folder}: {error.strerror}. Choose another folder with --out."
            ) from error
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            self.stage, self.reason = LOCKED, f"locked by another runner{self._holder()}"
            return False
        except OSError as error:  # without the lock, nothing may be written, not even the failure
            self._end(FAILED, f"cannot write to the run's folder: {error.strerror}")
            return False
        return True

    def _prepare(self) -> bool:
        """Removes leftovers of earlier attempts and writes the configuration; returns whether that succeeded."""
        folder = self.run.folder
        try:
            (folder / HOLDER).write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
            for name in ("progress.json", "test.json"):  # of a failed or interrupted attempt
                (folder / name).unlink(missing_ok=True)
            if not self.before:
                _set_aside(folder / "result.json")
            for part in self._parts():
                part.unlink(missing_ok=True)
            write_text(self.run.file, dump_yaml(self.run.stated))
            self.log = (folder / "log.txt").open("ab")
            self.log_begin = self.log.tell()
        except (OSError, UserError) as error:
            told = error.strerror if isinstance(error, OSError) else str(error)
            self._fail(f"cannot write to the run's folder: {told}")
            return False
        return True

    def poll(self) -> bool:
        """Starts the next command when one has ended; returns whether the run has ended."""
        if self.stage == FIT and self.joined and self.process is not None and self._trained():
            self.stage = TEST
        if self.process is not None and self.timeout is not None and time.monotonic() - self.began > 60 * self.timeout:
            if not self.ended:
                self.ended = time.monotonic()
                self.interrupt()
            elif time.monotonic() - self.ended > GRACE:
                self._signal(signal.SIGKILL)
        if self.process is not None and (code := self.process.poll()) is not None:
            if code:
                self._signal(signal.SIGKILL)  # processes of other devices would wait for the failed one
            self._forget()
            if self.ended:
                self._fail(f"timed out after {self.timeout:g} minutes")
            elif code:
                self._fail(self._why(code))
            elif self.stage == FIT:
                self._spawn(TEST, self.run.test)
            else:
                self._complete()
        return self.stage in (DONE, FAILED, LOCKED)

    def interrupt(self) -> None:
        """Sends the running command a termination signal."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        """Sends a signal to the running command and its child processes."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Waits for an interrupted command, kills it if necessary, and releases the run without a result."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
            self._signal(signal.SIGKILL)
            self.process.wait()
            self._forget()
        self._release()

    def _forget(self) -> None:
        """Releases the resources of a command that has ended."""
        if self.lifeline is not None:
            os.close(self.lifeline)
        self.process = self.lifeline = None

    @property
    def progress(self) -> dict[str, Any]:
        """The running command's last heartbeat, see ``attnae.training.progress``; empty before the first."""
        wanted = {FIT: "fit", TEST: "test"}.get(self.stage)
        try:
            beat: dict[str, Any] = json.loads((self.run.folder / "progress.json").read_text(encoding="utf-8"))
            return beat if beat.get("stage", wanted) == wanted else {}
        except (OSError, ValueError):
            return {}

    @property
    def epochs_done(self) -> float:
        """Completed epochs of the training, including the fraction of the current one; for a test, the completed fraction."""
        beat = self.progress
        return float(beat["epoch"] + beat["step"] / max(beat["steps"], 1)) if beat else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated remaining seconds of the command at the speed of this attempt, including validation and checkpoints."""
        beat, done = self.progress, self.epochs_done
        if not beat or done <= beat["first_epoch"]:
            return None
        left: float = beat["seconds"] / (done - beat["first_epoch"]) * (beat["epochs"] - done)
        return max(left, 0.0)

    @property
    def warnings(self) -> list[str]:
        """Warnings of this attempt's commands, such as a dropped logger."""
        try:
            text = (self.run.folder / "log.txt").read_bytes()[self.log_begin :].decode("utf-8", "replace")
        except OSError:
            return []
        return [line.removeprefix(WARNING).strip() for line in text.splitlines() if line.startswith(WARNING)]

    @property
    def output(self) -> list[str]:
        """Output lines of the last command."""
        try:
            text = (self.run.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [line.rstrip() for line in text.rsplit("$ attnae ", 1)[-1].splitlines()[1:] if line.strip()]

    def _trained(self) -> bool:
        return (self.run.folder / "fit.json").exists() and (self.run.folder / "weights.safetensors").exists()

    def _resumed(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        (self.run.folder / "weights.safetensors").unlink(missing_ok=True)  # incomplete without fit.json
        checkpoint = self.run.checkpoint
        if self.run.continues and checkpoint and self.run.folder not in checkpoint.parents:
            with contextlib.suppress(OSError):  # optional; without them, the curves start later
                shutil.copyfile(self.run.continues / "metrics.csv", self.run.folder / "metrics.csv")
        return (*arguments, "--ckpt_path", checkpoint.as_posix()) if checkpoint else arguments

    def _spawn(self, stage: str, arguments: tuple[str, ...], then: tuple[str, ...] = ()) -> None:
        """Starts a command, and in the same process a further one after it."""
        assert self.log is not None
        self.stage, arguments = stage, (*arguments, *self.run.logger)
        launch = self.launch if stage == FIT else ()
        end = None
        try:
            self.log.write(f"$ attnae {' '.join(arguments)}\n".encode())
            self.log.flush()
            if launch:
                arguments = ("-", *arguments)
            else:
                end, self.lifeline = os.pipe()
            if then:
                arguments = (*arguments, child.THEN, *then)
            self.process = processes.start(
                child.__file__,  # not -m, which would import modules from the working folder
                arguments,
                self.environment,
                self.log.fileno(),
                lifeline=end,
                launch=launch,
                name=self.run.name,
            )
        except OSError as error:  # a full disk, too many open files or processes, no memory
            self._forget()
            self._fail(f"{stage} could not be started: {error.strerror}")
        except BaseException:  # interrupted while it was started
            self._forget()
            raise
        finally:
            if end is not None:
                os.close(end)

    def _why(self, code: int) -> str:
        """Reason of a failure: the error line of the log, else its last line."""
        lines = [line.strip() for line in self.output]
        marked = [line.split("error: ", 1)[1] for line in lines if line.startswith("attnae: error: ")]
        if marked:
            return marked[-1]
        if code < 0:
            on = "rerun with --retest" if self.before else "rerun with --retry-failed to resume"
            return f"{self.stage} was killed by {signal.Signals(-code).name}; {on}"
        return f"{self.stage} exited with code {code}: {lines[-1] if lines else 'no output'}"

    def _complete(self) -> None:
        """Writes the result after all commands have succeeded."""
        folder, run = self.run.folder, self.run
        try:
            done = (
                outcome.retested(run, self.before)
                if self.before
                else outcome.trained(run, time.monotonic() - self.began)
            )
            result.write(done, folder / "result.json")
        except UserError as error:
            self._fail(str(error))
            return
        if not self.before and not run.keep_checkpoints:  # 0.9 GB for SAAAE with the optimizer state
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        with contextlib.suppress(OSError):
            for name in ("fit.json", "test.json", "progress.json", jobs.RECORD):
                (folder / name).unlink(missing_ok=True)
        self._end(DONE)

    def _fail(self, reason: str) -> None:
        """Writes a failed result; a failed retest keeps the previous result."""
        if self.before:
            self._end(FAILED, f"{reason}; previous results were kept")
            return
        try:
            result.write(
                outcome.failed(self.run, reason, time.monotonic() - self.began), self.run.folder / "result.json"
            )
        except UserError as error:
            reason = str(error)
        self._end(FAILED, reason)

    def _end(self, stage: str, reason: str = "") -> None:
        self.stage, self.reason, self.finished = stage, reason, time.monotonic()
        self._release()

    def _parts(self) -> list[Path]:
        """Partial files of killed processes, see ``attnae.files.atomic``. Safe to remove while the lock is held."""
        hidden = [path for place in ("", "checkpoints/", "images/") for path in self.run.folder.glob(f"{place}.?*.*")]
        return [path for path in hidden if path.is_file()]

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return f" ({(self.run.folder / HOLDER).read_text(encoding='utf-8')})"
        return ""

    def _release(self) -> None:
        with contextlib.suppress(OSError):  # output that does not fit on a full disk is lost
            if self.log is not None:
                self.log.close()
        with contextlib.suppress(OSError):
            (self.run.folder / HOLDER).unlink(missing_ok=True)
        self.lock.release()


def _environment(further: dict[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "WANDB_SILENT": "true",  # the last line of the log is the reason of a failure
        # With this job name, Lightning ignores SLURM's tasks; `launch` overrides it where the tasks are for training.
        "SLURM_JOB_NAME": "interactive",
        **further,
    }


def _set_aside(record: Path) -> None:
    """Renames an existing result and what belongs to it before new ones are written; removes it if the run failed.

    The weights of a damaged result stay, to be tested again.
    """
    if not record.exists():
        return
    names = [record.name]
    with contextlib.suppress(UserError):
        if result.read_result(record).status == "failed":
            record.unlink()
            return
        names = ["weights.safetensors", "per_image.npz", record.name]
    now = time.time_ns()
    for name in names:
        if (file := record.with_name(name)).exists():
            file.replace(file.with_stem(f"{file.stem}-{now}"))
