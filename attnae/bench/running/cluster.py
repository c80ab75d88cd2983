"""Executes runs as jobs, on SLURM or on this machine with submitit's local executor."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from attnae.bench import jobs, plan
from attnae.bench.identity import Run
from attnae.bench.plan import Plan
from attnae.bench.request import Request
from attnae.bench.running import resources
from attnae.bench.running.execution import FAILED, GRACE, TEST, Execution
from attnae.bench.running.launch import Launcher, Stopped
from attnae.errors import UserError

if TYPE_CHECKING:
    import submitit

MINUTES = 240
"""Default time limit of a job; a job that reaches it is requeued and resumes from its checkpoint."""

RESUBMISSIONS = 100
"""How often a job may reach its time limit before it is not requeued."""


def engine() -> Any:
    """The package submitit.

    Raises:
        UserError: It is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError("Jobs need submitit. Install it with: pip install submitit") from error
    return submitit


@dataclass
class Task:
    """The work of a job: one run, executed like a local run.

    Attributes:
        run: Run to execute.
        timeout: See :class:`Execution`.
        environment: Threads and devices; ``None`` for those allocated by SLURM.
        request: Request of the run if its images were not decoded when it was planned; an earlier job decodes them.
    """

    run: Run
    timeout: float | None
    environment: dict[str, str] | None = None
    request: Request | None = None
    launcher: Launcher | None = field(default=None, init=False)

    def __call__(self) -> tuple[str, str]:
        """Executes the run and returns its last stage and reason."""
        run = self._planned(self.request) if self.request else self.run
        environment, launch = self.environment, tuple[str, ...]()
        if environment is None:
            environment = {"OMP_NUM_THREADS": str(max(1, resources.cores() // run.id.devices))}
            launch = _srun(run.id.devices, run.id.nodes)
        execution = Execution(run, self.timeout, launch)
        self.launcher = Launcher([execution], Console(width=160), [environment])
        try:
            self.launcher.execute()
        except Stopped:  # canceled, or preempted, in which case SLURM requeues the job
            sys.exit(128 + signal.SIGTERM)
        return execution.stage, execution.reason

    def _planned(self, request: Request) -> Run:
        """Plans the run again, now that the digest of its images is known."""
        run = next(one for one in plan.make(request).runs if one.name == self.run.name)
        jobs.move(self.run.folder, run.folder)
        return replace(run, retest=self.run.retest, continues=self.run.continues)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Stops the training before the job is preempted; submitit requeues the job, which resumes."""
        if self.launcher:
            self.launcher.stop()
        return engine().helpers.DelayedSubmission(replace(self))


@dataclass
class Decoding:
    """The first job if the images are not decoded yet; it decodes them once for all runs.

    Attributes:
        request: Request of the runs.
    """

    request: Request

    def __call__(self) -> None:
        """Decodes the images into the cache shared by all machines."""
        plan.make(self.request)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Requeues the job; splits that are not fully decoded are decoded again."""
        return engine().helpers.DelayedSubmission(self)


def _srun(devices: int, nodes: int) -> tuple[str, ...]:
    """Command prefix that starts one process per device in the running job, as Lightning expects from SLURM."""
    if devices * nodes == 1:
        return ()
    tasks = [f"--nodes={nodes}", f"--ntasks={devices * nodes}", f"--ntasks-per-node={devices}"]
    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
        tasks.append(f"--cpus-per-task={cores}")
    return ("srun", "--overlap", "--unbuffered", *tasks, "env", "SLURM_JOB_NAME=attnae")  # see Execution.start


def submit(
    made: Plan,
    runs: list[Run],
    folder: Path,
    options: list[str],
    jobs_at_once: int | None = None,
    timeout: float | None = None,
) -> list[str]:
    """Submits runs as a SLURM array, after a decoding job if needed, and returns the names of the array's jobs.

    Args:
        made: Plan of the runs.
        runs: Runs to submit.
        folder: Folder for submitit's files; it and the working folder must be visible on every machine of the cluster.
        options: sbatch options as ``key=value``.
        jobs_at_once: Maximum number of concurrent jobs; ``None`` for no limit.
        timeout: Time limit of each run in minutes.

    Raises:
        UserError: submitit or SLURM is missing, or SLURM rejects the jobs.
    """
    parameters: dict[str, Any] = {"job_name": f"attnae-{made.benchmark.name}", "time": MINUTES}
    further: dict[str, Any] = {"requeue": True}
    devices, nodes = runs[0].id.devices, runs[0].id.nodes
    if devices * nodes > 1:
        parameters |= {"nodes": nodes, "ntasks_per_node": devices}
    if jobs_at_once:
        parameters["array_parallelism"] = jobs_at_once
    engine_ = engine()
    known = engine_.SlurmExecutor._valid_parameters()
    for option in options:
        key, value = _option(option)
        (parameters if key in known else further)[key] = value
    parameters["additional_parameters"] = further
    # The job itself is always one process; it starts the training processes itself, see `_srun`.
    parameters["srun_args"] = ["--nodes=1", "--ntasks=1"]
    if "cpus_per_task" in parameters:  # srun does not inherit it from sbatch since SLURM 22.05
        parameters["srun_args"].append(f"--cpus-per-task={parameters['cpus_per_task']}")
    try:
        place = {"SLURM_CONF": os.environ["SLURM_CONF"]} if "SLURM_CONF" in os.environ else {}
        with engine_.helpers.clean_env():  # a job that submits jobs must not pass on its own allocation
            os.environ.update(place)
            executor = engine_.SlurmExecutor(folder, max_num_timeout=RESUBMISSIONS)
            executor.update_parameters(**parameters)
            later = None if all(run.id.data_digest for run in runs) else replace(made.request, decode=True)
            if later:
                decoding = executor.submit(Decoding(later)).job_id
                further |= {"dependency": f"afterok:{decoding}", "kill_on_invalid_dep": "yes"}
                executor.update_parameters(additional_parameters=further)
            submitted = executor.submit_array([Task(run, timeout, None, later) for run in runs])
    except (engine_.core.utils.FailedJobError, RuntimeError, ValueError, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(f"SLURM rejected the jobs: {lines[-1] if lines else type(error).__name__}") from error
    for run, job in zip(runs, submitted, strict=True):
        jobs.note(run.folder, job.job_id)
    return [job.job_id for job in submitted]


def _option(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    key = key.strip().lstrip("-").replace("-", "_")
    if not sign or not key.isidentifier():
        raise UserError(f"--slurm-option {text!r}: expected key=value with an option of sbatch, such as partition=gpu.")
    whole = re.fullmatch("[0-9]{1,18}", value) is not None
    if key == "time" and not whole:
        raise UserError(f"--slurm-option {text!r}: expected minutes, such as time=240.")
    return key, int(value) if whole else True if value == "true" else value


class LocalJob(Execution):
    """An execution in a job of submitit's local executor, monitored through the run's files.

    Args:
        run: Run to execute.
        timeout: See :class:`Execution`.
        folder: Folder for submitit's files.
    """

    def __init__(self, run: Run, timeout: float | None, folder: Path):
        super().__init__(run, timeout)
        self.folder = folder
        self.job: Any = None

    def start(self, environment: dict[str, str]) -> None:
        """Starts the job."""
        self.began = time.monotonic()
        executor = engine().LocalExecutor(self.folder)
        executor.update_parameters(timeout_min=10**6)  # `--timeout` applies, not the executor's default of two minutes
        with _ignored(signal.SIGINT):  # only the runner receives Ctrl-C, and stops its jobs in order
            self.job = executor.submit(Task(self.run, self.timeout, environment))

    def poll(self) -> bool:
        """Updates the stage; returns whether the job has ended."""
        if self.job is None or not self.job.done():
            self.stage = TEST if self._trained() else self.stage
            return False
        try:
            self.stage, self.reason = self.job.result()
        except Exception:  # submitit raises various errors for killed jobs
            self.stage, self.reason = FAILED, f"the job ended without a result, see {self.job.paths.stderr}"
        self.finished = time.monotonic()
        return True

    def interrupt(self) -> None:
        """Sends the job a termination signal."""
        if self.job is not None and not self.job.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self.job.job_id), signal.SIGTERM)

    def stop(self) -> None:
        """Waits until an interrupted job ends."""
        patience = time.monotonic() + GRACE + 5
        while self.job is not None and not self.job.done() and time.monotonic() < patience:
            time.sleep(0.1)


@contextlib.contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    """Ignores a signal within the block; child processes started there ignore it as well."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
