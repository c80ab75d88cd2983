"""Additional logging to Weights & Biases and other loggers, beyond Lightning's curves."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lightning as L


def show(trainer: L.Trainer, numbers: dict[str, float], pictures: Sequence[Path] = ()) -> None:
    """Logs final metrics under their names in ``result.json``, and images if the logger supports them.

    Args:
        trainer: Trainer with the loggers, if any.
        numbers: Metrics by name; W&B shows the last value as the summary.
        pictures: Image files.
    """
    for logger in trainer.loggers:
        logger.log_metrics(numbers)
        if log_image := getattr(logger, "log_image", None):
            for path in pictures:
                log_image(f"images/{path.stem}", [str(path)])
        logger.save()


def publish(report: str, project: str, benchmark: str, label: str, identity: str, folder: str) -> None:
    """Logs a report as an artifact, and its table of runs, to a separate W&B run.

    Args:
        report: Folder of the report.
        project: W&B project.
        benchmark: Name of the benchmark.
        label: Name of the report.
        identity: Id of the W&B run.
        folder: Folder for W&B's own files.
    """
    import wandb

    run = wandb.init(
        project=project,
        id=identity,
        name=f"report {label}",
        group=benchmark,
        job_type="report",
        resume="allow",
        dir=folder,
    )
    artifact = wandb.Artifact(f"report-{benchmark}-{label}".replace("=", "-").replace("+", "-"), type="report")
    artifact.add_dir(report)
    with (Path(report) / "results.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    run.log({"results": wandb.Table(columns=list[str | int](header), data=list[Iterable[str]](rows))})
    run.log_artifact(artifact)
    run.finish()
