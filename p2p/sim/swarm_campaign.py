"""Many seeds of nodes that fetch a blob, and broken variants that must be caught."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

from p2p.blobs.chunks import BlobRef, ChunkList
from p2p.blobs.partial import Partial
from p2p.blobs.swarm import Swarm, _Source
from p2p.blobs.uploads import Upload, Uploads
from p2p.limits import KIB, MIB
from p2p.sim.swarm import Network, SwarmSimulation, hand_out
from p2p.sim.swarm_faults import LIARS
from p2p.sim.swarm_invariants import SwarmViolation

MBIT: Final = 1e6 / 8
PATIENCE: Final = 150.0
"""Seconds after the faults within which everybody must have the blob."""
MAX_COPIES: Final = 2.0
"""What a hand-out to 15 may cost: times the time to one, and copies that its first holder sends."""

MAX_WASTE: Final = 1.05
"""What all may send together, times what must come."""


def mixed_network(seed: int) -> Network:
    """A few members with links, liars and faults drawn by the seed."""
    draw = random.Random(f"network {seed}")
    takers = draw.randint(2, 7)
    rate = draw.choice((10, 20, 100)) * MBIT
    slow = {f"taker{draw.randrange(takers)}": 4 * MBIT} if draw.random() < 0.3 else {}
    return Network(
        takers=takers,
        size=draw.randint(3 * MIB, 48 * MIB),
        rate=rate,
        rates=slow,
        latency=draw.choice((0.002, 0.02, 0.1)),
        loss=draw.choice((0.0, 0.02, 0.2)),
        liars=tuple(draw.choice(LIARS) for _ in range(draw.choice((0, 1, 1, 3)))),
        calm=30.0,
        horizon=30.0 + PATIENCE,
    )


SILENT: Final = Network(takers=2, size=8 * MIB, liars=("sends nothing",) * 3, horizon=20.0)
LEFT_ALONE: Final = Network(takers=3, size=32 * MIB, horizon=30.0, silent_after={"giver": 4.0})
GREEDY: Final = Network(takers=2, size=8 * MIB, liars=("greedy",) * 3, horizon=60.0)
SLOW: Final = Network(takers=4, size=7 * MIB, rates={"giver": 64.0 * KIB}, horizon=600.0)
"""Rooms for what seldom shows by chance."""


class _AnyBytes(ChunkList):
    def fits(self, index: int, data: bytes | bytearray | memoryview) -> bool:
        return True


class TrustingPartial(Partial):
    """C1: bytes that come are not compared with what was signed."""

    def __init__(self, path: Path, ref: BlobRef, chunks: ChunkList) -> None:
        super().__init__(path, ref, _AnyBytes(chunks.digests))


class BelievingPartial(Partial):
    """C2: a file as long as the blob is believed to hold it."""

    def _recognise(self, file: BinaryIO) -> None:
        length = os.fstat(file.fileno()).st_size
        for index in range(self.ref.count):
            self.have |= (self.ref.span(index).stop <= length) << index


class ForgetfulPartial(Partial):
    """C3: what an earlier fetch left behind is fetched again."""

    def _recognise(self, file: BinaryIO) -> None:
        pass


class ForgivingSwarm(Swarm):
    """C4: a member that sent wrong bytes is asked again."""

    def on_lie(self, peer: str, index: int | None = None) -> None:
        super().on_lie(peer, index)
        self.banned.discard(peer)


class LoyalSwarm(Swarm):
    """C5: a chunk that is late is asked of nobody else, and keeps its place."""

    @property
    def _patience(self) -> float:
        return math.inf


class HastySwarm(Swarm):
    """C6: every chunk is asked of everybody who has it."""

    def _is_late(self, source: _Source, index: int, began: list[float], now: float) -> bool:
        return index not in source.under_way


class OrderlySwarm(Swarm):
    """C7: everybody fetches the chunks in the same order."""

    def _rarest_first(self) -> list[int]:
        return [index for index in range(self.count) if self.missing >> index & 1]


class SleepySwarm(Swarm):
    """C8: who has nothing yet is not asked a second time."""

    def on_absent(self, peer: str, index: int | None, now: float) -> None:
        super().on_absent(peer, index, now)
        self._sources[peer].ask_at = math.inf


class GenerousUploads(Uploads):
    """C9: everything is sent to everybody who asks."""

    def begin(self, peer: str, size: int, now: float) -> Upload | None:
        return Upload(peer, size, now)


class UnfairUploads(Uploads):
    """C10: who asks first is served, however much it is being sent already."""

    def begin(self, peer: str, size: int, now: float) -> Upload | None:
        self._sent_away.clear()
        return super().begin(peer, size, now)


class CrowdedUploads(Uploads):
    """C11: more and more streams share a line that is too slow for them."""

    def moved(self, upload: Upload, size: int, now: float) -> None:
        pass


@dataclass(frozen=True)
class Mutation:
    """A broken part, and how it shows: a broken rule, somebody who never gets the blob, or a
    hand-out that costs its first holder too much."""

    about: str
    swarm: type[Swarm] = Swarm
    partial: type[Partial] = Partial
    uploads: type[Uploads] = Uploads
    room: Network | None = None
    shows_as: Literal["unsafe", "stuck", "costly"] = "unsafe"

    def network(self, seed: int) -> Network:
        room = self.room or (Network() if self.shows_as == "costly" else mixed_network(seed))
        return replace(room, swarm=self.swarm, partial=self.partial, uploads=self.uploads)


MUTATIONS: Final[dict[str, Mutation]] = {
    "trusting": Mutation("C1 unchecked bytes", partial=TrustingPartial),
    "believing": Mutation("C2 an unchecked disk", partial=BelievingPartial),
    "forgetful": Mutation("C3 no resuming", partial=ForgetfulPartial),
    "forgiving": Mutation("C4 liars are asked again", swarm=ForgivingSwarm),
    "loyal": Mutation("C5 no second source", swarm=LoyalSwarm, room=SILENT, shows_as="stuck"),
    "hasty": Mutation("C6 everything from everybody", swarm=HastySwarm, shows_as="costly"),
    "orderly": Mutation("C7 the same order", swarm=OrderlySwarm, shows_as="costly"),
    "sleepy": Mutation(
        "C8 never asked again", swarm=SleepySwarm, room=LEFT_ALONE, shows_as="stuck"
    ),
    "generous": Mutation("C9 no bound on uploads", uploads=GenerousUploads),
    "unfair": Mutation("C10 no turns", uploads=UnfairUploads, room=GREEDY, shows_as="stuck"),
    "crowded": Mutation(
        "C11 too many streams", uploads=CrowdedUploads, room=SLOW, shows_as="stuck"
    ),
}


@dataclass
class Report:
    """Totals over the runs of a campaign. ``slowest_s`` is the longest that somebody needed after
    the faults had ended; ``twice`` the most chunks that came to one node although it had them."""

    seeds: int = 0
    unsafe: int = 0
    complete: int = 0
    faults: int = 0
    twice: int = 0
    slowest_s: float = 0.0
    costly: int = 0

    @property
    def stuck(self) -> int:
        return self.seeds - self.unsafe - self.complete

    def summary(self) -> dict[str, float]:
        return {
            "seeds": self.seeds,
            "unsafe": self.unsafe,
            "complete": self.complete,
            "faults": self.faults,
            "fetched_twice_most": self.twice,
            "slowest_after_faults_s": round(self.slowest_s, 1),
        }


def run_campaign(
    seeds: Iterable[int],
    *,
    mutation: Mutation | None = None,
    tell: Callable[[int, str], None] = lambda seed, problem: None,
    stop_at_first: bool = False,
) -> Report:
    """Runs every seed, or until the first problem; ``tell`` hears of each."""
    report = Report()
    broken = mutation or Mutation("nothing is broken")
    if broken.shows_as == "costly":
        return Report(seeds=1, costly=is_costly(broken.network(0)))
    for seed in seeds:
        network = broken.network(seed)
        simulation = SwarmSimulation(network, seed)
        report.seeds += 1
        try:
            outcome = simulation.run()
        except SwarmViolation as violation:
            report.unsafe += 1
            tell(seed, f"{violation} at {simulation.now:.2f} s")
        else:
            report.complete += outcome.complete
            report.faults += outcome.faults
            report.twice = max(report.twice, outcome.twice)
            report.slowest_s = max(report.slowest_s, outcome.seconds - network.calm)
            if not outcome.complete:
                tell(seed, f"stuck: {simulation.missing()}")
        if stop_at_first and report.complete < report.seeds:
            break
    return report


def is_costly(network: Network) -> bool:
    """Whether a hand-out takes more time, or costs its first holder more, than it may."""
    one, many = hand_out(replace(network, takers=1)), hand_out(network)
    return (
        many.seconds > MAX_COPIES * one.seconds
        or many.sent["giver"] > MAX_COPIES * network.size
        or sum(many.sent.values()) > MAX_WASTE * network.takers * network.size
    )
