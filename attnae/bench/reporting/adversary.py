"""Whether an adversarial training went wrong, read off its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

WON = 0.01
"""A discriminator's loss below this: it tells nearly all patches apart, and its gradient says little to the generator."""

FLIP = 10.0
"""Growth of the discriminator's loss from one epoch to the next: it has lost what it knew."""


def adversary_warning(curves: Mapping[str, Sequence[float | None]]) -> str | None:
    """One sentence on a discriminator that won or flipped; ``None`` where it did neither, or where there is none.

    Args:
        curves: A run's curves as in ``result.json``: ``epoch``, ``train/discriminator`` (mean loss of an epoch) and
            ``train/reconstruction``. Epochs that were left out of the record are not known: a jump is only seen between
            neighboring ones. Missing values are allowed.
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
    """``epoch 3``, ``epochs 3-5`` or ``3 epochs between 2 and 9``: short however many there are."""
    if len(epochs) == 1:
        return f"epoch {epochs[0]}"
    if all(second == first + 1 for first, second in pairwise(epochs)):
        return f"epochs {epochs[0]}-{epochs[-1]}"
    return f"{len(epochs)} epochs between {epochs[0]} and {epochs[-1]}"
