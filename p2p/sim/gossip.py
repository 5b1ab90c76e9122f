"""A room of :class:`p2p.gossip.core.SwimCore` under virtual time: what its figures are.

A message is lost with the scenario's probability, which is harsher than a lost packet under TCP:
a probe that loses its question or its answer fails. A starved machine neither reads nor runs its
timers while it is stalled; what arrived waits for it.
"""

from __future__ import annotations

import heapq
import itertools
import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2p.gossip.core import SwimCore
from p2p.gossip.effects import Effect, Liveness, Probe, ProbeThrough, StateChanged
from p2p.gossip.hello import Hello, Said
from p2p.gossip.rumours import Statement
from p2p.limits import LEAVE_FANOUT, PROBE_INTERVAL, PROBE_TIMEOUT

LATENCY: Final = 0.005
"""Mean one-way delay in seconds, exponential."""
WARM_UP: Final = 20.0
STALL: Final = (0.1, 4.0)
"""Seconds for which a starved machine stands still, and for which it runs in between."""
RUN: Final = (0.05, 1.0)
MAX_DETECTION: Final = 60.0
MAX_LEAVE: Final = 2.0
MAX_FALSE_ALARM: Final = 10.0
"""Seconds that we promise: p99 of a crash seen by all, a goodbye, a wrong "unreachable"."""
_ENVELOPE_BYTES: Final = 190
"""Names, key and signature around a payload."""
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz"


def member_id(index: int) -> str:
    """A peer id that is none, for member ``index``."""
    return (_ALPHABET[index // 26] + _ALPHABET[index % 26]) * 26


@dataclass
class Node:
    """One simulated member; ``unreachable`` maps the peers it misses to since when."""

    id: str
    core: SwimCore
    up: bool = True
    stalled_until: float = 0.0
    sent_bytes: int = 0
    sent_packets: int = 0
    states: dict[str, Liveness] = field(default_factory=dict)
    missed: dict[str, float] = field(default_factory=dict)
    false_alarms: list[float] = field(default_factory=list)


class GossipRoom:
    """One execution, decided by its seed. Times are virtual seconds."""

    def __init__(self, nodes: int, *, loss: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._cut: set[frozenset[str]] = set()
        ids = [member_id(index) for index in range(nodes)]
        self.nodes = {peer: Node(peer, self._core(peer, ids)) for peer in ids}
        for node in self.nodes.values():
            self._tick(node, self.random.uniform(0, PROBE_INTERVAL))
            self._progress(node, 0)

    def run(self, until: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Goes on until a moment, or until ``stop`` says so."""
        while self._queue and self._queue[0][0] <= until and not stop():
            self.now, _, action = heapq.heappop(self._queue)
            action()
        if not stop():
            self.now = until

    def others(self, than: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.id != than and node.up]

    def cut(self, a: str, b: str) -> None:
        """The two cannot reach one another any more, as under client isolation."""
        self._cut.add(frozenset((a, b)))

    def crash(self, peer: str) -> None:
        self.nodes[peer].up = False

    def leave(self, peer: str) -> None:
        """As the driver does it: the goodbye goes to a few, then the node is gone."""
        node = self.nodes[peer]
        node.core.update(self.now, leaving=True)
        for other in sorted(node.core.alive())[:LEAVE_FANOUT]:
            self._send(node, other, node.core.packet(other, self.now), lambda _: None)
        node.up = False

    def starve(self, peer: str, until: float) -> None:
        """The machine stalls again and again."""
        node = self.nodes[peer]
        node.stalled_until = self.now + self.random.uniform(*STALL)
        again = node.stalled_until + self.random.uniform(*RUN)
        if again < until:
            self._at(again, lambda: self.starve(peer, until))

    # --- inside ----------------------------------------------------------------------------------
    def _core(self, peer: str, members: Sequence[str]) -> SwimCore:
        def speak(said: Said) -> Statement:
            return Statement(peer, said, bytes(_ENVELOPE_BYTES + len(said.to_bytes()) * 4 // 3))

        hello = Hello(
            incarnation=1, seq=0, round=1, head="ab" * 32, attempt=0, port=47_778,
            hosts=("192.168.1.17",), status={"phase": "TRAIN", "step": 0, "loss": 100},
        )  # fmt: skip
        return SwimCore(
            peer, members, 0.0, hello=hello, speak=speak, choose=random.Random(self.random.random())
        )

    def _at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (time, next(self._order), action))

    def _feed(self, node: Node, event: Callable[[], list[Effect]]) -> None:
        """Delivers an event; a stalled machine gets it when it runs again."""
        if not node.up:
            return
        if self.now < node.stalled_until:
            self._at(node.stalled_until, lambda: self._feed(node, event))
            return
        for effect in event():
            match effect:
                case Probe():
                    self._probe(node, effect)
                case ProbeThrough():
                    self._probe_through(node, effect)
                case StateChanged():
                    self._note(node, effect)
                case _:
                    pass

    def _note(self, node: Node, change: StateChanged) -> None:
        node.states[change.peer_id] = change.after
        since = node.missed.pop(change.peer_id, None)
        if since is not None and self.nodes[change.peer_id].up:
            node.false_alarms.append(self.now - since)
        if change.after is Liveness.UNREACHABLE:
            node.missed[change.peer_id] = self.now

    def _tick(self, node: Node, at: float) -> None:
        def tick() -> None:
            self._feed(node, lambda: node.core.on_timer(self.now))
            later = max(self.now, node.stalled_until) + PROBE_INTERVAL / 4
            self._tick(node, later)

        if node.up:
            self._at(at, tick)

    def _progress(self, node: Node, step: int) -> None:
        """What others see of the training changes every second."""
        if not node.up:
            return
        node.core.update(self.now, status={"phase": "TRAIN", "step": step, "loss": 100})
        later = self.now + self.random.uniform(0.8, 1.2)
        self._at(later, lambda: self._progress(node, step + 1))

    def _send(
        self,
        source: Node,
        to: str,
        packet: Sequence[Statement],
        on_answer: Callable[[tuple[Statement, ...]], None],
    ) -> None:
        """A question and its answer, each of which may get lost."""
        source.sent_packets += 1
        source.sent_bytes += sum(len(statement.data) for statement in packet)
        target = self.nodes[to]

        def arrive() -> list[Effect]:
            effects, reply = target.core.answer(source.id, packet, self.now)
            target.sent_packets += 1
            target.sent_bytes += sum(len(statement.data) for statement in reply)
            if not self._lost():
                self._at(self.now + self._delay(), lambda: on_answer(reply))
            return effects

        if not self._lost() and frozenset((source.id, to)) not in self._cut:
            self._at(self.now + self._delay(), lambda: self._feed(target, arrive))

    def _exchange(
        self,
        source: Node,
        to: str,
        packet: Sequence[Statement],
        timeout: float,
        on_end: Callable[[tuple[Statement, ...] | None], list[Effect]],
    ) -> None:
        """A probe: its answer in time, or None."""
        open_ = True
        started = self.now

        def end(answer: tuple[Statement, ...] | None) -> list[Effect]:
            nonlocal open_
            if not open_:
                return []
            open_ = False
            if answer is None:
                return on_end(None)
            rtt = self.now - started
            return source.core.on_packet(to, answer, self.now, rtt=rtt) + on_end(answer)

        self._send(source, to, packet, lambda answer: self._feed(source, lambda: end(answer)))
        self._at(self.now + timeout, lambda: self._feed(source, lambda: end(None)))

    def _probe(self, node: Node, probe: Probe) -> None:
        def on_end(answer: tuple[Statement, ...] | None) -> list[Effect]:
            return node.core.on_failure(probe.peer_id, self.now) if answer is None else []

        self._exchange(node, probe.peer_id, probe.packet, probe.timeout, on_end)

    def _probe_through(self, node: Node, probe: ProbeThrough) -> None:
        helper = self.nodes[probe.helper]
        open_ = True

        def report(seen: Statement | None, answered: bool) -> None:
            def witness() -> list[Effect]:
                nonlocal open_
                if not open_:
                    return []
                open_ = False
                return node.core.on_witness(probe.peer_id, probe.helper, seen, answered, self.now)

            self._feed(node, witness)

        def on_end(answer: tuple[Statement, ...] | None) -> list[Effect]:
            if not self._lost():
                seen = None if answer is None else answer[0]
                self._at(self.now + self._delay(), lambda: report(seen, True))
            return []

        def ask() -> list[Effect]:
            packet = helper.core.packet(probe.peer_id, self.now)
            self._exchange(helper, probe.peer_id, packet, PROBE_TIMEOUT, on_end)
            return []

        node.sent_packets += 1
        if not self._lost():
            self._at(self.now + self._delay(), lambda: self._feed(helper, ask))
        self._at(self.now + probe.timeout, lambda: report(None, False))

    def _lost(self) -> bool:
        return self.random.random() < self.loss

    def _delay(self) -> float:
        return 0.001 + self.random.expovariate(1 / LATENCY)


# --- figures -------------------------------------------------------------------------------------
def crash_detection(nodes: int, loss: float, seed: int) -> float:
    """Seconds from a crash until every other member counts the node as unreachable."""
    return _until_all(nodes, loss, seed, GossipRoom.crash, Liveness.UNREACHABLE, patience=120.0)


def clean_leave(nodes: int, loss: float, seed: int) -> float:
    """Seconds from a goodbye until every other member knows."""
    return _until_all(nodes, loss, seed, GossipRoom.leave, Liveness.LEFT, patience=60.0)


def false_alarms(nodes: int, loss: float, seed: int, seconds: float = 600.0) -> list[float]:
    """How long a starved but living member was wrongly counted as unreachable, each time and by
    each member; seconds."""
    room = GossipRoom(nodes, loss=loss, seed=seed)
    room.run(WARM_UP)
    room.starve(member_id(0), WARM_UP + seconds)
    room.run(WARM_UP + seconds)
    alarms = [alarm for node in room.nodes.values() for alarm in node.false_alarms]
    still = [room.now - since for node in room.nodes.values() for since in node.missed.values()]
    return alarms + still


def traffic(nodes: int, loss: float, seed: int, seconds: float = 30.0) -> tuple[float, float]:
    """Bytes and packets per second that the busiest member sends, of gossip alone."""
    room = GossipRoom(nodes, loss=loss, seed=seed)
    room.run(WARM_UP)
    before = {node.id: (node.sent_bytes, node.sent_packets) for node in room.nodes.values()}
    room.run(WARM_UP + seconds)
    return (
        max(node.sent_bytes - before[node.id][0] for node in room.nodes.values()) / seconds,
        max(node.sent_packets - before[node.id][1] for node in room.nodes.values()) / seconds,
    )


def report(nodes: int, loss: float, seeds: Iterable[int]) -> dict[str, float]:
    """The figures of a room, over several executions."""
    seeds = list(seeds)
    crashes = sorted(crash_detection(nodes, loss, seed) for seed in seeds)
    leaves = sorted(clean_leave(nodes, loss, seed) for seed in seeds)
    alarms = [alarm for seed in seeds[:3] for alarm in false_alarms(nodes, loss, seed)]
    sent, packets = traffic(nodes, loss, seeds[0])
    return {
        "nodes": nodes,
        "loss": loss,
        "seeds": len(seeds),
        "crash_seen_by_all_median_s": round(statistics.median(crashes), 2),
        "crash_seen_by_all_p99_s": round(crashes[int(0.99 * (len(crashes) - 1) + 0.5)], 2),
        "leave_seen_by_all_median_s": round(statistics.median(leaves), 2),
        "leave_seen_by_all_max_s": round(leaves[-1], 2),
        "false_alarms": len(alarms),
        "false_alarm_longest_s": round(max(alarms, default=0.0), 2),
        "bytes_per_s": round(sent),
        "packets_per_s": round(packets, 1),
    }


def _until_all(
    nodes: int,
    loss: float,
    seed: int,
    event: Callable[[GossipRoom, str], None],
    state: Liveness,
    patience: float,
) -> float:
    room = GossipRoom(nodes, loss=loss, seed=seed)
    room.run(WARM_UP)
    gone = member_id(nodes // 2)
    witnesses = room.others(gone)
    event(room, gone)
    room.run(WARM_UP + patience, lambda: all(node.states.get(gone) is state for node in witnesses))
    return room.now - WARM_UP
