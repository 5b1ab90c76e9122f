"""Fifty real members in one process, with adapters of 10 kB, for ten rounds.

Real sockets, TLS, ledgers and gossip on loopback; what is measured is how long after the first
member stopped waiting for contributions (the cut) each member has the commit. All of them share
one process, so the same is told in its processor time, which other work on the machine stretches
less. Options: ``--runs N`` (rounds).
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2p.addresses import Address
from p2p.peer import Peer
from tests.benchmarks.measure import Line
from tests.benchmarks.noop_node import LOOPBACK, NoOp, genesis, identity, initial, take_part

COUNT = 50
ROUNDS = 10
SIZE = 10_000
TARGET_P95 = 10.0
PATIENCE = 3600.0
LOOK = 0.25
"""Seconds between two looks whether the next round has begun: fifty look in one process."""
COLLECT_AFTER = 100_000
"""Objects made before the next look for garbage."""


@dataclass(frozen=True)
class Moment:
    """Seconds of the wall clock, and of this process's processor time."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Moment:
        return cls(time.monotonic(), time.process_time())

    def since(self, earlier: Moment) -> Moment:
        return Moment(self.wall - earlier.wall, self.cpu - earlier.cpu)


class _Member:
    def __init__(self, root: Path, index: int, rounds: int) -> None:
        home = root / f"node{index}"
        home.mkdir()
        self.commits: dict[int, Moment] = {}
        self.cuts: dict[int, Moment] = {}
        self.workload = NoOp(home, SIZE, 0.001 * (index - (COUNT - 1) / 2))
        self.peer = Peer(
            home / "room",
            identity(index),
            genesis(COUNT, rounds, SIZE),
            self.workload,
            host=LOOPBACK,
            interfaces=[LOOPBACK],
            emit=self._emit,
        )

    def _emit(self, type: str, /, **fields: Any) -> None:
        now = Moment.now()
        if type == "round.committed":
            self.commits[fields["round"]] = now
        elif type == "aggregator.elected":
            self.cuts.setdefault(fields["round"], now)


def run(runs: int = ROUNDS) -> Iterator[Line]:
    latencies, all_rounds = asyncio.run(_rounds(runs))
    name, target = f"{COUNT} members, {runs} rounds: commit after cut", TARGET_P95
    wall = [each.wall for each in latencies]
    cpu = [each.cpu for each in latencies]
    yield Line(f"{name}, p50", float(np.percentile(wall, 50)), target, "target of p95")
    yield Line(f"{name}, p95", float(np.percentile(wall, 95)), target, "target of p95")
    yield Line("the same in processor time, p95", float(np.percentile(cpu, 95)), target, "target")
    yield Line("all rounds", all_rounds.wall, runs * target, "that target each")
    yield Line("all rounds in processor time", all_rounds.cpu, runs * target, "that target each")


async def _rounds(rounds: int) -> tuple[list[Moment], Moment]:
    # Fifty nodes' objects lie in one heap, which the collector would walk again and again: 24 of
    # the first 60 seconds of processor time. A node of its own has a fiftieth of them.
    gc.set_threshold(COLLECT_AFTER)
    with tempfile.TemporaryDirectory(prefix="crowd-") as folder:
        members = [_Member(Path(folder), index, rounds) for index in range(COUNT)]
        for member in members:
            await member.peer.start()
        await members[0].peer.provide(initial(SIZE))
        for member in members:
            for other in members:
                if other is not member:
                    address = Address(LOOPBACK, other.peer.port)
                    member.peer._book.hint(other.peer.identity.peer_id, [address])
        began = Moment.now()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(take_part(m.peer, m.workload, 0, LOOK) for m in members))
        all_rounds = Moment.now().since(began)
        for member in members:
            await member.peer.stop()
    latencies = []
    for number in range(1, rounds + 1):
        cut = min((m.cuts[number] for m in members if number in m.cuts), key=lambda m: m.wall)
        latencies += [m.commits[number].since(cut) for m in members if number in m.commits]
    return latencies, all_rounds
