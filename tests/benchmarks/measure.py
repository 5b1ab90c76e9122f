"""How every benchmark measures and prints: ratios, taken side by side in one run.

The machines are shared and noisy, so a second alone means little. Both ways alternate, each figure
is the best of several runs, and the ratio is what a reader should keep.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One row of the report. ``against`` names what ``theirs`` measured; ratio = theirs / ours."""

    name: str
    ours: float
    theirs: float
    against: str
    unit: str = "s"

    def __str__(self) -> str:
        ratio = self.theirs / self.ours if self.ours else float("inf")
        figures = f"{self.ours:10.4g} {self.unit:<5} {self.theirs:10.4g} {self.unit:<5}"
        return f"{self.name:<44} {figures} {ratio:8.2f}x  {self.against}"


HEADER = f"{'':<44} {'ours':>10} {'':5} {'other':>10} {'':5} {'other/ours':>9}  measured against"


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def side_by_side(
    ours: Callable[[], object], theirs: Callable[[], object], runs: int = 5
) -> tuple[float, float]:
    """The best wall times of both, taken in turns."""
    times = [(seconds(ours), seconds(theirs)) for _ in range(runs)]
    return min(t[0] for t in times), min(t[1] for t in times)
