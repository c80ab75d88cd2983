"""The command ``attnae-bench``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from attnae import __version__
from attnae.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 all fine, 1 something failed, 2 wrong usage, 130 interrupted."""
    try:
        options = parser().parse_args(arguments)
        from attnae.bench import commands

        return int(getattr(commands, options.function)(options))
    except UserError as error:
        print(f"attnae-bench: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # | head
        sys.stderr.close()
        return 0
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


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = _Parser(prog="attnae-bench", description="Compares the variants of a paper: trains, evaluates, reports.")
    top.add_argument("--version", action="version", version=f"attnae {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="benchmarks, their variants and profiles")
    listing.set_defaults(function="show_list")

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
        default=1,
        metavar="N",
        help="runs at once, each with its share of the threads; default 1",
    )
    run.add_argument("--retry-failed", action="store_true", help="repeat runs that failed")
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
    return top


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


if __name__ == "__main__":
    console()
