"""``attnae-bench run``: trains and evaluates variants and writes the report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from attnae.bench import catalog, plan, precision, sharing, store, tracking
from attnae.bench.commands.arguments import Subparsers, minutes, path, positive
from attnae.bench.markdown import plain
from attnae.bench.request import MEASURES, Request, shown
from attnae.bench.run import Run
from attnae.bench.terminal import console
from attnae.errors import UserError
from attnae.result import Record

if TYPE_CHECKING:
    from attnae.bench.reporting.material import Report


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "run", help="train and evaluate variants and write the report; goes on where it was interrupted"
    )
    _what(parser)
    _where(parser)
    _how(parser)
    parser.set_defaults(handler=run)


def _what(parser: argparse.ArgumentParser) -> None:
    """Arguments that say which runs there are."""
    parser.add_argument("benchmark", metavar="BENCHMARK", help="see attnae-bench list")
    parser.add_argument(
        "--profile", metavar="P", help="data and schedule, see attnae-bench show BENCHMARK; default: its first profile"
    )
    parser.add_argument(
        "--variants", metavar="a,b", help="names separated by commas, or all; default: the ones that the paper compares"
    )
    parser.add_argument(
        "--seeds",
        default="1",
        metavar="N|a,b,c",
        help="how many seeds, or which ones ('7,' is the one seed 7); default 1",
    )
    parser.add_argument(
        "--data-root",
        type=path,
        metavar="DIR",
        help="images instead of the profile's: train/ and test/ folders, or train.npy and test.npy",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="any key of attnae fit, such as trainer.max_epochs=3; repeatable",
    )
    parser.add_argument(
        "--precision",
        choices=precision.CHOICES,
        default="fp32",
        help="32-bit numbers (the default), bfloat16 where that is as good, or auto: bfloat16 if the hardware has it",
    )
    parser.add_argument("--label", metavar="NAME", help="name of the report; default: profile, data and schedule")


def _where(parser: argparse.ArgumentParser) -> None:
    """Arguments that say where files are and where numbers are shown."""
    parser.add_argument("--out", type=path, default="runs", metavar="DIR", help="folder of the runs; default runs")
    parser.add_argument(
        "--reports", type=path, default="reports", metavar="DIR", help="folder of the reports; default reports"
    )


def _how(parser: argparse.ArgumentParser) -> None:
    """Arguments that say how the runs are executed."""
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="runs at once, each with its own GPUs or its share of the threads; default 1, on SLURM as many as it lets",
    )
    parser.add_argument(
        "--devices",
        type=positive,
        default=1,
        metavar="N",
        help="GPUs, or processes on a CPU, that train one run together (DDP); they share the batch that the "
        "configuration states; default 1. A test always takes one",
    )
    parser.add_argument(
        "--nodes",
        type=positive,
        default=1,
        metavar="M",
        help="machines of SLURM that train one run, each with N devices",
    )
    parser.add_argument(
        "--timeout",
        type=minutes,
        metavar="MIN",
        help="end a run that takes longer; it has failed, and --retry-failed goes on from its checkpoint",
    )
    parser.add_argument(
        "--launcher",
        choices=("local", "slurm", "submitit-local"),
        default="local",
        help="local: processes of this command (the default); slurm: submits an array of jobs and returns; "
        "submitit-local: the same jobs on this machine, to try them",
    )
    parser.add_argument(
        "--slurm-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="slurm_options",
        help="any option of sbatch, such as partition=gpu, gres=gpu:1, account=lab or time=240 (minutes; the default; "
        "a job that reaches it is queued again and goes on); repeatable",
    )
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="attnae",
        metavar="PROJECT",
        help="also log to Weights & Biases, by default to the project attnae; needs a login or WANDB_MODE=offline",
    )
    parser.add_argument("--retry-failed", action="store_true", help="repeat runs that failed")
    parser.add_argument(
        "--retest",
        action="store_true",
        help="test complete runs again, for what is measured since then; trains nothing",
    )
    parser.add_argument(
        "--keep-checkpoints",
        action="store_true",
        help="keep the checkpoints of complete runs, with the optimizer's state",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show the commands")


class Work(NamedTuple):
    """What a plan still takes.

    Attributes:
        made: The plan.
        waiting: Runs to execute.
        complete: How many are complete already.
    """

    made: plan.Plan
    waiting: list[Run]
    complete: int

    @property
    def home(self) -> Path:
        """Folder of the label's runs."""
        return self.made.runs[0].folder.parents[1]


def run(options: argparse.Namespace) -> int:
    """``attnae-bench run``."""
    out = console()
    if options.wandb and not (account := tracking.login()).usable:
        out.print(
            f"[yellow]No Weights & Biases[/]: {account.text}. metrics.csv and the report are written.", soft_wrap=True
        )
        options.wandb = None
    made = plan.make(_request(options))
    if options.nodes > 1 and options.launcher != "slurm":
        raise UserError("--nodes needs --launcher slurm, which starts a process on every machine.")
    if options.slurm_options and options.launcher != "slurm":
        raise UserError("--slurm-option needs --launcher slurm.")
    if options.dry_run:
        for one in made.runs:
            print(f"# {one.name}: {one.epochs} epochs, {shown(one.folder)}", *one.commands, sep="\n")
        return 0
    from attnae.bench.reporting import report

    report.prepare(options.reports)
    work = _work(options, made, out)
    if options.launcher == "slurm" and work.waiting:
        return _submit(options, work, out)
    stages = _execute(options, work, out)
    if stages is None:
        return 130
    if not any(store.read(one) for one in made.runs):
        return 1
    _report(options, work, out)
    if any(last.status == "failed" for one in made.runs if (last := store.read(one))):
        out.print("Some runs failed; their logs say more. Next: the same command with --retry-failed")
        return 1
    out.print(f"Next: {_next(made)}", soft_wrap=True)
    return 1 if any(stage != "complete" for stage in stages) else 0


def _request(options: argparse.Namespace) -> Request:
    return Request(
        benchmark=catalog.load(options.benchmark),
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
    """Which runs of a plan are still to do."""
    known = {one.name: last.status if (last := store.read(one)) else "" for one in made.runs}
    complete, total = sum(status == "complete" for status in known.values()), len(made.runs)
    if options.retest:
        waiting = [plan.as_retest(one) for one in made.runs if known[one.name] == "complete"]
        if not waiting:
            raise UserError(f"No run to test again: none of these {total} is complete. Leave --retest out to train.")
    else:
        wanted = ("", "failed") if options.retry_failed else ("",)
        waiting = [one for one in made.runs if known[one.name] in wanted]
    where = f" on {escape(made.location.title)}" if made.location else ""
    out.print(
        f"[bold]{made.benchmark.title}[/], profile {made.request.profile}{where}: {total} runs, {complete} already complete",
        soft_wrap=True,
    )
    for line in made.notices:
        out.print(escape(line), soft_wrap=True, highlight=False)
    if complete and not options.retest and any(text.partition("=")[0] in MEASURES for text in options.overrides):
        out.print("Complete runs are not tested again, unless with --retest.")
    return Work(made, waiting, complete)


def _submit(options: argparse.Namespace, work: Work, out: Console) -> int:
    """Submits what is not queued or running already."""
    from attnae.bench import jobs
    from attnae.bench.running import cluster

    busy = jobs.alive(folder for one in work.waiting for folder in (one.folder, one.undecoded))
    waiting = [one for one in work.waiting if not {one.folder, one.undecoded} & busy.keys()]
    if busy:
        out.print(f"{len(work.waiting) - len(waiting)} runs are queued or running already.")
    if waiting:
        names = cluster.submit(
            work.made, waiting, work.home / "jobs", options.slurm_options, options.jobs, options.timeout
        )
        out.print(f"Submitted {len(names)} runs as {', '.join(names)}", soft_wrap=True, highlight=False)
    command = "without --retest" if options.retest else "again"
    out.print(
        f"Next: attnae-bench status {escape(shown(work.home))}; when they are over, the same command {command} "
        "writes the report",
        soft_wrap=True,
    )
    return 0


def _execute(options: argparse.Namespace, work: Work, out: Console) -> list[str] | None:
    """Executes the runs here; their last stages, or ``None`` if somebody stopped them."""
    from attnae.bench.running import cluster, resources
    from attnae.bench.running.execution import DONE, Execution
    from attnae.bench.running.launch import Launcher, Stopped

    slots = resources.slots(options.jobs or 1, options.devices, work.made.accelerator)
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
                f"Stopped. {done} of {len(work.waiting)} runs were tested again; previous results of the others were kept."
            )
        else:
            out.print(
                f"Stopped. {work.complete + done} of {total} runs are complete; the same command goes on from here."
            )
        return None
    return [e.stage for e in launcher.over]


def _report(options: argparse.Namespace, work: Work, out: Console) -> None:
    """Writes the reports of the label, and shows the answer and the table that this plan's runs are in.

    All results of the label count, not this plan's alone: controls that come later join the comparison, and what a
    report has kept of runs whose folders are gone stays.
    """
    from attnae.bench.reporting import answer, material, report

    made = work.made
    found = store.results(work.home, missing_ok=True)
    report.current(found, options.reports) or report.build(found, options.reports)
    ours = [table for table in report.tables(found, options.reports) if any(_fits(made, one) for one in table.records)]
    for table in ours:
        page = options.reports / table.benchmark / table.label / "README.md"
        shown_here = material.Report(made.benchmark, table.label, [one for _, one in table.records], page.parent)
        _summary(out, shown_here)
        out.print(plain(" ".join(answer.sentences(shown_here))), soft_wrap=True, highlight=False, markup=False)
        out.print(f"Report: {escape(shown(page))}", soft_wrap=True)
        for label, why in table.beside.items():
            out.print(f"Results that stand apart, in {escape(label)}: {escape(why)}", soft_wrap=True, highlight=False)
        if options.wandb and (problem := tracking.publish(page, options.wandb, work.home)):
            out.print(f"[yellow]Weights & Biases did not take the report[/]: {escape(problem)}", soft_wrap=True)


def _fits(made: plan.Plan, record: Record) -> bool:
    """Whether a result can stand in one table with the plan's runs."""
    one = record[1]
    return one.variant in made.identities and not sharing.apart(one, made.identities[one.variant])


def _summary(out: Console, report: Report) -> None:
    """The comparison at the end of a run: the leading columns of every table, and the cost."""
    from attnae.bench.reporting import statistics
    from attnae.bench.reporting.conditions import undisturbed
    from attnae.metrics.columns import COSTS, column

    keys = [*report.benchmark.leading, *COSTS]
    grid = Table(title=report.benchmark.title)
    grid.add_column("variant")
    for key in keys:
        protocol = f"{key.split('/')[0]}\n" if "/" in key else "\n"
        grid.add_column(protocol + column(key).heading, justify="right")
    for name, runs in report.rows.items():
        cells = []
        for key in keys:
            quiet = [r for r in runs if undisturbed(r)] if key == "seconds_per_epoch" else runs
            value = statistics.summary(quiet, key)
            cells.append(f"{value.mean:,.{column(key).digits}f}" if value else "-")
        if runs:
            grid.add_row(escape(report.title(name)), *cells)
    out.print(grid)


def _next(made: plan.Plan) -> str:
    benchmark = made.benchmark
    left = [name for name in benchmark.variants if name not in {one.id.variant for one in made.runs}]
    further = [name for name, profile in benchmark.profiles.items() if profile.evidence != "demonstration"]
    if made.request.profile not in further and further:
        return (
            f"attnae-bench run {benchmark.name} --profile {further[0]} --data-root DIR   (DIR: train/ and test/ images)"
        )
    if left:
        return f"for the controls, the same command with --variants {','.join(left)}"
    return "for intervals over seeds, the same command with --seeds 3"
