"""Warnings about discriminators that won or flipped."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnae.bench.reporting.adversary import adversary_warning


def curves(
    losses: list[float | None], errors: list[float | None] | None = None, first: int = 1
) -> dict[str, list[float | None]]:
    epochs: list[float | None] = [float(first + step) for step in range(len(losses))]
    return {"epoch": epochs, "train/discriminator": losses, "train/reconstruction": errors or [0.1] * len(losses)}


def test_healthy_or_absent_adversaries_are_not_mentioned() -> None:
    assert adversary_warning(curves([0.9, 0.5, 0.3, 0.02, 0.011])) is None
    assert adversary_warning(curves([0.9, 0.09])) is None  # a tenfold decrease is normal training
    assert adversary_warning({"epoch": [1.0, 2.0], "train/reconstruction": [0.2, 0.1]}) is None
    assert adversary_warning({}) is None
    assert adversary_warning(curves([None, None, 0.4])) is None


def test_win() -> None:
    text = adversary_warning(curves([0.5, 0.2, 0.009, 0.002, 0.004]))
    assert text == "The adversary won (discriminator loss below 0.01 in epochs 3-5; lowest 0.002 in epoch 4)."
    assert "in epoch 2;" in (adversary_warning(curves([0.5, 0.003])) or "")
    assert "2 epochs between 1 and 3" in (adversary_warning(curves([0.009, 0.05, 0.009])) or "")


def test_flip_with_change_of_reconstruction_loss() -> None:
    text = adversary_warning(curves([0.5, 0.05, 1.0], [0.2, 0.1, 0.12]))
    assert text == "The adversary flipped in epoch 3 (discriminator loss 0.05 to 1; reconstruction loss +20%)."
    unknown = adversary_warning(curves([0.5, 0.05, 1.0], [0.2, None, 0.12]))
    assert unknown == "The adversary flipped in epoch 3 (discriminator loss 0.05 to 1)."


def test_win_and_flip() -> None:
    text = adversary_warning(curves([0.3, 0.002, 1.0]))
    assert text is not None
    assert text.startswith("The adversary won (")
    assert "; the adversary flipped in epoch 3 (" in text


@pytest.mark.parametrize(("loss", "flipped"), [(0.2, False), (0.2001, True)])
def test_flip_requires_tenfold_increase(loss: float, flipped: bool) -> None:
    assert (adversary_warning(curves([0.02, loss])) is not None) == flipped


def test_epochs_around_a_gap_are_not_consecutive() -> None:
    thinned = {"epoch": [1.0, 5.0, 10.0], "train/discriminator": [0.02, 0.5, 0.02]}
    assert adversary_warning(thinned) is None


@given(st.lists(st.none() | st.floats(0, 10), max_size=12))
def test_warning_only_for_win_or_flip(losses: list[float | None]) -> None:
    known = [loss for loss in losses if loss is not None]
    pairs = [(a, b) for a, b in pairwise(losses) if a is not None and b is not None]
    expected = any(loss < 0.01 for loss in known) or any(b > 10 * a for a, b in pairs if a > 0)
    text = adversary_warning(curves(losses))
    assert (text is not None) == expected
    assert text is None or (text.startswith("The adversary") and text.endswith(".") and "nan" not in text)
    assert all(math.isfinite(loss) for loss in known)
