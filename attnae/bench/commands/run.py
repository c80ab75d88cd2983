"""``attnae-bench run``: trains and evaluates variants and writes the report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from attnae.bench import catalog, plan, store, tracking
from attnae.bench.benchmark import Benchmark
from attnae.bench.commands.arguments import Subparsers, minutes, positive
from attnae.bench.terminal import console
from attnae.errors import UserError
from attnae.result import Result


def register(commands: Subparsers[Any]) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "run", help="train and evaluate variants and write the report; goes on where it was interrupted"
    )
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
        type=Path,
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
    parser.add_argument("--label", metavar="NAME", help="name of the report; default: profile, data and schedule")
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="folder of the runs; default runs"
    )
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder of the reports; default reports"
    )
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
    parser.add_argument("--dry-run", action="store_true", help="only show the commands")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """``attnae-bench run``."""
    out = console()
    benchmark = catalog.load(options.benchmark)
    if options.wandb and not (account := tracking.login()).usable:
        out.print(
            f"[yellow]No Weights & Biases[/]: {account.text}. metrics.csv and the report are written.", soft_wrap=True
        )
        options.wandb = None
    made = plan.make(
        benchmark,
        options.profile,
        options.variants,
        options.seeds,
        options.data_root,
        [*options.overrides, *(tracking.settings(options.wandb) if options.wandb else [])],
        options.label,
        options.out,
        dry=options.dry_run,
        devices=options.devices,
        nodes=options.nodes,
    )
    if options.nodes > 1 and options.launcher != "slurm":
        raise UserError("--nodes needs --launcher slurm, which starts a process on every machine.")
    if options.slurm_options and options.launcher != "slurm":
        raise UserError("--slurm-option needs --launcher slurm.")
    if options.dry_run:
        for one in made.runs:
            print(f"# {one.name}: {one.epochs} epochs, {one.folder}", *one.commands, sep="\n")
        return 0

    from attnae.bench import jobs
    from attnae.bench.reporting import report
    from attnae.bench.running import cluster, resources
    from attnae.bench.running.execution import DONE, Execution
    from attnae.bench.running.launch import Launcher, Stopped

    report.prepare(options.reports)

    known = {one.name: last.status if (last := store.read(one)) else "" for one in made.runs}
    if options.retest:
        waiting = [plan.again(one) for one in made.runs if known[one.name] == "complete"]
        if not waiting:
            raise UserError(
                f"No run to test again: none of these {len(made.runs)} is complete. Leave --retest out to train."
            )
    else:
        again = ("", "failed") if options.retry_failed else ("",)
        waiting = [one for one in made.runs if known[one.name] in again]
    before, total = sum(status == "complete" for status in known.values()), len(made.runs)
    where = f" on {escape(made.location.title)}" if made.location else ""
    out.print(
        f"[bold]{benchmark.title}[/], profile {made.profile}{where}: {total} runs, {before} already complete",
        soft_wrap=True,
    )
    if before and not options.retest and any(text.partition("=")[0] in plan.MEASURES for text in options.overrides):
        out.print("Complete runs are not tested again, unless with --retest.")
    home = options.out / benchmark.name / made.label
    if options.launcher == "slurm" and waiting:
        busy = jobs.alive(one.folder for one in waiting)
        waiting = [one for one in waiting if one.folder not in busy]
        if busy:
            out.print(f"{len(busy)} runs are queued or running already.")
        if waiting:
            names = cluster.submit(
                made,
                waiting,
                home / "jobs",
                options.slurm_options,
                options.jobs,
                options.devices,
                options.nodes,
                options.timeout,
            )
            out.print(f"Submitted {len(names)} runs as {', '.join(names)}", soft_wrap=True, highlight=False)
        out.print(f"Next: attnae-bench status {escape(plan.relative(home))}; when they are over, the same command "
                      f"{'without --retest' if options.retest else 'again'} writes the report", soft_wrap=True)  # fmt: skip
        return 0
    slots = resources.slots(options.jobs or 1, options.devices, made.accelerator)
    if options.launcher == "submitit-local":
        cluster.engine()
        executions: list[Execution] = [cluster.LocalJob(one, options.timeout, home / "jobs") for one in waiting]
    else:
        executions = [Execution(one, options.timeout) for one in waiting]
    launcher = Launcher(executions, out, slots)
    try:
        launcher.execute()
    except Stopped:
        done = sum(e.stage == DONE for e in launcher.over)
        if options.retest:
            out.print(f"Stopped. {done} of {len(waiting)} runs were tested again; the others keep what was measured.")
        else:
            out.print(f"Stopped. {before + done} of {total} runs are complete; the same command goes on from here.")
        return 130
    if not any(store.read(one) for one in made.runs):
        return 1
    # All runs of the label with this configuration, not this plan's alone: controls that come later join the comparison.
    # What the report has kept of runs whose folders are elsewhere stays.
    found = store.results(options.out / benchmark.name / made.label)
    found += store.results(options.reports / benchmark.name / made.label, missing_ok=True)
    results = [(folder, one) for folder, one in found if made.hashes.get(one.variant) == one.config_hash]
    page = options.reports / benchmark.name / made.label / "README.md"
    pages = [page] if _shows(page, results) else report.build(results, options.reports)
    _summary(out, benchmark, [one for _, one in results])
    for page in pages:
        out.print(f"Report: {escape(str(page))}", soft_wrap=True)
        if options.wandb and (problem := tracking.publish(page, options.wandb, home)):
            out.print(f"[yellow]Weights & Biases did not take the report[/]: {escape(problem)}", soft_wrap=True)
    if any(last.status == "failed" for one in made.runs if (last := store.read(one))):
        out.print("Some runs failed; their logs say more. Next: the same command with --retry-failed")
        return 1
    out.print(f"Next: {_next(benchmark, made)}", soft_wrap=True)
    return 1 if any(e.stage != DONE for e in launcher.over) else 0


def _shows(page: Path, results: list[tuple[Path, Result]]) -> bool:
    """Whether a report stands and was made from these very results: drawing it again takes longer than all the rest."""
    kept = {(one.variant, one.seed): one for _, one in store.results(page.parent, missing_ok=True)}
    shown = {(one.variant, one.seed): one for _, one in reversed(results)}  # of several the first counts
    return page.exists() and kept == shown


def _summary(out: Console, benchmark: Benchmark, results: list[Result]) -> None:
    """The comparison at the end of a run: the leading columns of every table, and the cost."""
    from attnae.bench.reporting import statistics
    from attnae.metrics.columns import COSTS, column

    keys = [*benchmark.leading, *COSTS]
    grid = Table(title=f"{benchmark.title}")
    grid.add_column("variant")
    for key in keys:
        protocol = f"{key.split('/')[0]}\n" if "/" in key else "\n"
        grid.add_column(protocol + column(key).heading, justify="right")
    for name in benchmark.variants:
        runs = [r for r in results if r.variant == name and r.status == "complete"]
        if not runs:
            continue
        cells = []
        for key in keys:
            value = statistics.summary(runs, key)
            cells.append(f"{value.mean:,.{column(key).digits}f}" if value else "-")
        grid.add_row(benchmark.variants[name].title, *cells)
    out.print(grid)


def _next(benchmark: Benchmark, made: plan.Plan) -> str:
    left = [name for name in benchmark.variants if name not in {one.variant for one in made.runs}]
    further = [name for name, profile in benchmark.profiles.items() if profile.evidence != "demonstration"]
    if made.profile not in further and further:
        return (
            f"attnae-bench run {benchmark.name} --profile {further[0]} --data-root DIR   (DIR: train/ and test/ images)"
        )
    if left:
        return f"the controls: the same command with --variants {','.join(left)}"
    return "error bars: the same command with --seeds 3"
