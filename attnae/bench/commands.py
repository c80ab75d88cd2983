"""What the commands of ``attnae-bench`` do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from attnae.bench import catalog, plan, store, tracking
from attnae.errors import UserError
from attnae.result import Result


def show_list(options: argparse.Namespace) -> int:
    """``attnae-bench list``."""
    console = _console()
    for name in catalog.names():
        benchmark = catalog.load(name)
        console.print(f"[bold]{name}[/]  {benchmark.title}  [dim]({benchmark.paper['title']})[/]", soft_wrap=True)
        grid = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for variant in benchmark.variants.values():
            grid.add_row(f"  {'*' if variant.default else ' '} {variant.name}", variant.about)
        for profile, about in benchmark.profiles.items():
            grid.add_row(f"    --profile {profile}", about)
        console.print(grid)
    console.print("* is what `attnae-bench run BENCHMARK` compares by default.")
    return 0


def run(options: argparse.Namespace) -> int:
    """``attnae-bench run``."""
    console = _console()
    benchmark = catalog.load(options.benchmark)
    if options.wandb and not (account := tracking.login()).usable:
        console.print(
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
    console.print(
        f"[bold]{benchmark.title}[/], profile {made.profile}{where}: {total} runs, {before} already complete",
        soft_wrap=True,
    )
    if before and not options.retest and any(text.partition("=")[0] in plan.MEASURES for text in options.overrides):
        console.print("Complete runs are not tested again, unless with --retest.")
    home = options.out / benchmark.name / made.label
    if options.launcher == "slurm" and waiting:
        busy = jobs.alive(one.folder for one in waiting)
        waiting = [one for one in waiting if one.folder not in busy]
        if busy:
            console.print(f"{len(busy)} runs are queued or running already.")
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
            console.print(f"Submitted {len(names)} runs as {', '.join(names)}", soft_wrap=True, highlight=False)
        console.print(f"Next: attnae-bench status {escape(plan.relative(home))}; when they are over, the same command "
                      f"{'without --retest' if options.retest else 'again'} writes the report", soft_wrap=True)  # fmt: skip
        return 0
    slots = resources.slots(options.jobs or 1, options.devices, made.accelerator)
    if options.launcher == "submitit-local":
        cluster.engine()
        executions: list[Execution] = [cluster.LocalJob(one, options.timeout, home / "jobs") for one in waiting]
    else:
        executions = [Execution(one, options.timeout) for one in waiting]
    launcher = Launcher(executions, console, slots)
    try:
        launcher.execute()
    except Stopped:
        done = sum(e.stage == DONE for e in launcher.over)
        if options.retest:
            console.print(
                f"Stopped. {done} of {len(waiting)} runs were tested again; the others keep what was measured."
            )
        else:
            console.print(f"Stopped. {before + done} of {total} runs are complete; the same command goes on from here.")
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
    _summary(console, benchmark, [one for _, one in results])
    for page in pages:
        console.print(f"Report: {escape(str(page))}", soft_wrap=True)
        if options.wandb and (problem := tracking.publish(page, options.wandb, home)):
            console.print(f"[yellow]Weights & Biases did not take the report[/]: {escape(problem)}", soft_wrap=True)
    if any(last.status == "failed" for one in made.runs if (last := store.read(one))):
        console.print("Some runs failed; their logs say more. Next: the same command with --retry-failed")
        return 1
    console.print(f"Next: {_next(benchmark, made)}", soft_wrap=True)
    return 1 if any(e.stage != DONE for e in launcher.over) else 0


def _shows(page: Path, results: list[tuple[Path, Result]]) -> bool:
    """Whether a report stands and was made from these very results: drawing it again takes longer than all the rest."""
    kept = {(one.variant, one.seed): one for _, one in store.results(page.parent, missing_ok=True)}
    shown = {(one.variant, one.seed): one for _, one in reversed(results)}  # of several the first counts
    return page.exists() and kept == shown


def status(options: argparse.Namespace) -> int:
    """``attnae-bench status``."""
    states = store.states(options.folder)
    if not states:
        raise UserError(f"No runs below {options.folder}. Start some with `attnae-bench run BENCHMARK`.")
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("run", "status", "detail"):
        grid.add_column(heading)
    for state in states:
        colour = {"complete": "green", "failed": "red"}.get(state.status, "yellow")
        grid.add_row(
            escape(str(state.folder.relative_to(options.folder))), f"[{colour}]{state.status}[/]", escape(state.detail)
        )
    _console().print(grid)
    return 0


def report(options: argparse.Namespace) -> int:
    """``attnae-bench report``."""
    from attnae.bench.reporting import report as pages

    if options.check:
        folder = options.folder or options.reports
        problems = pages.check(folder)
        for problem in problems:
            print(problem, file=sys.stderr)
        if not problems:
            print(f"All reports below {folder} agree with their result files.")
        return 1 if problems else 0
    found = store.results(options.folder or Path("runs"), missing_ok=options.folder is None)
    if options.folder is None:  # also what the reports have kept of runs whose folders are elsewhere
        found += store.results(options.reports, missing_ok=bool(found))
    for page in pages.build(found, options.reports):
        print(page)
    return 0


def _console() -> Console:
    """Wide enough for a table when the output is a file or a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def _summary(console: Console, benchmark: catalog.Benchmark, results: list[Result]) -> None:
    """The comparison at the end of a run: the leading columns of every table, and the cost."""
    from attnae.bench.reporting import statistics
    from attnae.metrics.columns import column

    keys = [
        f"{spec['protocol']}/{name}" for spec in benchmark.tables for name in spec["columns"][: spec.get("leading", 2)]
    ]
    keys += ["params_trainable", "seconds_per_epoch"]
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
    console.print(grid)


def _next(benchmark: catalog.Benchmark, made: plan.Plan) -> str:
    left = [name for name in benchmark.variants if name not in {one.variant for one in made.runs}]
    further = [profile for profile in benchmark.profiles if profile != "quick"]
    if made.profile == "quick" and further:
        return (
            f"attnae-bench run {benchmark.name} --profile {further[0]} --data-root DIR   (DIR: train/ and test/ images)"
        )
    if left:
        return f"the controls: the same command with --variants {','.join(left)}"
    return "error bars: the same command with --seeds 3"
