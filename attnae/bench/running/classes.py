"""The process that imports the classes of a benchmark outside the package: ``python classes.py < QUESTION``.

Prints the first problem as JSON, or an empty string.
"""

from __future__ import annotations

import difflib
import inspect
import json
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    """Answers the question on standard input."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here]
    from attnae.errors import UserError
    from attnae.trust import trust

    question = json.load(sys.stdin)
    answer, sys.stdout = sys.stdout, sys.stderr  # imported code may print
    problem = ""
    try:
        if question["folder"]:
            trust(question["folder"])
        problem = next(filter(None, (_problem(one, question["folder"]) for one in question["classes"])), "")
    except UserError as error:
        problem = str(error)
    print(json.dumps(problem), file=answer)


def _problem(asked: dict[str, Any], folder: str | None) -> str:
    """Why a class cannot be used; empty if it can."""
    module, _, name = asked["path"].rpartition(".")
    where = asked["where"]
    try:
        found = import_module(module)
    except Exception as error:
        line = " ".join(str(error).split()) or type(error).__name__
        return f"{where}: cannot import {module}: {type(error).__name__}: {line}{_place(error, folder)}"
    if not isinstance(kind := getattr(found, name, None), type):
        near = difflib.get_close_matches(name, [key for key, one in vars(found).items() if isinstance(one, type)], 1)
        return f"{where}: {module} has no class {name}." + (f" Did you mean {near[0]}?" if near else "")
    if asked["task"] and not any(base.__name__ == "ImageTask" for base in kind.__mro__):
        return f"{where}: {asked['path']} must be a subclass of attnae.training.task.ImageTask"
    parameters = inspect.signature(kind).parameters.values()
    if not any(one.kind is one.VAR_KEYWORD for one in parameters):
        names = [one.name for one in parameters]
        for given in asked["given"]:
            if given not in names:
                near = difflib.get_close_matches(given, names, 1)
                return f"{where}: {name} has no argument {given!r}." + (f" Did you mean {near[0]}?" if near else "")
    usual = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for one in parameters:
        if one.default is one.empty and one.kind in usual and one.name not in asked["given"]:
            return f"{where}: {name} needs the argument {one.name!r}"
    return ""


def _place(error: Exception, folder: str | None) -> str:
    """File and line of the error in the folder, if it is there."""
    if isinstance(error, SyntaxError):
        return ""  # its message names both
    if folder:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if Path(frame.filename).is_relative_to(folder):
                return f" ({Path(frame.filename).relative_to(Path(folder).parent)}, line {frame.lineno})"
    return ""


if __name__ == "__main__":
    main()
