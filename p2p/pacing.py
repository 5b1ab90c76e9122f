"""Rates: how often a peer may ask, and how slowly it may talk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from p2p.limits import (
    FED_RATE,
    MIN_TRANSFER_RATE,
    STREAM_CHUNK_BYTES,
    TRANSFER_GRACE,
    TRANSFER_SLICE,
)


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

    def give_back(self, events: float) -> None:
        """Takes back what an event cost, because another budget has paid for it."""
        self._tokens = min(self._burst, self._tokens + events)


class Throttle:
    """Slows a stream down to ``rate`` bytes per second; a second's worth may go at once."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._free_at = now - 1.0

    def delay(self, moved: int, now: float) -> float:
        """Seconds to wait before ``moved`` bytes may go at ``now``."""
        self._free_at = max(self._free_at, now - 1.0) + moved / self._rate
        return max(0.0, self._free_at - now)


def fed_by(rate: float) -> int:
    """How many transfers at a time a line of ``rate`` bytes per second feeds."""
    return max(1, int(rate / FED_RATE))


@dataclass(frozen=True)
class Bandwidth:
    """What blobs may use of the network, in bytes per second; 0 is no limit."""

    upload: int = 0
    download: int = 0


class Line:
    """One direction of this node's network, limited to ``rate`` bytes per second; 0 is no limit.

    All transfers share it in the order of asking. ``slice`` is how many bytes one should move at
    a time: few when the line is slow, so that they take turns.
    """

    def __init__(self, rate: int = 0) -> None:
        self._rate = rate
        self._throttle: Throttle | None = None
        self.slice = STREAM_CHUNK_BYTES
        if rate:
            self.slice = min(STREAM_CHUNK_BYTES, max(1024, int(rate * TRANSFER_SLICE)))

    async def admit(self, size: int) -> None:
        """Returns when ``size`` more bytes may move."""
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        if self._throttle is None:
            self._throttle = Throttle(self._rate, now)
        await asyncio.sleep(self._throttle.delay(size, now))


class TransferPace:
    """The moment by which the next bytes of a transfer must have come or gone.

    Every ``window`` bytes get ``grace`` seconds plus their time at ``rate`` bytes per second, so
    nobody holds a connection open by moving a byte now and then, however fast it started.
    """

    def __init__(
        self,
        started: float,
        grace: float = TRANSFER_GRACE,
        rate: float = MIN_TRANSFER_RATE,
        window: int = STREAM_CHUNK_BYTES,
    ) -> None:
        self._allowance = grace + window / rate
        self._window = window
        self._started = started
        self._moved = 0

    @property
    def deadline(self) -> float:
        """The limit for the current window, on the clock of ``started``."""
        return self._started + self._allowance

    def advance(self, moved: int, now: float) -> None:
        """Notes that ``moved`` more bytes were transferred until ``now``."""
        self._moved += moved
        if self._moved >= self._window:
            self._started = now
            self._moved = 0
