"""Options of ``attnae-bench run``."""

from __future__ import annotations

import argparse

from attnae.bench import precision
from attnae.bench.commands.arguments import add_overrides, images, minutes, path, positive


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds all options."""
    _what(parser)
    _where(parser)
    _how(parser)


def _what(parser: argparse.ArgumentParser) -> None:
    """Adds arguments that select the runs."""
    parser.add_argument(
        "benchmark", metavar="BENCHMARK", help="name, see attnae-bench list, or file of your own (attnae-bench new)"
    )
    parser.add_argument(
        "--profile", metavar="P", help="data and schedule, see attnae-bench show BENCHMARK; default: the first profile"
    )
    parser.add_argument(
        "--variants", metavar="a,b", help="comma-separated names, or all; default: those marked in attnae-bench list"
    )
    parser.add_argument(
        "--seeds",
        default="1",
        metavar="N|a,b,c",
        help="number of seeds, or comma-separated seeds ('7,' means seed 7 only); default: 1",
    )
    parser.add_argument(
        "--data-root",
        type=images,
        metavar="DIR",
        help="images to use instead of the profile's data: a folder, arrays, a zip file, Parquet, or hf://owner/name",
    )
    add_overrides(parser)
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=V1,V2",
        help="repeat the comparison with each value of a key, and report whether the conclusions change; "
        "repeatable: all combinations",
    )
    parser.add_argument("--yes", action="store_true", help="start a grid of more than 100 runs")
    parser.add_argument(
        "--precision",
        choices=precision.CHOICES,
        default="fp32",
        help="fp32: 32-bit (default); bf16: bfloat16 mixed precision; auto: bf16 if the hardware is faster with it",
    )
    parser.add_argument("--label", metavar="NAME", help="name of the report; default: profile, data and settings")


def _where(parser: argparse.ArgumentParser) -> None:
    """Adds arguments for the output folders."""
    parser.add_argument("--out", type=path, default="runs", metavar="DIR", help="folder of runs; default: runs")
    parser.add_argument(
        "--reports", type=path, default="reports", metavar="DIR", help="folder of reports; default: reports"
    )


def _how(parser: argparse.ArgumentParser) -> None:
    """Adds arguments for the execution of the runs."""
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="number of concurrent runs, each with its own GPUs or share of CPU threads; default: 1; on a CPU, one per "
        "core for profiles of small runs; on SLURM no limit",
    )
    parser.add_argument(
        "--devices",
        type=positive,
        default=1,
        metavar="N",
        help="GPUs, or CPU processes, that train one run together (DDP), splitting the configured batch size; "
        "default: 1. Tests always use one",
    )
    parser.add_argument(
        "--nodes",
        type=positive,
        default=1,
        metavar="M",
        help="SLURM nodes that train one run, each with N devices; default: 1",
    )
    parser.add_argument(
        "--timeout",
        type=minutes,
        metavar="MIN",
        help="stop runs that take longer and mark them as failed; --retry-failed resumes from the checkpoint",
    )
    parser.add_argument(
        "--launcher",
        choices=("local", "slurm", "submitit-local"),
        default="local",
        help="local: run on this machine (default); slurm: submit a job array and return; "
        "submitit-local: run the SLURM jobs on this machine, for testing",
    )
    parser.add_argument(
        "--slurm-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="slurm_options",
        help="any sbatch option, such as partition=gpu, gres=gpu:1, account=lab or time=240 (minutes, the default; "
        "jobs that reach the limit are requeued and resume); repeatable",
    )
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="attnae",
        metavar="PROJECT",
        help="also log to Weights & Biases (default project: attnae); requires a login or WANDB_MODE=offline",
    )
    parser.add_argument("--retry-failed", action="store_true", help="rerun failed runs")
    parser.add_argument(
        "--retest",
        action="store_true",
        help="test complete runs again to add new metrics, without training",
    )
    parser.add_argument(
        "--keep-checkpoints",
        action="store_true",
        help="keep checkpoints of complete runs, including the optimizer state",
    )
    parser.add_argument(
        "--extend",
        type=positive,
        metavar="EPOCHS",
        help="continue finished runs to this total number of epochs, as new runs; requires their checkpoints",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the estimated cost and the commands without running them"
    )
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="like --dry-run, but time 20 training steps of the variants that were not run on this machine yet",
    )
