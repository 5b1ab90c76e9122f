"""How far a training run is, by steps or by the clock, and the learning rate that follows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import cos, pi


@dataclass
class Pace:
    """Progress of a run that ends after ``steps`` steps or ``minutes`` of wall time.

    A run by steps is repeatable; a run by the clock lets the learning rate reach zero in time
    on a machine whose speed is not known beforehand. ``before`` are seconds spent already,
    by the run that this one resumes.
    """

    steps: int | None
    minutes: float | None
    before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Raises ValueError unless exactly one limit is given."""
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")

    @property
    def seconds(self) -> float:
        """Wall time spent in this stage, resumed runs included."""
        return self.before + time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """From 0 to 1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        assert self.minutes is not None
        return min(1.0, self.seconds / (60 * self.minutes))

    def line(self, step: int) -> str:
        """Step, share, seconds spent and to go, for the log."""
        share = self.progress(step)
        left = self.seconds * (1 - share) / share if share > 0 else float("nan")
        return f"step {step} {100 * share:.1f}% {self.seconds:.0f}s eta {left:.0f}s"


def learning_rate(progress: float, step: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up over ``warmup`` steps, then half a cosine down to zero at the end."""
    return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1 + cos(pi * progress))
