"""The short form: injects every fault of the catalog a few times, through the public commands."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import catalog
from harness import Fault, Impossible, Tally

SLOW = {"killed", "seeds"}

SHORT = [
    pytest.param(fault, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
    for fault in catalog.CATALOG
    if fault.short and (name := fault.inject.__name__)
]


@pytest.mark.parametrize("fault", SHORT)
def test_fault(fault: Fault, tmp_path: Path) -> None:
    tally = Tally()
    try:
        fault.inject(tally, fault.short, tmp_path)
    except Impossible as reason:
        pytest.skip(str(reason))
    assert tally.tried >= 1
    assert tally.failures == []
