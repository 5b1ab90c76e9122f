"""How long the rest of some work takes, going by its own pace and by nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Seconds per step, measured from the first step that was told of.

    What comes before it, such as loading a model, happens once and says nothing about the rest.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None
        self._seconds: float | None = None
        self._step = 0

    def told(self, step: int) -> None:
        """So many steps are done. Fewer than before: it is other work now."""
        if step < self._step:
            self._first = self._seconds = None
        self._step = step
        if self._first is None:
            self._first = (self._clock(), step) if step else None
        elif step > self._first[1]:
            started, first = self._first
            self._seconds = (self._clock() - started) / (step - first)

    @property
    def seconds(self) -> float | None:
        """For one step; None before two were told of."""
        return self._seconds
