"""Times a few training steps of a run without leaving anything behind, to estimate what the whole run takes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from attnae import result
from attnae.bench.identity import Run
from attnae.bench.running import child, processes
from attnae.errors import UserError
from attnae.files import dump_yaml, write_text

STEPS = 20
"""Training steps that are timed, after as many others."""


def timed(run: Run, environment: dict[str, str], startup: float) -> result.Result:
    """A result with the measured speed and memory of a run's training.

    Its wall time is that of one epoch as short as the trial, without validation and tests.

    Args:
        run: The run; it is neither started nor changed.
        environment: Environment variables for threads and devices.
        startup: Seconds that a run takes apart from its epochs.

    Raises:
        UserError: The training fails.
    """
    with tempfile.TemporaryDirectory(prefix="attnae-trial-") as name:
        folder = Path(name)
        write_text(folder / "stated.yaml", dump_yaml(run.stated))
        short = {"max_epochs": 2, "limit_train_batches": STEPS, "limit_val_batches": 1, "check_val_every_n_epoch": 1}
        arguments = [
            "fit",
            *run.trust,
            "-c",
            str(folder / "stated.yaml"),
            "--trainer.default_root_dir",
            name,
            "--last_epochs=0",
        ]
        arguments += [f"--trainer.{key}={value}" for key, value in short.items()]
        done = processes.run(child.__file__, ["-", *arguments], {**os.environ, **environment})
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
            raise UserError(f"Cannot time {run.id.variant}: {reason.removeprefix('attnae: error: ')}")
        part = result.read_part(folder / "fit.json")
        parameters = (folder / "weights.safetensors").stat().st_size / 4  # of float32
    return result.Result(
        **run.id.stated(),
        status="complete",
        data=part.data,
        efficiency={"params_total": parameters, **part.efficiency},
        hardware=part.hardware,
        curves={"epoch": [1.0]},
        wall_seconds=part.efficiency.get("seconds_per_epoch", 0.0) + startup,
    )
