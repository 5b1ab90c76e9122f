"""How long the rest of an experiment takes, judged by the parts that are done."""

from __future__ import annotations

MINUTE_S, HOUR_S = 60, 3600


class Forecast:
    """Parts of known relative cost; what they cost in seconds shows when they are done.

    Parts whose results were there already take no time and teach nothing about the others.
    """

    def __init__(self) -> None:
        self._expected = 0.0
        self._done = 0.0
        self._paid = 0.0
        self._seconds = 0.0

    def expect(self, cost: float) -> None:
        """So much more is to be done, in any unit."""
        self._expected += cost

    def finished(self, cost: float, seconds: float | None) -> None:
        """A part is done; ``seconds`` is None where its results were there already."""
        self._done += cost
        if seconds is not None:
            self._paid += cost
            self._seconds += seconds

    @property
    def share(self) -> float:
        """Of what was expected that is done, 1 at the end."""
        return self._done / self._expected if self._expected else 0.0

    @property
    def remaining_s(self) -> float | None:
        """None before a part was done, and when nothing more is expected."""
        if not self._paid or self.share >= 1.0:
            return None
        return (self._expected - self._done) * self._seconds / self._paid

    def __str__(self) -> str:
        """``, 42 % done, about 2 h 5 min left``, or nothing where nobody can say."""
        left = self.remaining_s
        return "" if left is None else f", {100 * self.share:.0f} % done, {in_words(left)} left"


def in_words(seconds: float) -> str:
    """No more precise than a guess is: ``under a minute``, ``about 7 min``, ``about 2 h 5 min``."""
    if seconds < MINUTE_S:
        return "under a minute"
    hours, rest = divmod(round(seconds / MINUTE_S) * MINUTE_S, HOUR_S)
    minutes = rest // MINUTE_S
    if not hours:
        return f"about {minutes} min"
    return f"about {hours} h" + (f" {minutes} min" if minutes else "")
