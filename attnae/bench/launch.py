"""Executes a plan: so many runs at once, a live table, and an orderly stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from attnae.bench.execution import DONE, FAILED, FIT, HELD, Execution
from attnae.bench.plan import Run

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """The user wants to end."""


class Launcher:
    """Runs executions one after another, or several at once on disjoint threads.

    Args:
        runs: What to execute.
        console: Where to show it; lines instead of a live table when it is not a terminal.
        jobs: Runs at once.
    """

    def __init__(self, runs: list[Run], console: Console, jobs: int = 1):
        self.console, self.jobs = console, jobs
        threads = max(
            1, (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) // jobs
        )
        self.waiting = [Execution(run, threads) for run in runs]
        self.active: list[Execution] = []
        self.over: list[Execution] = []
        self.seen: dict[str, Any] = {}

    def execute(self) -> list[Execution]:
        """Runs everything; a failed run does not stop the others.

        Raises:
            Stopped: Ctrl-C or a termination signal; running trainings have ended, their checkpoints stay.
            UserError: A folder cannot be written to.
        """
        with _signals(), self._display() as live:
            try:
                while self.waiting or self.active:
                    while self.waiting and len(self.active) < self.jobs:
                        self.active.append(self.waiting.pop(0))
                        self.active[-1].start()
                    for execution in list(self.active):
                        if execution.poll():
                            self.active.remove(execution)
                            self.over.append(execution)
                        self._tell(execution)
                    if live:
                        live.update(self._table())
                    time.sleep(0.2)
            except BaseException:  # no child may outlive the runner
                for execution in self.active:
                    execution.interrupt()
                for execution in self.active:
                    execution.stop()
                raise
        return self.over

    @contextmanager
    def _display(self) -> Iterator[Live | None]:
        if not self.console.is_terminal:
            yield None
            return
        with Live(self._table(), console=self.console, refresh_per_second=4, transient=True) as live:
            yield live

    def _tell(self, execution: Execution) -> None:
        """A line for whatever is new, where there is no live table; failures always."""
        run, beat = execution.run, execution.progress
        now = (execution.stage, beat.get("epoch") if execution.stage == FIT else None)
        if self.seen.get(run.name) == now:
            return
        self.seen[run.name] = now
        if execution.stage in (FAILED, HELD):
            self.console.print(
                f"[red]{run.name} {execution.stage}[/]: {execution.reason}", soft_wrap=True, highlight=False
            )
            if execution.stage == FAILED:
                self.console.print(f"  log: {run.folder / 'log.txt'}", soft_wrap=True, highlight=False)
        elif not self.console.is_terminal:
            epoch = f" epoch {beat['epoch']}/{beat['epochs']}" if execution.stage == FIT and beat else ""
            left = f", {duration(execution.seconds_left)} left" if execution.seconds_left else ""
            self.console.print(f"{run.name} {execution.stage}{epoch}{left}", highlight=False, soft_wrap=True)

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for heading in ("run", "stage", "", "epoch", "loss", "left"):
            table.add_column(heading, no_wrap=True)
        for execution in [*self.over, *self.active]:
            beat, training = execution.progress, execution.stage == FIT
            epochs = beat.get("epochs") or execution.run.epochs or 1
            part = (
                (beat.get("epoch", 0) + beat.get("step", 0) / max(beat.get("steps", 1), 1)) / epochs
                if training
                else 1.0
            )
            colour = {DONE: "green", FAILED: "red", HELD: "yellow"}.get(execution.stage, "cyan")
            loss = beat.get("loss")
            table.add_row(
                execution.run.name,
                f"[{colour}]{execution.stage}[/]",
                ProgressBar(1.0, min(part, 1.0), width=24),
                f"{min(beat.get('epoch', 0) + 1, epochs)}/{epochs}" if training and beat else "",
                f"{loss:.5g}" if training and loss is not None else "",
                duration(execution.seconds_left) if execution.seconds_left else "",
            )
        for execution in self.waiting:
            table.add_row(execution.run.name, "[dim]waiting[/]", "", "", "", "")
        left = self._seconds_left()
        total = len(self.over) + len(self.active) + len(self.waiting)
        rest = f", about {duration(left)} left" if left else ""
        return Group(table, f"[dim]{len(self.over)}/{total} runs done{rest}; Ctrl-C keeps what is finished[/]")

    def _seconds_left(self) -> float | None:
        """Rest of the active runs, and the mean of what is known for each that waits."""
        active = [seconds for execution in self.active if (seconds := execution.seconds_left) is not None]
        known = [e.finished - e.began for e in self.over if e.stage == DONE]
        known += [time.time() - e.began + left for e in self.active if (left := e.seconds_left) is not None]
        if not known:
            return None
        return (sum(active) + len(self.waiting) * sum(known) / len(known)) / max(1, self.jobs)


@contextmanager
def _signals() -> Iterator[None]:
    """Turns the first Ctrl-C or termination into :class:`Stopped`; further ones wait for the orderly end."""

    def stop(number: int, frame: Any) -> None:
        for ending in ENDINGS:
            signal.signal(ending, signal.SIG_IGN)
        raise Stopped

    before = {ending: signal.signal(ending, stop) for ending in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def duration(seconds: float | None) -> str:
    """``75`` as ``1:15``, ``4000`` as ``1:06:40``."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
