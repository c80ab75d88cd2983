"""Detects failures of adversarial training in the training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

WON = 0.01
"""Discriminator loss below which it separates nearly all patches and gives the generator almost no useful gradient."""

FLIP = 10.0
"""Factor by which the discriminator's loss grows from one epoch to the next when the discriminator collapses."""


def adversary_warning(curves: Mapping[str, Sequence[float | None]]) -> str | None:
    """Describes a discriminator that won or flipped in one sentence; ``None`` if neither happened or there is none.

    Args:
        curves: A run's curves as in ``result.json``: ``epoch``, ``train/discriminator`` (mean loss of an epoch) and
            ``train/reconstruction``. Epochs may be missing: a jump is only detected between
            consecutive epochs. Missing values are allowed.
    """
    losses = _by_epoch(curves, "train/discriminator")
    won = [epoch for epoch, loss in losses.items() if loss < WON]
    flips = [epoch for epoch in losses if epoch - 1 in losses and losses[epoch] > FLIP * losses[epoch - 1] > 0]
    said = []
    if won:
        lowest = min(won, key=losses.__getitem__)
        said.append(
            f"the adversary won (discriminator loss below {WON:g} in {_epochs(won)}; lowest {losses[lowest]:.2g} in epoch "
            f"{lowest})"
        )
    errors = _by_epoch(curves, "train/reconstruction")
    for flip in flips:
        change = ""
        if errors.get(flip - 1) and flip in errors:
            change = f"; reconstruction loss {100 * (errors[flip] / errors[flip - 1] - 1):+.0f}%"
        said.append(
            f"the adversary flipped in epoch {flip} (discriminator loss {losses[flip - 1]:.2g} to {losses[flip]:.2g}{change})"
        )
    return "; ".join(said)[:1].upper() + "; ".join(said)[1:] + "." if said else None


def _by_epoch(curves: Mapping[str, Sequence[float | None]], key: str) -> dict[int, float]:
    """The known values of a curve by epoch."""
    values = zip(curves.get("epoch", ()), curves.get(key, ()), strict=False)
    return {int(epoch): value for epoch, value in values if epoch is not None and value is not None}


def _epochs(epochs: Sequence[int]) -> str:
    """``epoch 3``, ``epochs 3-5`` or ``3 epochs between 2 and 9``: regardless of their number."""
    if len(epochs) == 1:
        return f"epoch {epochs[0]}"
    if all(second == first + 1 for first, second in pairwise(epochs)):
        return f"epochs {epochs[0]}-{epochs[-1]}"
    return f"{len(epochs)} epochs between {epochs[0]} and {epochs[-1]}"
