"""Rates: how often a peer may ask, and how slowly it may talk."""

from __future__ import annotations

from p2p.limits import MIN_TRANSFER_RATE, TRANSFER_GRACE


class TokenBucket:
    """Allows ``rate`` events per second on average and ``burst`` at once."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated = now

    def take(self, now: float) -> bool:
        """Whether one more event is within the budget at ``now`` (monotonic seconds)."""
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class TransferPace:
    """The latest moment by which the next bytes of a transfer must have come or gone.

    The average rate must reach ``rate`` bytes per second once ``grace`` seconds are over, so
    nobody can hold a connection open by sending a byte now and then.
    """

    def __init__(
        self, started: float, grace: float = TRANSFER_GRACE, rate: float = MIN_TRANSFER_RATE
    ) -> None:
        self._started = started
        self._grace = grace
        self._rate = rate

    def deadline(self, transferred: int) -> float:
        """The time limit on the clock of ``started`` after ``transferred`` bytes."""
        return self._started + self._grace + transferred / self._rate
