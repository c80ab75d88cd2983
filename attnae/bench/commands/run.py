"""``attnae-bench run``: trains and evaluates variants, then writes the report."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from attnae.bench import catalog, extension, own, plan, sharing, store, tracking
from attnae.bench.commands.arguments import Subparsers
from attnae.bench.commands.cost import expected
from attnae.bench.commands.run_options import add_options
from attnae.bench.identity import Run, quoted
from attnae.bench.markdown import count, plain
from attnae.bench.request import MEASURES, Request
from attnae.bench.terminal import console
from attnae.errors import UserError
from attnae.paths import relative, shown
from attnae.result import Record

if TYPE_CHECKING:
    from attnae.bench.reporting.material import Loaded, Report


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "run", help="train and evaluate variants and write the report; resumes interrupted runs"
    )
    add_options(parser)
    parser.set_defaults(handler=run)


class Work(NamedTuple):
    """The remaining work of a plan.

    Attributes:
        made: The plan.
        waiting: Runs left to execute.
        complete: Number of complete runs.
    """

    made: plan.Plan
    waiting: list[Run]
    complete: int

    @property
    def home(self) -> Path:
        """Folder of all runs with this label."""
        return self.made.runs[0].folder.parents[1]


class Outcome(NamedTuple):
    """What came of a plan.

    Attributes:
        code: Exit code.
        made: The plan.
        comparisons: The reports with its results; empty if none was written.
    """

    code: int
    made: plan.Plan
    comparisons: list[Loaded]


def run(options: argparse.Namespace) -> int:
    """Executes the runs and writes the report; returns the exit code."""
    return perform(options).code


def perform(options: argparse.Namespace) -> Outcome:
    """Executes the runs, of all points of a grid if there is one, and writes the reports."""
    options.dry_run = options.dry_run or options.estimate
    _login(options)
    if options.grid:
        from attnae.bench.commands import run_grid

        return run_grid.perform(options)
    return carry_out(options, planned(options))


def _login(options: argparse.Namespace) -> None:
    """Leaves out Weights & Biases if nobody is logged in, with a message."""
    if options.wandb and not (account := tracking.login()).usable:
        console().print(
            f"[yellow]Not logging to Weights & Biases[/]: {account.text}. metrics.csv and the report are still written.",
            soft_wrap=True,
        )
        options.wandb = None


def planned(options: argparse.Namespace) -> plan.Plan:
    """The plan of the options.

    Raises:
        UserError: An option is wrong, or the data is missing.
    """
    request = _request(options)
    if request.benchmark.file:
        catalog.register(request.benchmark)
    made = plan.make(extension.longer(request, options.extend) if options.extend else request)
    if options.nodes > 1 and options.launcher != "slurm":
        raise UserError("--nodes requires --launcher slurm. Add it, or leave out --nodes.")
    if options.slurm_options and options.launcher != "slurm":
        raise UserError("--slurm-option requires --launcher slurm. Add it, or leave out --slurm-option.")
    if request.benchmark.file:
        own.check(request.benchmark, made.request.profile, {run.id.variant: run.stated for run in made.runs})
    return made


def carry_out(options: argparse.Namespace, made: plan.Plan) -> Outcome:
    """Executes the runs of a plan and writes the report."""
    if options.extend:
        made = extension.extended(made)
    if options.dry_run:
        cost = ""
        try:
            if options.launcher != "slurm":  # this machine tells nothing about the nodes of a cluster
                cost = expected(options, made, made.runs)
        except UserError:  # it has too few GPUs
            if options.estimate:
                raise
        for one in made.runs:
            print(f"# {one.name}: {one.epochs} epochs, {shown(one.folder)}", *extension.commands(one), sep="\n")
        if cost:
            print(f"# {cost}")
        return Outcome(0, made, [])
    from attnae.bench.reporting import report

    report.prepare(options.reports)
    for root in (options.out, options.reports):
        catalog.keep(made.benchmark, root)
    out = console()
    work = _work(options, made, out)
    if options.launcher == "slurm" and work.waiting:
        return Outcome(_submit(options, work, out), made, [])
    if work.waiting and (told := tracking.connect(work.waiting, work.home)):
        out.print(f"[yellow]{escape(told)}[/]", soft_wrap=True, highlight=False)
    stages = _execute(options, work, out)
    if stages is None:
        return Outcome(130, made, [])
    if not any(store.read(one) for one in made.runs):
        return Outcome(1, made, [])
    compared = _report(options, work, out)
    if any(last.status == "failed" for one in made.runs if (last := store.read(one))):
        out.print("Some runs failed; see their logs. Next: rerun this command with --retry-failed")
        return Outcome(1, made, compared)
    out.print(f"Next: {_next(made)}", soft_wrap=True)
    return Outcome(1 if any(stage != "complete" for stage in stages) else 0, made, compared)


def _request(options: argparse.Namespace) -> Request:
    return Request(
        benchmark=catalog.find(options.benchmark),
        profile=options.profile or "",
        variants=options.variants,
        seeds=options.seeds,
        data_root=options.data_root,
        overrides=options.overrides,
        label=options.label,
        out=options.out,
        dry=options.dry_run,
        precision=options.precision,
        devices=options.devices,
        nodes=options.nodes,
        wandb=options.wandb,
        keep_checkpoints=options.keep_checkpoints,
        decode=options.launcher != "slurm",
    )


def _work(options: argparse.Namespace, made: plan.Plan, out: Console) -> Work:
    """Determines which runs of a plan are left to execute."""
    known = {one.name: last.status if (last := store.read(one)) else "" for one in made.runs}
    complete, total = sum(status == "complete" for status in known.values()), len(made.runs)
    if options.retest:
        waiting = [plan.as_retest(one) for one in made.runs if known[one.name] == "complete"]
        if not waiting:
            raise UserError(f"Nothing to retest: 0 of {total} runs are complete. Leave out --retest to train them.")
    else:
        wanted = ("", "failed") if options.retry_failed else ("",)
        waiting = [one for one in made.runs if known[one.name] in wanted]
    where = f" on {escape(made.location.title)}" if made.location else ""
    title = f"[bold]{escape(made.benchmark.title)}[/], profile {made.request.profile}{where}"
    out.print(
        f"{title}: {count(total, 'run')}, {complete} already complete",
        soft_wrap=True,
    )
    if waiting and options.launcher != "slurm" and not options.retest:
        out.print(expected(options, made, waiting), soft_wrap=True, highlight=False)
    for line in made.notices:
        out.print(escape(line), soft_wrap=True, highlight=False)
    if complete and not options.retest and any(text.partition("=")[0] in MEASURES for text in options.overrides):
        out.print("Complete runs are not tested again. Use --retest to test them.")
    return Work(made, waiting, complete)


def _submit(options: argparse.Namespace, work: Work, out: Console) -> int:
    """Submits the runs that are not queued or running yet."""
    from attnae.bench import jobs
    from attnae.bench.running import cluster

    busy = jobs.alive(folder for one in work.waiting for folder in (one.folder, one.undecoded))
    waiting = [one for one in work.waiting if not {one.folder, one.undecoded} & busy.keys()]
    if queued := len(work.waiting) - len(waiting):
        out.print(f"{count(queued, 'run')} {'are' if queued > 1 else 'is'} already queued or running.")
    if waiting:
        names = cluster.submit(
            work.made, waiting, work.home / "jobs", options.slurm_options, options.jobs, options.timeout
        )
        out.print(f"Submitted {count(len(names), 'run')} as {', '.join(names)}", soft_wrap=True, highlight=False)
    command = "this command without --retest" if options.retest else "this command"
    out.print(
        f"Next: attnae-bench status {escape(shown(work.home))}. When all jobs have finished, rerun {command} "
        "to write the report.",
        soft_wrap=True,
    )
    return 0


def _execute(options: argparse.Namespace, work: Work, out: Console) -> list[str] | None:
    """Executes the runs on this machine; returns their final stages, or ``None`` if interrupted."""
    from attnae.bench.running import cluster, resources
    from attnae.bench.running.execution import DONE, Execution
    from attnae.bench.running.launch import Launcher, Stopped

    if not work.waiting:
        return []
    # Threads by --jobs and profile: with others for the last runs, a repeated command would give other last digits.
    slots = resources.slots(options.jobs, options.devices, work.made.accelerator, work.made.threads)
    if options.launcher == "submitit-local":
        cluster.engine()
        executions: list[Execution] = [
            cluster.LocalJob(one, options.timeout, work.home / "jobs") for one in work.waiting
        ]
    else:
        executions = [Execution(one, options.timeout) for one in work.waiting]
    launcher = Launcher(executions, out, slots)
    try:
        launcher.execute()
    except Stopped:
        done, total = sum(e.stage == DONE for e in launcher.over), len(work.made.runs)
        if options.retest:
            out.print(
                f"Stopped. {done} of {len(work.waiting)} runs were retested; previous results of the others were kept."
            )
        else:
            out.print(f"Stopped. {work.complete + done} of {total} runs are complete. Rerun this command to resume.")
        return None
    return [e.stage for e in launcher.over]


def _report(options: argparse.Namespace, work: Work, out: Console) -> list[Loaded]:
    """Writes the reports of the label, and prints and returns those with the runs of this plan.

    Reports include all results of the label, not only those of this plan, so that controls can be added later. Results
    kept by a report remain after their run folders are deleted.
    """
    from attnae.bench.reporting import answer, report

    found = store.results(work.home, missing_ok=True)
    report.current(found, options.reports) or report.build(found, options.reports)
    fitting = [
        table for table in report.tables(found, options.reports) if any(_fits(work.made, one) for one in table.records)
    ]
    fresh = [table for table in fitting if not any(_stale(work.made, one) for one in table.records)]
    compared = [report.loaded(table, options.reports) for table in fresh or fitting]
    for one, _ in compared:
        assert one.folder
        page = one.folder / "README.md"
        _summary(out, one)
        out.print(plain(" ".join(answer.sentences(one))), soft_wrap=True, highlight=False, markup=False)
        out.print(f"Report: {escape(shown(page))}", soft_wrap=True)
        for label, why in one.beside.items():
            out.print(f"Results in a separate report, {escape(label)}: {escape(why)}", soft_wrap=True, highlight=False)
        if options.wandb and (problem := tracking.publish(page, options.wandb, work.home)):
            out.print(f"[yellow]Uploading the report to Weights & Biases failed[/]: {escape(problem)}", soft_wrap=True)
    return compared


def _fits(made: plan.Plan, record: Record) -> bool:
    """Whether a result can share a table with the plan's runs."""
    one = record[1]
    return one.variant in made.identities and not sharing.apart(one, made.identities[one.variant])


def _stale(made: plan.Plan, record: Record) -> bool:
    """Whether a result is one of the plan's variants by another configuration or other code."""
    return record[1].variant in made.identities and not _fits(made, record)


def _summary(out: Console, report: Report) -> None:
    """The comparison at the end of a run: the leading columns of every table, and the cost."""
    from attnae.bench.reporting import statistics
    from attnae.bench.reporting.conditions import counting
    from attnae.metrics.columns import COSTS, column

    keys = [*report.benchmark.leading, *COSTS]
    grid = Table(title=escape(report.benchmark.title))
    grid.add_column("variant")
    for key in keys:
        protocol = f"{key.split('/')[0]}\n" if "/" in key else "\n"
        grid.add_column(protocol + column(key).heading, justify="right")
    for name, runs in report.rows.items():
        cells = []
        for key in keys:
            value = statistics.summary(counting(runs, key, report.done), key)
            cells.append(f"{value.mean:,.{column(key).digits}f}" if value else "-")
        if runs:
            grid.add_row(escape(report.title(name)), *cells)
    out.print(grid)


def _next(made: plan.Plan) -> str:
    benchmark = made.benchmark
    left = [name for name in benchmark.variants if name not in {one.id.variant for one in made.runs}]
    further = [name for name, profile in benchmark.profiles.items() if profile.evidence != "demonstration"]
    if made.request.profile not in further and further:
        command = f"attnae-bench run {escape(quoted([plan.named(benchmark)]))} --profile {further[0]} --data-root"
        if made.request.data_root:
            root = made.request.data_root
            # A path has lost one of the slashes of hf://.
            return f"{command} {escape(shlex.quote(relative(root) if root.parts[:1] == ('hf:',) else shown(root)))}"
        return f"{command} DIR   (DIR: train/ and test/ images)"
    if left:
        return f"for the controls, the same command with --variants {','.join(left)}"
    if len({one.id.seed for one in made.runs}) < 3:
        return "for intervals over seeds, the same command with --seeds 3"
    return "attnae-bench report --format latex, for a paper"
