"""The argument parser of the commands that need no Lightning."""

from __future__ import annotations

import argparse
import difflib
from typing import Any, NoReturn

from attnae.errors import UserError


def nonempty(text: str) -> str:
    """Argument type: the text of a path, which is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; use . for this folder")
    return text


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, also for what a subcommand does not know and for output that cannot be written."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parses arguments.

        Raises:
            UserError: Some are unknown. argparse would leave that to the main parser, whose ``--help`` does not list them.
        """
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = difflib.get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Raises :class:`UserError` instead of printing the usage."""
        raise UserError(f"{message}{'' if message.endswith('?') else '.'} See `{self.prog} --help`.")

    def print_help(self, file: Any = None) -> None:
        """Prints the help; argparse's own method ignores that the disk is full."""
        print(self.format_help(), end="", file=file)
