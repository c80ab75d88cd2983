"""Options of ``attnae-bench run``."""

from __future__ import annotations

import argparse

from attnae.bench import precision
from attnae.bench.commands.arguments import images, minutes, path, positive


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what ``attnae-bench run`` takes."""
    _what(parser)
    _where(parser)
    _how(parser)


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
        type=images,
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
    parser.add_argument(
        "--extend",
        type=positive,
        metavar="EPOCHS",
        help="train finished runs on to this total number of epochs, as new runs; needs their checkpoints",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show the commands")
