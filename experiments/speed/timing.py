"""The clock that the speed scripts share; they are started from any folder and find it beside them."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Median wall-clock seconds of some calls after one that does not count."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return median(times)
