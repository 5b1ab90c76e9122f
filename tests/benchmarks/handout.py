"""Handing one result of 64 MB to 15 members over links of 100 Mbit/s, against handing it to one.

In the simulator, which runs the product's bookkeeping, and with real members in network namespaces
where root allows them. On a machine with few cores, 16 members are slower than their links: there
``FEDTUI_BENCH_RATE=20mbit`` slows the links down; only the ratio counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from p2p.sim.swarm import Network, hand_out
from tests.benchmarks.blob_lab import blob_lab
from tests.benchmarks.measure import Line
from tests.netns.lab import missing

SIZE = 64_000_000
TAKERS = 15
RATE = os.environ.get("FEDTUI_BENCH_RATE", "100mbit")


def run() -> Iterator[Line]:
    one = hand_out(Network(takers=1)).seconds
    many = hand_out(Network()).seconds
    alone = hand_out(Network(only_first=True)).seconds
    yield Line("simulated: 64 MB to 15 at 100 Mbit/s", many, one, "to one")
    yield Line("simulated: the first holder serves alone", alone, one, "to one")
    reason = missing()
    if reason is not None:
        yield Line(f"in namespaces: not run, {reason}", 0, 0, "")
        return
    one, _ = in_namespaces(1)
    many, copies = in_namespaces(TAKERS)
    yield Line(f"namespaces: 64 MB to 15 at {RATE}", many, one, "to one")
    yield Line("chunks that came twice, all members", copies, 0, "none", "")


def in_namespaces(takers: int) -> tuple[float, int]:
    """Seconds until the last of them had it, and how many chunks came to somebody twice."""
    with blob_lab(takers + 1, SIZE, RATE) as members:
        for index in range(takers + 1):
            members.start(index)
        began = members.go()
        members.wait(lambda: all(members.done(i) for i in range(1, takers + 1)))
        ended = [members.done(i) or 0.0 for i in range(1, takers + 1)]
        came = [members.chunks(i) for i in range(1, takers + 1)]
        return max(ended) - began, sum(len(each) - len(set(each)) for each in came)
