"""Handing one result of 64 MB to 15 members over links of 100 Mbit/s, against handing it to one.

In the simulator, which runs the product's bookkeeping, and with real members in network namespaces
where root allows them. Sixteen members on a machine with few cores may be slower than their links:
how busy they kept the processors is told, and the same is done over links of 20 Mbit/s, where only
the protocol counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from p2p.sim.swarm import Network, hand_out
from tests.benchmarks.blob_lab import blob_lab
from tests.benchmarks.measure import Line
from tests.netns.lab import missing

SIZE = 64_000_000
TAKERS = 15
RATES = ("100mbit", "20mbit")


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
    for rate in RATES:
        one = in_namespaces(1, rate)
        many = in_namespaces(TAKERS, rate)
        yield Line(f"namespaces: 64 MB to {TAKERS} at {rate}", many.seconds, one.seconds, "to one")
        cores = psutil.cpu_count() or 1
        yield Line("processors that were busy", many.processors, cores, "there are", "")
        yield Line("chunks that came twice, all members", many.twice, 0, "none", "")


@dataclass(frozen=True)
class HandedOut:
    """``seconds`` until the last member had it; ``processors`` busy meanwhile, on average; how
    many chunks came to somebody ``twice``."""

    seconds: float
    processors: float
    twice: int


def in_namespaces(takers: int, rate: str) -> HandedOut:
    with blob_lab(takers + 1, SIZE, rate) as members:
        for index in range(takers + 1):
            members.start(index)
        before = members.processor_seconds()
        began = members.go()
        members.wait(lambda: all(members.done(i) for i in range(1, takers + 1)))
        busy = members.processor_seconds() - before
        seconds = max(members.done(i) or 0.0 for i in range(1, takers + 1)) - began
        came = [members.chunks(i) for i in range(1, takers + 1)]
        twice = sum(len(each) - len(set(each)) for each in came)
        return HandedOut(seconds, busy / seconds, twice)
