"""The command ``attnae-bench``."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from attnae import __version__
from attnae.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 all fine, 1 something failed, 2 wrong usage, 130 interrupted."""
    try:
        options = parser().parse_args(arguments)
        module = import_module(f"attnae.bench.{options.module}")
        return int(getattr(module, options.function)(options))
    except UserError as error:
        print(f"attnae-bench: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # | head
        sys.stderr.close()
        return 0
    except OSError as error:  # a disk or a system that is at its end; what a user's files have to do with is said above
        print(f"attnae-bench: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("attnae-bench: interrupted", file=sys.stderr)
        return 130


def console() -> None:
    """Console script."""
    sys.exit(main())


class _Parser(argparse.ArgumentParser):
    """argparse, with errors that name the next command to try instead of the usage."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"{message}. See `{self.prog} --help`.")


class _Completion(argparse.Action):
    """Prints what a shell evaluates to complete commands and options."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        import shtab

        if values not in shtab.SUPPORTED_SHELLS:
            parser.error(f"--print-completion {values!r}: choose from {', '.join(shtab.SUPPORTED_SHELLS)}")
        print(shtab.complete(parser, values))
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = _Parser(prog="attnae-bench", description="Compares the variants of a paper: trains, evaluates, reports.")
    top.set_defaults(module="commands")
    top.add_argument("--version", action="version", version=f"attnae {__version__}")
    top.add_argument(
        "--print-completion", action=_Completion, metavar="SHELL", help="completion script for bash, zsh or tcsh"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="benchmarks, their variants and profiles")
    listing.set_defaults(function="show_list")

    show = commands.add_parser(
        "show", help="variants, published numbers and claims of a benchmark, and what it costs here"
    )
    show.set_defaults(module="show", function="show")
    show.add_argument("benchmark", metavar="BENCHMARK", help="see attnae-bench list")
    _out(show)

    doctor = commands.add_parser("doctor", help="what this machine has, what is missing and what would be downloaded")
    doctor.set_defaults(module="doctor", function="doctor")
    _out(doctor)

    run = commands.add_parser(
        "run", help="train and evaluate variants and write the report; goes on where it was interrupted"
    )
    run.set_defaults(function="run")
    run.add_argument("benchmark", metavar="BENCHMARK", help="see attnae-bench list")
    run.add_argument(
        "--profile", default="quick", metavar="P", help="quick (embedded images, minutes; the default), short or paper"
    )
    run.add_argument(
        "--variants", metavar="a,b", help="names separated by commas, or all; default: the ones that the paper compares"
    )
    run.add_argument(
        "--seeds",
        default="1",
        metavar="N|a,b,c",
        help="how many seeds, or which ones ('7,' is the one seed 7); default 1",
    )
    run.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="images instead of the profile's: train/ and test/ folders, or train.npy and test.npy",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="any key of attnae fit, such as trainer.max_epochs=3; repeatable",
    )
    run.add_argument("--label", metavar="NAME", help="name of the report; default: profile, data and schedule")
    run.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="folder of the runs; default runs")
    run.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder of the reports; default reports"
    )
    run.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="runs at once, each with its own GPUs or its share of the threads; default 1, on SLURM as many as it lets",
    )
    run.add_argument(
        "--devices",
        type=_positive,
        default=1,
        metavar="N",
        help="GPUs, or processes on a CPU, that train one run together (DDP); they share the batch that the "
        "configuration states; default 1. A test always takes one",
    )
    run.add_argument(
        "--nodes",
        type=_positive,
        default=1,
        metavar="M",
        help="machines of SLURM that train one run, each with N devices",
    )
    run.add_argument(
        "--timeout",
        type=_minutes,
        metavar="MIN",
        help="end a run that takes longer; it has failed, and --retry-failed goes on from its checkpoint",
    )
    run.add_argument(
        "--launcher",
        choices=("local", "slurm", "submitit-local"),
        default="local",
        help="local: processes of this command (the default); slurm: submits an array of jobs and returns; "
        "submitit-local: the same jobs on this machine, to try them",
    )
    run.add_argument(
        "--slurm-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="slurm_options",
        help="any option of sbatch, such as partition=gpu, gres=gpu:1, account=lab or time=240 (minutes; the default; "
        "a job that reaches it is queued again and goes on); repeatable",
    )
    run.add_argument(
        "--wandb",
        nargs="?",
        const="attnae",
        metavar="PROJECT",
        help="also log to Weights & Biases, by default to the project attnae; needs a login or WANDB_MODE=offline",
    )
    run.add_argument("--retry-failed", action="store_true", help="repeat runs that failed")
    run.add_argument(
        "--retest",
        action="store_true",
        help="test complete runs again, for what is measured since then; trains nothing",
    )
    run.add_argument("--dry-run", action="store_true", help="only show the commands")

    status = commands.add_parser("status", help="where the runs below a folder stand")
    status.set_defaults(function="status")
    status.add_argument("folder", type=Path, nargs="?", default=Path("runs"), metavar="DIR")

    report = commands.add_parser("report", help="write reports again from the result files below a folder")
    report.set_defaults(function="report")
    report.add_argument(
        "folder",
        type=Path,
        nargs="?",
        metavar="DIR",
        help="folder of the runs (default runs); with --check of the reports (default reports)",
    )
    report.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="folder of the reports; default reports"
    )
    report.add_argument(
        "--check",
        action="store_true",
        help="change nothing; fail when a report differs from what its result files give",
    )

    compare = commands.add_parser("compare", help="two result sets side by side; fails if the second is worse")
    compare.set_defaults(module="compare", function="compare")
    for side in ("a", "b"):
        compare.add_argument(side, type=Path, metavar=side.upper(), help="folder of runs or of a report")
    compare.add_argument(
        "--tolerance",
        type=_percent,
        default=5.0,
        metavar="PERCENT",
        help="how much worse a single seed may be; several seeds decide by their 95%% interval; default 5",
    )

    clean = commands.add_parser("clean", help="list what unfinished and failed runs have left, and remove it")
    clean.set_defaults(module="clean", function="clean")
    clean.add_argument("folder", type=Path, nargs="?", default=Path("runs"), metavar="DIR", help="default runs")
    clean.add_argument("--yes", action="store_true", help="remove it; complete and running runs are left alone")
    return top


def _out(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="folder of the runs; default runs"
    )


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage")
    return percent


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of minutes")
    return minutes


if __name__ == "__main__":
    console()
