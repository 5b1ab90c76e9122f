"""Fifty real members in one process, with adapters of 10 kB, for ten rounds.

Real sockets, TLS, ledgers and gossip on loopback; what is measured is how long after the last
contribution of a round each member has the commit.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator
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
PATIENCE = 900.0
COLLECT_AFTER = 100_000
"""Objects made before the next look for garbage."""


class _Member:
    def __init__(self, root: Path, index: int) -> None:
        home = root / f"node{index}"
        home.mkdir()
        self.commits: dict[int, float] = {}
        self.cuts: dict[int, float] = {}
        self.workload = NoOp(home, SIZE, 0.001 * (index - (COUNT - 1) / 2))
        self.peer = Peer(
            home / "room",
            identity(index),
            genesis(COUNT, ROUNDS, SIZE),
            self.workload,
            host=LOOPBACK,
            interfaces=[LOOPBACK],
            emit=self._emit,
        )

    def _emit(self, type: str, /, **fields: Any) -> None:
        now = time.monotonic()
        if type == "round.committed":
            self.commits[fields["round"]] = now
        elif type == "aggregator.elected":
            self.cuts.setdefault(fields["round"], now)


def run() -> Iterator[Line]:
    latencies, wall = asyncio.run(_rounds())
    name = f"{COUNT} members, {ROUNDS} rounds: commit after cut"
    yield Line(f"{name}, p50", float(np.percentile(latencies, 50)), TARGET_P95, "target of p95")
    yield Line(f"{name}, p95", float(np.percentile(latencies, 95)), TARGET_P95, "target of p95")
    yield Line("all rounds", wall, ROUNDS * TARGET_P95, "that target each")


async def _rounds() -> tuple[list[float], float]:
    # Fifty nodes' objects lie in one heap, which the collector would walk again and again: 24 of
    # the first 60 seconds of processor time. A node of its own has a fiftieth of them.
    gc.set_threshold(COLLECT_AFTER)
    with tempfile.TemporaryDirectory(prefix="crowd-") as folder:
        members = [_Member(Path(folder), index) for index in range(COUNT)]
        for member in members:
            await member.peer.start()
        await members[0].peer.provide(initial(SIZE))
        for member in members:
            for other in members:
                if other is not member:
                    address = Address(LOOPBACK, other.peer.port)
                    member.peer._book.hint(other.peer.identity.peer_id, [address])
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(take_part(m.peer, m.workload, 0) for m in members))
        wall = time.monotonic() - began
        for member in members:
            await member.peer.stop()
    latencies = []
    for number in range(1, ROUNDS + 1):
        cut = min(m.cuts[number] for m in members if number in m.cuts)
        latencies += [m.commits[number] - cut for m in members if number in m.commits]
    return latencies, wall
