"""Hand-out of one blob in a simulated network: the product's bookkeeping on slow links.

Every node has one link with the same rate both ways. What a node sends at a time shares its
uplink equally, what it receives its downlink; questions and answers take ``latency`` seconds.
Nodes use :class:`p2p.blobs.swarm.Swarm` and :class:`p2p.blobs.uploads.Uploads` as they are.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from p2p.blobs.chunks import BlobRef
from p2p.blobs.swarm import Ask, Drop, Get, Swarm
from p2p.blobs.uploads import Upload, Uploads

STEP: Final = 0.005
"""Seconds of virtual time in which rates do not change."""
HORIZON: Final = 3600.0


@dataclass(frozen=True)
class HandOut:
    """What happened. ``seconds`` until the last node had it, ``sent`` bytes by each node."""

    seconds: float
    sent: dict[str, int]
    twice: int


@dataclass(frozen=True)
class Network:
    """``rate`` is in bytes per second, both ways, per node; ``latency`` in seconds one way."""

    takers: int = 15
    size: int = 64_000_000
    rate: float = 100e6 / 8
    latency: float = 0.002
    only_first: bool = False
    """Nobody passes on what it has: what a hand-out by the aggregator alone costs."""
    silent_after: dict[str, float] = field(default_factory=dict)
    """Nodes that vanish at a time."""


@dataclass(eq=False)
class _Flow:
    giver: str
    taker: str
    index: int
    upload: Upload
    left: float


class _HandOutSimulation:
    def __init__(self, network: Network) -> None:
        self._network = network
        self._ref = BlobRef("0" * 64, network.size, "")
        self._now = 0.0
        self._first = "giver"
        self._takers = [f"taker{i}" for i in range(network.takers)]
        self._uploads = {name: Uploads() for name in (self._first, *self._takers)}
        self._flows: list[_Flow] = []
        self._sent = dict.fromkeys(self._uploads, 0)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._swarms = {name: Swarm(self._ref.count, name) for name in self._takers}
        for name, swarm in self._swarms.items():
            others = [] if network.only_first else [t for t in self._takers if t != name]
            swarm.on_sources([self._first, *others])

    def run(self) -> HandOut:
        finished = 0.0
        pending = set(self._takers)
        while pending and self._now < HORIZON:
            while self._later and self._later[0][0] <= self._now:
                heapq.heappop(self._later)[2]()
            pending -= {n for n in pending if self._swarms[n].done or self._gone(n)}
            for name in pending:
                for step in self._swarms[name].next(self._now):
                    self._act(name, step)
            self._move()
            self._now += STEP
            finished = self._now
        twice = sum(swarm.twice for swarm in self._swarms.values())
        return HandOut(finished, self._sent, twice)

    def _gone(self, name: str) -> bool:
        return self._now >= self._network.silent_after.get(name, HORIZON)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (self._now + seconds, next(self._order), action))

    def _holdings(self, name: str) -> int:
        return (1 << self._ref.count) - 1 if name == self._first else self._swarms[name].have

    def _act(self, name: str, step: Ask | Get | Drop) -> None:
        swarm, peer = self._swarms[name], step.peer
        if isinstance(step, Drop):
            for flow in list(self._flows):
                if (flow.taker, flow.giver, flow.index) == (name, peer, step.index):
                    self._end(flow)
        elif isinstance(step, Ask):
            self._after(2 * self._network.latency, lambda: self._answer(name, peer))
        else:
            self._after(2 * self._network.latency, lambda: self._begin(swarm, name, step))

    def _answer(self, name: str, peer: str) -> None:
        swarm, have = self._swarms[name], self._holdings(peer)
        if self._gone(peer):
            swarm.on_failure(peer, None, self._now)
        elif have:
            swarm.listed = True
            swarm.on_holdings(peer, have, self._now)
        else:
            swarm.on_absent(peer, None, self._now)

    def _begin(self, swarm: Swarm, name: str, get: Get) -> None:
        size = len(self._ref.span(get.index))
        if self._gone(get.peer):
            swarm.on_failure(get.peer, get.index, self._now)
        elif not self._holdings(get.peer) >> get.index & 1:
            swarm.on_absent(get.peer, get.index, self._now)
        elif upload := self._uploads[get.peer].begin(name, size, self._now):
            self._flows.append(_Flow(get.peer, name, get.index, upload, size))
        else:
            swarm.on_busy(get.peer, get.index, self._now)

    def _end(self, flow: _Flow) -> None:
        self._flows.remove(flow)
        self._uploads[flow.giver].end(flow.upload)

    def _move(self) -> None:
        up = {f.giver: sum(g.giver == f.giver for g in self._flows) for f in self._flows}
        down = {f.taker: sum(g.taker == f.taker for g in self._flows) for f in self._flows}
        for flow in list(self._flows):
            if self._gone(flow.giver):
                self._end(flow)
                self._swarms[flow.taker].on_failure(flow.giver, flow.index, self._now)
                continue
            moved = self._network.rate * STEP / max(up[flow.giver], down[flow.taker])
            flow.left -= moved
            if flow.left <= 0:
                self._end(flow)
                self._sent[flow.giver] += len(self._ref.span(flow.index))
                have = self._holdings(flow.giver)
                self._swarms[flow.taker].on_chunk(flow.giver, flow.index, self._now, have)


def hand_out(network: Network) -> HandOut:
    """Lets one node give a blob to all others and says how long it took."""
    return _HandOutSimulation(network).run()
