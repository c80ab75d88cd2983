"""The same executions as jobs: of SLURM, or of this machine by submitit's local executor."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from attnae.bench import jobs, plan
from attnae.bench.plan import Plan
from attnae.bench.request import Request
from attnae.bench.run import Run
from attnae.bench.running import resources
from attnae.bench.running.execution import FAILED, GRACE, TEST, Execution
from attnae.bench.running.launch import Launcher, Stopped
from attnae.errors import UserError

if TYPE_CHECKING:
    import submitit

MINUTES = 240
"""Time limit of a job unless told otherwise; a job that reaches it is queued again and goes on from its checkpoint."""

RESUBMISSIONS = 100
"""How often a job may reach its time limit."""


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
    """What a job does: one run, by the execution that a local run takes as well.

    Attributes:
        run: What to do.
        timeout: See :class:`Execution`.
        environment: Threads and devices; ``None`` for those that SLURM has allotted.
        request: What the run was planned from, if nobody had decoded its images then; an earlier job has since.
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
        except Stopped:  # cancelled, or preempted: then SLURM queues the job again
            sys.exit(128 + signal.SIGTERM)
        return execution.stage, execution.reason

    def _planned(self, request: Request) -> Run:
        """The run as it is planned now that the digest of its images is known."""
        run = next(one for one in plan.make(request).runs if one.name == self.run.name)
        jobs.move(self.run.folder, run.folder)
        return replace(run, retest=self.run.retest, continues=self.run.continues)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Ends the training when the job is about to be taken away; submitit queues it again, and it goes on."""
        if self.launcher:
            self.launcher.stop()
        return engine().helpers.DelayedSubmission(replace(self))


@dataclass
class Decoding:
    """The first job where nobody has decoded the images: it decodes them, once for all runs.

    Attributes:
        request: What the runs are planned from.
    """

    request: Request

    def __call__(self) -> None:
        """Decodes them into the cache that all machines share."""
        plan.make(self.request)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Queues the job again: what is not decoded by then is decoded anew."""
        return engine().helpers.DelayedSubmission(self)


def _srun(devices: int, nodes: int) -> tuple[str, ...]:
    """Starts a process for each device, as Lightning expects it from SLURM, in the job that is already running."""
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
    """Submits runs as a SLURM array and returns the names of its jobs; it waits for one that decodes, if that is to do.

    Args:
        made: What they belong to.
        runs: What to submit.
        folder: Where submitit keeps its files; every machine of the cluster must see it and the working folder.
        options: ``key=value`` of sbatch.
        jobs_at_once: How many may run at once; ``None`` for as many as SLURM lets.
        timeout: Minutes that each run may take.

    Raises:
        UserError: submitit or SLURM is missing, or refuses.
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
    # The job's own process is one, whatever was asked for: it starts those that train together itself, see `_srun`.
    parameters["srun_args"] = ["--nodes=1", "--ntasks=1"]
    if "cpus_per_task" in parameters:  # which srun does not take over from sbatch since SLURM 22.05
        parameters["srun_args"].append(f"--cpus-per-task={parameters['cpus_per_task']}")
    try:
        place = {"SLURM_CONF": os.environ["SLURM_CONF"]} if "SLURM_CONF" in os.environ else {}
        with engine_.helpers.clean_env():  # a job that submits others must not pass its own allotment on
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
    if key == "time" and not value.isdigit():
        raise UserError(f"--slurm-option {text!r}: expected minutes, such as time=240.")
    return key, int(value) if value.isdigit() else True if value == "true" else value


class LocalJob(Execution):
    """An execution in a job of submitit's local executor; seen through the run's files.

    Args:
        run: What to do.
        timeout: See :class:`Execution`.
        folder: Where submitit keeps its files.
    """

    def __init__(self, run: Run, timeout: float | None, folder: Path):
        super().__init__(run, timeout)
        self.folder = folder
        self.job: Any = None

    def start(self, environment: dict[str, str]) -> None:
        """Starts the job."""
        self.began = time.time()
        executor = engine().LocalExecutor(self.folder)
        executor.update_parameters(timeout_min=10**6)  # `--timeout` counts, not the executor's two minutes
        with _ignored(signal.SIGINT):  # Ctrl-C reaches the runner alone, which ends its jobs in order
            self.job = executor.submit(Task(self.run, self.timeout, environment))

    def poll(self) -> bool:
        """Follows the job; returns whether it is over."""
        if self.job is None or not self.job.done():
            self.stage = TEST if self._trained() else self.stage
            return False
        try:
            self.stage, self.reason = self.job.result()
        except Exception:  # whatever submitit makes of a job that was killed
            self.stage, self.reason = FAILED, f"the job ended without a result, see {self.job.paths.stderr}"
        self.finished = time.time()
        return True

    def interrupt(self) -> None:
        """Asks the job to end."""
        if self.job is not None and not self.job.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self.job.job_id), signal.SIGTERM)

    def stop(self) -> None:
        """Waits for an interrupted job."""
        patience = time.monotonic() + GRACE + 5
        while self.job is not None and not self.job.done() and time.monotonic() < patience:
            time.sleep(0.1)


@contextlib.contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    """Children that are started meanwhile ignore the signal, too."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
