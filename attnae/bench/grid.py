"""``--grid``: the same comparison at several values of a key."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from attnae.bench import labels
from attnae.bench.request import setting
from attnae.errors import UserError

UNASKED = 100
"""Maximum number of runs that a grid starts without ``--yes``."""


def points(grids: Sequence[str], overrides: Sequence[str]) -> list[list[str]]:
    """The settings of each point of a grid, as for ``--set``.

    Args:
        grids: Keys with their values, ``"key=v1,v2"``; several keys are combined with each other.
        overrides: Settings shared by all points.

    Raises:
        UserError: A grid is malformed, has fewer than two values, or repeats a value or key.

    Example:
        >>> points(["a.lr=1,2", "b=[1,2],[3,4]"], [])
        [['a.lr=1', 'b=[1,2]'], ['a.lr=1', 'b=[3,4]'], ['a.lr=2', 'b=[1,2]'], ['a.lr=2', 'b=[3,4]']]
    """
    taken = {text.partition("=")[0] for text in overrides}
    axes = []
    for text in grids:
        key, sign, values = text.partition("=")
        if not sign or key.endswith("+"):
            raise UserError(
                f"--grid {text!r}: expected key=v1,v2 with a key of `attnae fit`, such as model.init_args.lr=1e-3,2e-3."
            )
        axis = [f"{key}={value.strip()}" for value in _values(values) if value.strip()]
        if len(axis) < 2:
            raise UserError(
                f"--grid {text!r}: expected at least two values, separated by commas. Use --set for one value."
            )
        parsed = [setting(one)[1] for one in axis]
        if any(value in parsed[:place] for place, value in enumerate(parsed)):
            raise UserError(f"--grid {text!r}: a value occurs twice. Remove one.")
        if key in taken:
            raise UserError(f"--grid {text!r}: {key} is already set. Remove one of the two.")
        taken.add(key)
        axes.append(axis)
    return [list(point) for point in itertools.product(*axes)]


def _values(text: str) -> list[str]:
    """Parts of a text between commas that are outside of lists, mappings and quotes, as YAML writes them."""
    parts, depth, quote, last = [""], 0, "", ","
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and last in ",:[{":
            quote = letter
        else:
            depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
        last = last if letter.isspace() else letter
    return parts


def name(point: Sequence[str]) -> str:
    """A point as in labels: ``lr=0.001``."""
    return ", ".join(labels.settings(dict(map(setting, point))))
