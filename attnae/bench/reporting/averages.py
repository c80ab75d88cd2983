"""The rule ``average: last_epochs`` of a benchmark file: means of the test metrics over the last epochs, for all runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attnae.bench.reporting.seeds import last_epoch_means
from attnae.result import Result


@dataclass(frozen=True)
class Averaged:
    """Results whose test metrics are means over their last epochs.

    Attributes:
        results: The results; a metric is missing where a run recorded fewer epochs than the others.
        epochs: First and last epoch of the means; ``None`` if no run recorded any and nothing was averaged.
        left_out: ``variant/seed<k>`` of runs that lack a mean.
    """

    results: list[Result]
    epochs: tuple[int, int] | None
    left_out: list[str]


def average(results: list[Result]) -> Averaged:
    """Replaces the test metrics of trained runs with their means over the last epochs, if any run recorded them."""
    recorded = {place: one.last_epochs for place, one in enumerate(results) if one.curves and one.status == "complete"}
    keys = sorted({key for lists in recorded.values() for key in lists} - {"epoch"})
    if not keys:
        return Averaged(results, None, [])
    changed = {place: dict(results[place].metrics) for place in recorded}
    missing: set[int] = set()
    for key in keys:
        means, left_out = last_epoch_means(recorded, key)
        for place, metrics in changed.items():
            metrics.pop(key, None)
            if place in means:
                metrics[key] = means[place]
        missing |= {place for place in left_out if key in results[place].metrics}
    lists = [one.get("epoch", []) for one in recorded.values()]
    most = max(map(len, lists))  # runs with fewer have no means
    epochs = [int(epoch) for one in lists if len(one) == most for epoch in one if epoch is not None]
    return Averaged(
        [replace(one, metrics=changed[place]) if place in changed else one for place, one in enumerate(results)],
        (min(epochs), max(epochs)) if epochs else None,
        [f"{results[place].variant}/seed{results[place].seed}" for place in sorted(missing)],
    )
