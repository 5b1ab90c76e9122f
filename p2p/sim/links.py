"""Links that share their rate among what is being sent over them, under virtual time.

Each node has one link with the same rate both ways. What a node sends at a time shares its uplink
equally, what it receives its downlink; a flow moves as fast as the narrower of its two shares.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_NOTHING: Final = 1e-3
"""Bytes that are left of a flow by rounding alone."""


@dataclass(eq=False)
class Flow:
    """Bytes on their way; ``arrived`` is called when the last of them is there. ``noted`` is how
    much of what moved its giver knows of."""

    giver: str
    taker: str
    left: float
    arrived: Callable[[], None]
    moved: float = 0.0
    noted: int = 0


class Links:
    """``rates`` are bytes per second of each node's link; times are virtual seconds."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        self.rates = dict(rates)
        self._flows: dict[Flow, None] = {}
        self._now = 0.0

    def begin(self, flow: Flow, now: float) -> None:
        self.advance(now)
        self._flows[flow] = None

    def stop(self, flow: Flow, now: float) -> None:
        self.advance(now)
        self._flows.pop(flow, None)

    def set_rate(self, node: str, rate: float, now: float) -> None:
        self.advance(now)
        self.rates[node] = rate

    def advance(self, now: float) -> None:
        """Moves everything up to a moment not later than :meth:`next_arrival`."""
        passed, self._now = now - self._now, now
        if passed > 0:
            for flow, rate in self._shares():
                flow.moved += rate * passed
                flow.left -= rate * passed

    def next_arrival(self) -> float:
        """When the next flow will be there, if nothing changes."""
        times = [flow.left / rate for flow, rate in self._shares() if rate]
        return self._now + max(0.0, min(times, default=math.inf))

    def arrivals(self, now: float) -> Iterator[Flow]:
        """Takes out what has arrived by a moment, what began first in front; what is stopped
        meanwhile does not come."""
        self.advance(now)
        for flow in [flow for flow in self._flows if flow.left <= _NOTHING]:
            if flow in self._flows:
                del self._flows[flow]
                yield flow

    def _shares(self) -> list[tuple[Flow, float]]:
        up = Counter(flow.giver for flow in self._flows)
        down = Counter(flow.taker for flow in self._flows)
        rates = self.rates
        return [
            (flow, min(rates[flow.giver] / up[flow.giver], rates[flow.taker] / down[flow.taker]))
            for flow in self._flows
        ]
