"""Executes a plan with concurrent runs, a live table, and an orderly stop."""

from __future__ import annotations

import heapq
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from attnae.bench.markdown import one_line
from attnae.bench.running.execution import DONE, FAILED, FIT, LOCKED, TEST, Execution

TAIL = 5
"""Number of log lines shown for a failed run."""

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Notebook:
    """A table below a notebook's cell that is replaced once per second; rich's own live display needs ipywidgets."""

    def __init__(self, table: Table):
        from IPython.display import display

        self.handle, self.shown = display(table, display_id=True), time.monotonic()

    def update(self, table: Table, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self.shown > 1:
            self.handle.update(table)
            self.shown = time.monotonic()


class Stopped(Exception):
    """The user stopped the runs."""


class Launcher:
    """Runs executions one after another, or several at once on disjoint threads and devices.

    Args:
        executions: Executions to run.
        console: Output; prints lines instead of a live table if it is neither a terminal nor a notebook.
        slots: Environment variables of each concurrent execution, see :mod:`attnae.bench.running.resources`.
    """

    def __init__(self, executions: list[Execution], console: Console, slots: list[dict[str, str]]):
        self.console, self.jobs, self.free = console, len(slots), list(slots)
        self.waiting = list(executions)
        self.active: list[Execution] = []
        self.slots: dict[str, dict[str, str]] = {}
        self.over: list[Execution] = []
        self.seen: dict[str, Any] = {}
        self.warned: list[str] = []
        self.animated = console.is_terminal or console.is_jupyter

    def execute(self) -> list[Execution]:
        """Runs everything; a failed run does not stop the others.

        Raises:
            Stopped: Ctrl-C or a termination signal; running trainings were stopped, and their checkpoints were kept.
            UserError: A folder cannot be written to.
        """
        with _signals(), self._display() as live:
            try:
                while self.waiting or self.active:
                    while self.waiting and self.free:
                        execution, slot = self.waiting.pop(0), self.free.pop(0)
                        self.active.append(execution)
                        self.slots[execution.run.name] = slot
                        execution.start(slot)
                    for execution in list(self.active):
                        if execution.poll():
                            self.active.remove(execution)
                            self.over.append(execution)
                            self.free.append(self.slots.pop(execution.run.name))
                        self._tell(execution)
                    if live:
                        live.update(self._table())
                    time.sleep(0.2)
            except BaseException:  # child processes must not outlive the runner
                self.stop()
                raise
        return self.over

    def stop(self) -> None:
        """Stops all running executions; keeps their checkpoints."""
        for execution in self.active:
            execution.interrupt()
        for execution in self.active:
            execution.stop()

    @contextmanager
    def _display(self) -> Iterator[Live | _Notebook | None]:
        if not self.animated:
            yield None
            return
        if self.console.is_jupyter:
            notebook = _Notebook(self._table())
            yield notebook
            notebook.update(self._table(), at_once=True)
            return
        with Live(self._table(), console=self.console, refresh_per_second=4, transient=True) as live:
            yield live

    def _tell(self, execution: Execution) -> None:
        """Prints a line for each change if there is no live table; always prints failures."""
        run, beat = execution.run, execution.progress
        part = beat.get("epoch") if execution.stage == FIT else int(4 * execution.epochs_done)
        now = (execution.stage, part)
        if self.seen.get(run.name) == now:
            return
        self.seen[run.name] = now
        if execution.stage in (DONE, FAILED):
            for line in execution.warnings:
                if line not in self.warned:
                    self.warned.append(line)
                    self.console.print(f"[yellow]{run.name}[/]: {escape(line)}", soft_wrap=True, highlight=False)
        if execution.stage in (FAILED, LOCKED):
            self.console.print(
                f"[red]{run.name} {execution.stage}[/]: {escape(one_line(execution.reason))}",
                soft_wrap=True,
                highlight=False,
            )
            if execution.stage == FAILED:
                self.console.print(f"  log: {run.folder / 'log.txt'}", markup=False, soft_wrap=True, highlight=False)
                for line in execution.output[-TAIL:]:
                    self.console.print(f"  | {line}", markup=False, soft_wrap=True, highlight=False)
        elif not self.animated:
            epoch = f" epoch {beat['epoch']}/{beat['epochs']}" if execution.stage == FIT and beat else ""
            if execution.stage == TEST and beat:
                epoch = f" {execution.epochs_done:.0%}"
            left = f", {duration(execution.seconds_left)} left" if execution.seconds_left else ""
            self.console.print(f"{run.name} {execution.stage}{epoch}{left}", highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading in ("run", "stage", "", "epoch", "loss", "images/s", "left"):
            table.add_column(heading, no_wrap=True)
        for execution in [*self.over, *self.active]:
            beat, training = execution.progress, execution.stage == FIT
            epochs = beat.get("epochs") or execution.run.epochs or 1
            part = execution.epochs_done / epochs if training or execution.stage == TEST else 1.0
            color = {DONE: "green", FAILED: "red", LOCKED: "yellow"}.get(execution.stage, "cyan")
            loss, speed = beat.get("loss"), beat.get("images_per_second")
            table.add_row(
                execution.run.name,
                f"[{color}]{execution.stage}[/]",
                ProgressBar(1.0, min(part, 1.0), width=24),
                f"{min(beat.get('epoch', 0) + 1, epochs)}/{epochs}" if training and beat else "",
                f"{loss:.5g}" if training and loss is not None else "",
                f"{speed:,.0f}" if training and speed else "",
                duration(execution.seconds_left) if execution.seconds_left else "",
            )
        for execution in self.waiting:
            table.add_row(execution.run.name, "[dim]waiting[/]")
        left = self._seconds_left()
        total = len(self.over) + len(self.active) + len(self.waiting)
        rest = f", about {duration(left)} left" if left else ""
        whole = Table.grid()
        whole.add_row(table)
        whole.add_row(f"[dim]{len(self.over)}/{total} runs done{rest}; Ctrl-C keeps what is finished[/]")
        return whole

    def _seconds_left(self) -> float | None:
        """Estimated seconds until all runs end, if each waiting run takes as long as its variant has so far."""
        known: dict[str, list[float]] = {}
        for e in [*self.over, *self.active]:
            left = 0.0 if e.stage == DONE else e.seconds_left
            if left is not None:
                known.setdefault(e.run.id.variant, []).append((e.finished or time.monotonic()) - e.began + left)
        if not known:
            return None
        means = {variant: sum(seconds) / len(seconds) for variant, seconds in known.items()}
        usual = sum(means.values()) / len(means)
        places = [0.0] * (self.jobs - len(self.active))
        for e in self.active:
            left = e.seconds_left
            if left is None and e.stage == FIT:  # no step finished yet
                left = max(0.0, means.get(e.run.id.variant, usual) - (time.monotonic() - e.began))
            places.append(left or 0.0)
        heapq.heapify(places)
        for e in self.waiting:
            heapq.heapreplace(places, places[0] + means.get(e.run.id.variant, usual))
        return max(places)


@contextmanager
def _signals() -> Iterator[None]:
    """Turns the first Ctrl-C or termination into :class:`Stopped`; ignores further ones during the orderly stop."""

    def stop(number: int, frame: Any) -> None:
        for ending in ENDINGS:
            signal.signal(ending, signal.SIG_IGN)
        raise Stopped

    if threading.current_thread() is not threading.main_thread():  # where Python does not deliver signals
        yield
        return
    # What nohup and shells ignore in the background stays ignored.
    heeded = [ending for ending in ENDINGS if signal.getsignal(ending) is not signal.SIG_IGN]
    before = {ending: signal.signal(ending, stop) for ending in heeded}
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
