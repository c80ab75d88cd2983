"""Combines the parts of an execution and the run's identity into one result."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from attnae import result
from attnae.bench.identity import Run
from attnae.bench.sharing import began
from attnae.errors import UserError
from attnae.files import PACKAGE


def trained(run: Run, seconds: float) -> result.Result:
    """The result of a run that was trained (if it has anything to train) and tested.

    Args:
        run: The run, whose folder holds ``fit.json`` and ``test.json``.
        seconds: Wall time of the attempt.

    Raises:
        UserError: A part is missing or damaged, or the images differ from the plan's.
    """
    parts = [result.read_part(run.folder / "test.json")]
    parts += [result.read_part(run.folder / "fit.json")] if run.trains else []
    if any(part.data.get("digest") not in (None, run.id.data_digest) for part in parts):
        raise UserError("the images changed during the run. Rerun the same command")
    return _record(run, "complete", "", seconds, **_joined(parts))


def retested(run: Run, before: result.Result) -> result.Result:
    """Updates a complete result from a retest; metrics that were not measured again, such as LPIPS, are kept.

    Raises:
        UserError: The test is missing or damaged, or used other images.
    """
    test = result.read_part(run.folder / "test.json")
    if test.data.get("digest") != before.data.get("digest"):
        raise UserError("the images changed after training")
    training = {key: value for key, value in before.metrics.items() if key in before.curves}
    tested = {**git_state(), "versions": test.versions, "first_finished_at": began(before)}
    return replace(
        before,
        metrics={**before.metrics, **test.metrics, **training},
        efficiency={**before.efficiency, **test.efficiency},
        images=test.images,
        finished_at=result.now(),
        git={**before.git, "tested": tested},
    )


def failed(run: Run, reason: str, seconds: float) -> result.Result:
    """The result of a run that failed: its identity and the reason."""
    return _record(run, "failed", reason, seconds)


def _record(run: Run, status: str, reason: str, seconds: float, **parts: Any) -> result.Result:
    return result.Result(
        **parts,
        **run.id.stated(),
        label=run.label,
        status=status,
        reason=reason,
        finished_at=result.now(),
        commands=run.commands,
        git=git_state(),
        wall_seconds=round(seconds, 1),
    )


def _joined(parts: list[result.Part]) -> dict[str, Any]:
    """Joins a test and its training; values that both have, such as the hardware, come from the training."""
    values: dict[str, Any] = {}
    for part in fields(result.Part):
        found = [value for p in parts if (value := getattr(p, part.name))]
        if found and isinstance(found[0], dict):
            values[part.name] = {key: value for each in found for key, value in each.items()}
        elif found:
            values[part.name] = found[-1]
    return values


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that attnae runs from; empty when it is installed from a wheel."""
    root = Path(PACKAGE).parent
    if not (root / ".git").exists():
        return {}
    git = ["git", "-C", str(root)]
    status = [*git, "status", "--porcelain", "--", "attnae", "configs", "benchmarks"]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit, "dirty": bool(re.search(r"\S", changes))}
