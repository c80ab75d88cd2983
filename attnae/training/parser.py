"""The parser of ``attnae fit`` and related commands, with one-line error messages."""

from __future__ import annotations

import difflib
import re
from functools import reduce
from operator import or_
from typing import Any, NoReturn, Union, get_args, get_origin

from lightning.pytorch.cli import LightningArgumentParser

from attnae.errors import UserError


def reasons(message: str) -> str:
    """The reasons in a message of jsonargparse about a class, without the class's configuration; empty for other messages."""
    line = " ".join(message.split())
    found = re.search(r"Errors: - (.*?)(?: - Expected a <class 'NoneType'>)?(?: Given value type.*?)?$", line)
    return " - ".join(dict.fromkeys(found[1].split(" - "))) if found else ""  # members of a union may give the same one


class OneLineParser(LightningArgumentParser):
    """Rejects abbreviated keys, and reports errors in one line instead of printing the usage."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs, allow_abbrev=False)

    def try_int_before_float(self) -> None:
        """Parses ``1`` as an integer wherever integers and fractions are allowed, such as for ``limit_train_batches``.

        ``typing`` caches unions regardless of order, so ``Optional[Union[int, float]]`` may try ``float`` first,
        depending on what other packages have defined. 1.0 means all batches, 1 means one batch.
        """
        for action in self._actions:
            hint = getattr(action, "_typehint", None)
            if get_origin(hint) is Union and {int, float} <= set(get_args(hint)):
                kinds = sorted(get_args(hint), key=lambda kind: kind is not int)
                action._typehint = reduce(or_, kinds)  # type: ignore[attr-defined]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises a :class:`UserError` with a one-line message."""
        line = " ".join(str(message).split())
        if told := reasons(line):
            given = re.search(r"Given value: (.{1,80})$", line)  # omit the full configuration of a class
            line = f"{line.split(':', 1)[0]}: {told}" + (f", got {given[1]}" if given else "")
        if own := re.search(r"class_path '(\w+)\..*No module named '\1'", line):
            line += f". If {own[1]} is a folder of your own, add --trust and its path."
        raise UserError(line + self._nearest(line)) from ex

    def _nearest(self, line: str) -> str:
        """Names the known key nearest to the unknown one, if any."""
        unknown = re.search(r"(?:[Uu]nrecognized arguments: --|Key '|[Oo]ption ')([\w.]+)", line)
        below = getattr(self._subcommands_action, "choices", None) or {}  # the parent parser checks files
        parsers = [self, *below.values()]
        known = [name[2:] for parser in parsers for name in parser._option_string_actions if name.startswith("--")]
        nearest = difflib.get_close_matches(unknown[1], known, 1, 0.7) if unknown else []
        return f" Nearest key: {nearest[0]}." if nearest else ""
