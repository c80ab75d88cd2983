"""Entry point of ``attnae-bench``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from attnae._version import __version__
from attnae.errors import UserError
from attnae.parser import Parser
from attnae.streams import discard_output, run, why

COMMANDS = ("list", "show", "config", "doctor", "new", "run", "status", "report", "compare", "merge", "clean")
"""Subcommands in the order of ``--help``; each is a module in :mod:`attnae.bench.commands`."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0 success, 1 failure, 2 usage error, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        # Only the module of the command is imported; the others would double the time of a short answer.
        options = parser(words[:1] if words and words[0] in COMMANDS else COMMANDS).parse_args(words)
        return int(options.handler(options))
    except UserError as error:
        print(f"attnae-bench: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # | head
        discard_output()
        return 0
    except OSError as error:  # such as a full disk; errors in user files raise UserError
        print(f"attnae-bench: error: {why(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("attnae-bench: interrupted", file=sys.stderr)
        return 130


def console() -> None:
    """Console script entry point."""
    signal.signal(signal.SIGTERM, _terminate)
    run("attnae-bench", main)


def _terminate(number: int, frame: Any) -> NoReturn:
    """Ends like an exception, so that partial files are removed."""
    sys.exit(128 + number)


class _Completion(argparse.Action):
    """Prints the completion script of a shell."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        import shtab

        from attnae.bench.keys import completion

        if values not in shtab.SUPPORTED_SHELLS:
            parser.error(f"--print-completion {values!r}: choose from {', '.join(shtab.SUPPORTED_SHELLS)}")
        completion.offer(parser)
        print(shtab.complete(parser, values))
        parser.exit()


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Builds the parser with the options of the named commands."""
    top = Parser(prog="attnae-bench", description="Train, evaluate and compare the variants of a paper.")
    top.add_argument("--version", action="version", version=f"attnae {__version__}")
    top.add_argument(
        "--print-completion",
        action=_Completion,
        metavar="SHELL",
        help="print the completion script for bash, zsh or tcsh",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for name in names:
        import_module(f"attnae.bench.commands.{name}").register(commands)
    return top


if __name__ == "__main__":
    console()
