"""What a person may want of a training while it runs: a pause, a checkpoint, pictures."""

from __future__ import annotations

import time
from collections.abc import Callable

from trainer.config import STEERING_POLL
from trainer.errors import Cancelled
from trainer.job import Job

Act = Callable[[], None]
Save = Callable[[], bool]
"""Whether it was done."""


class Steering:
    """Attends to the wishes between two steps; none of them changes what the next step computes.

    ``save`` and ``sample`` are done when they are wished for and where they are possible.
    """

    def __init__(self, job: Job, save: Save | None, sample: Act | None) -> None:
        self._job, self._save, self._sample = job, save, sample

    def attend(self, step: int, steps: int) -> None:
        """Returns when training may go on. Raises :class:`Cancelled`, having saved before."""
        paused = False
        while True:
            try:
                self._job.check()
            except Cancelled:
                if self._save is not None and step > 0:
                    self._save()
                raise
            wish = self._job.wish()
            if wish in ("pause", "resume"):
                paused = wish == "pause"
                self._tell("paused" if paused else "resumed", step, steps)
            if wish in ("save", "pause") and self._save is not None and self._save():
                self._tell("saved", step, steps)
            if wish == "sample" and self._sample is not None:
                self._sample()
            if wish is None:
                if not paused:
                    return
                time.sleep(STEERING_POLL)

    def _tell(self, stage: str, step: int, steps: int) -> None:
        self._job.announce({"stage": stage, "step": step, "steps": steps})
