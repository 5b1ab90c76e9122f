"""Liveness without I/O: whom to probe when, and what silence means.

Events go in with the time they happened (monotonic seconds), effects come out. A peer is alive
because it proved so itself over an authenticated connection, in either direction; nobody else can
say so, or say the opposite. The states steer attention (whom to ask first, what people see) and
never rights: an unreachable voter is still a voter.

The idea that a late timer of our own excuses the others is Lifeguard's local health
(arXiv 1707.00788), reduced to its core.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from p2p.gossip.hello import Hello
from p2p.limits import (
    PROBE_INTERVAL,
    PROBES_PER_SECOND,
    STALL_SECONDS,
    SUSPECT_AFTER_INTERVALS,
    UNREACHABLE_AFTER_INTERVALS,
)


class Liveness(StrEnum):
    """How a peer looks from here. ``unreachable`` means: for me, for now."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    UNREACHABLE = "unreachable"
    LEFT = "left"


@dataclass(frozen=True)
class PeerHealth:
    """What is known of one member. Times are monotonic seconds of this machine.

    ``hello`` is its newest Hello, ``heard`` when anything authenticated last came from it, ``rtt``
    the round-trip time of the last answered probe in seconds, ``failures`` how many probes failed
    since it was last heard.
    """

    peer_id: str
    state: Liveness = Liveness.UNREACHABLE
    since: float = 0.0
    heard: float | None = None
    rtt: float | None = None
    failures: int = 0
    hello: Hello | None = None


@dataclass(frozen=True)
class Probe:
    """Send a Hello to the peer and report the answer or its absence."""

    peer_id: str


@dataclass(frozen=True)
class StateChanged:
    peer_id: str
    before: Liveness
    after: Liveness


@dataclass(frozen=True)
class HeadSeen:
    """A member says how far it is; sent for every Hello that is news."""

    peer_id: str
    round: int
    head: str
    attempt: int


@dataclass(frozen=True)
class Woke:
    """This machine slept or was starved for ``seconds``: its connections are probably dead."""

    seconds: float


Effect = Probe | StateChanged | HeadSeen | Woke


class LivenessCore:
    """The state machine of one node. ``on_timer`` is called a few times per interval."""

    def __init__(
        self, me: str, members: Collection[str], now: float, *, interval: float = PROBE_INTERVAL
    ) -> None:
        self._me = me
        self._base_interval = interval
        self._last_timer = now
        self._peers: dict[str, PeerHealth] = {}
        self._next_probe: dict[str, float] = {}
        self._probing: set[str] = set()
        self.set_members(members, now)

    @property
    def interval(self) -> float:
        """Seconds between two probes of one peer; longer in large rooms."""
        return self._base_interval * max(1.0, len(self._peers) / PROBES_PER_SECOND)

    def peers(self) -> dict[str, PeerHealth]:
        """A copy of everything known, by peer id."""
        return dict(self._peers)

    def alive(self) -> set[str]:
        """Members heard of recently, without ourselves; suspects count until they are silent."""
        present = {Liveness.ALIVE, Liveness.SUSPECT}
        return {p for p, health in self._peers.items() if health.state in present}

    def set_members(self, members: Collection[str], now: float) -> None:
        """Starts probing new members, spread over one interval, and forgets the others."""
        others = sorted(set(members) - {self._me})
        self._peers = {p: self._peers.get(p, PeerHealth(p, since=now)) for p in others}
        spread = self.interval / max(1, len(others))
        self._next_probe = {
            p: self._next_probe.get(p, now + i * spread) for i, p in enumerate(others)
        }
        self._probing &= self._peers.keys()

    def on_timer(self, now: float) -> list[Effect]:
        """Probes that are due, and peers whose silence has lasted too long."""
        effects: list[Effect] = []
        gap = now - self._last_timer
        self._last_timer = now
        if gap > STALL_SECONDS:
            # We were the silent one: everybody gets the time back before being judged.
            effects.append(Woke(gap))
            self._peers = {p: _excused(h, gap) for p, h in self._peers.items()}
        for peer_id in list(self._peers):
            effects += self._judge(peer_id, now)
            if now >= self._next_probe[peer_id] and peer_id not in self._probing:
                self._next_probe[peer_id] = now + self.interval
                self._probing.add(peer_id)
                effects.append(Probe(peer_id))
        return effects

    def on_hello(
        self, peer_id: str, hello: Hello, now: float, rtt: float | None = None
    ) -> list[Effect]:
        """A Hello signed by ``peer_id`` arrived from it, as a probe or (with ``rtt``) an answer.

        What it says counts only when it is newer than the last one. An old answer to a probe of
        ours (two crossed on the way) still proves that the peer is there, unless it has left.
        """
        if rtt is not None:
            self._probing.discard(peer_id)
        health = self._peers.get(peer_id)
        if health is None:
            return []
        is_news = health.hello is None or hello.order > health.hello.order
        if not is_news and (rtt is None or health.state is Liveness.LEFT):
            return []
        newest = hello if is_news or health.hello is None else health.hello
        effects = self._move(peer_id, Liveness.LEFT if newest.leaving else Liveness.ALIVE, now)
        self._peers[peer_id] = replace(
            self._peers[peer_id],
            heard=now,
            hello=newest,
            failures=0,
            rtt=health.rtt if rtt is None else rtt,
        )
        if is_news and not hello.leaving:
            effects.append(HeadSeen(peer_id, hello.round, hello.head, hello.attempt))
        return effects

    def on_failure(self, peer_id: str, now: float) -> list[Effect]:
        """A probe was not answered."""
        self._probing.discard(peer_id)
        health = self._peers.get(peer_id)
        if health is None:
            return []
        self._peers[peer_id] = replace(health, failures=health.failures + 1)
        return self._judge(peer_id, now)

    def _judge(self, peer_id: str, now: float) -> list[Effect]:
        health = self._peers[peer_id]
        if health.heard is None or health.state in {Liveness.LEFT, Liveness.UNREACHABLE}:
            return []
        silence = (now - health.heard) / self.interval
        if silence >= UNREACHABLE_AFTER_INTERVALS:
            return self._move(peer_id, Liveness.UNREACHABLE, now)
        if silence >= SUSPECT_AFTER_INTERVALS:
            return self._move(peer_id, Liveness.SUSPECT, now)
        return []

    def _move(self, peer_id: str, state: Liveness, now: float) -> list[Effect]:
        health = self._peers[peer_id]
        if health.state is state:
            return []
        self._peers[peer_id] = replace(health, state=state, since=now)
        return [StateChanged(peer_id, health.state, state)]


def _excused(health: PeerHealth, gap: float) -> PeerHealth:
    return health if health.heard is None else replace(health, heard=health.heard + gap)
