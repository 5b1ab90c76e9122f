"""How long a suspected member has to answer, after Lifeguard (Dadgar et al., arXiv 1707.00788)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from p2p.limits import (
    MAX_LOCAL_HEALTH,
    SUSPICION_CONFIRMATIONS,
    SUSPICION_INTERVALS,
    SUSPICION_PATIENCE,
)


@dataclass
class Suspicion:
    """Accusations of one member in one incarnation.

    The time to answer starts long and shrinks with the logarithm of independent confirmations;
    where too few members could confirm, it is short from the start.
    """

    started: float
    shortest: float
    longest: float
    needed: int
    accusers: set[str] = field(default_factory=set)

    @classmethod
    def begin(cls, now: float, room: int, interval: float) -> Suspicion:
        """A suspicion in a room of ``room`` members; seconds."""
        shortest = SUSPICION_INTERVALS * max(1.0, math.log10(max(1, room))) * interval
        witnesses = room - 2
        needed = SUSPICION_CONFIRMATIONS if witnesses >= SUSPICION_CONFIRMATIONS else 0
        return cls(now, shortest, shortest * SUSPICION_PATIENCE, needed)

    @property
    def deadline(self) -> float:
        """When silence counts as absence."""
        if not self.needed:
            return self.started + self.shortest
        confirmations = max(0, len(self.accusers) - 1)
        share = min(1.0, math.log(confirmations + 1) / math.log(self.needed + 1))
        return self.started + self.longest - share * (self.longest - self.shortest)

    def confirm(self, accuser: str) -> bool:
        """Counts one accuser; whether that is news worth passing on."""
        if accuser in self.accusers or len(self.accusers) > self.needed:
            return False
        self.accusers.add(accuser)
        return True


class LocalHealth:
    """Doubts about ourselves: 0 (fine) to 7; what we expect of others gets that much slower."""

    def __init__(self) -> None:
        self._score = 0

    @property
    def multiplier(self) -> int:
        return 1 + self._score

    def worse(self, by: int = 1) -> None:
        self._score = min(MAX_LOCAL_HEALTH, self._score + by)

    def better(self) -> None:
        self._score = max(0, self._score - 1)
