"""Who is there, without I/O: SWIM with Lifeguard's local health, over statements that are signed.

Events go in with the time they happened (monotonic seconds), effects come out. Each interval a
node probes a few members, the next ones of a shuffled list; who does not answer is probed through
others, then accused, and has until the end of a suspicion to contradict with a greater
incarnation. Everything a node learns rides on those probes and their answers, so its traffic does
not depend on the size of the room.

Nobody can speak for another: a member's record is signed by itself, an accusation by the accuser,
and a member is unreachable only in the eyes of those whose own suspicion ran out. The states
steer attention (whom to ask first, what people see) and never rights: an unreachable voter is
still a voter.

SWIM: Das, Gupta, Motivala, DSN 2002. Lifeguard: Dadgar, Phillips, Currey, arXiv 1707.00788.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from p2p.gossip.effects import (
    PRESENT,
    Effect,
    HeadSeen,
    Liveness,
    Located,
    PeerHealth,
    Probe,
    ProbeThrough,
    StateChanged,
    Witnessed,
    Woke,
)
from p2p.gossip.hello import Accusation, Digest, Hello, Said
from p2p.gossip.rumours import Rumours, Statement
from p2p.gossip.suspicion import LocalHealth, Suspicion
from p2p.limits import (
    ACCUSER_PAUSE,
    INDIRECT_PROBES,
    INDIRECT_TIMEOUT,
    LATE_SECONDS,
    MAX_MESSAGE_BYTES,
    PROBE_FANOUT,
    PROBE_INTERVAL,
    PROBE_TIMEOUT,
    SPREAD_INTERVAL,
    STALL_SECONDS,
    SYNC_INTERVAL,
    SYNC_SAMPLE,
)

_SYNC_BYTES: Final = MAX_MESSAGE_BYTES // 2
"""Hellos in one answer to a digest."""


Speak = Callable[[Said], Statement]


@dataclass
class _Record:
    """One other member. ``statement`` is its newest Hello as signed; ``accused`` an accusation
    it has not answered yet; ``rumoured`` says that others heard from it while we do not."""

    health: PeerHealth
    statement: Statement | None = None
    spread_at: float = -math.inf
    suspicion: Suspicion | None = None
    accused: Statement | None = None
    rumoured: bool = False


@dataclass
class _Probing:
    started: float
    timeout: float
    order: tuple[int, int]
    with_digest: bool
    waiting: set[str] = field(default_factory=set)
    silent_helpers: int = 0


class SwimCore:
    """The state machine of one node. ``on_timer`` is called a few times per interval.

    ``hello`` is what we say first of ourselves, ``speak`` signs in our name, ``choose`` is the
    source of chance.
    """

    def __init__(
        self,
        me: str,
        members: Collection[str],
        now: float,
        *,
        hello: Hello,
        speak: Speak,
        choose: random.Random,
        interval: float = PROBE_INTERVAL,
    ) -> None:
        self._me = me
        self._hello = hello
        self._speak = speak
        self._choose = choose
        self._interval = interval
        self._sealed: Statement | None = None
        self._sealed_at = now
        self._rumours = Rumours()
        self._local = LocalHealth()
        self._records: dict[str, _Record] = {}
        self._probes: dict[str, _Probing] = {}
        self._accused_by: dict[str, float] = {}
        self._is_accused = False
        self._refuted_at = -math.inf
        self._present, self._absent = _Ring(choose), _Ring(choose)
        self._last_timer = self._next_round = self._next_sync = now
        self._synced = False
        self.set_members(members, now)

    # --- what is known -----------------------------------------------------------------------
    @property
    def hello(self) -> Hello:
        """What we say of ourselves."""
        return self._hello

    @property
    def patience(self) -> int:
        """Lifeguard's multiplier of our intervals and timeouts, 1 (we are well) to 8."""
        return self._local.multiplier

    def peers(self) -> dict[str, PeerHealth]:
        """Everything known of the others, by peer id."""
        return {peer: record.health for peer, record in self._records.items()}

    def alive(self) -> set[str]:
        """Members that are there, without ourselves; suspects count until their time is up."""
        return {p for p, record in self._records.items() if record.health.state in PRESENT}

    def set_members(self, members: Collection[str], now: float) -> None:
        """Forgets whoever is no member any more and begins to look for the new ones."""
        others = set(members) - {self._me}
        for gone in self._records.keys() - others:
            del self._records[gone]
            self._probes.pop(gone, None)
            self._accused_by.pop(gone, None)
            self._rumours.forget(gone)
        for peer in sorted(others - self._records.keys()):
            self._records[peer] = _Record(PeerHealth(peer, since=now))
            self._next_round = now

    # --- what we say ---------------------------------------------------------------------------
    def update(self, now: float, **fields: Any) -> None:
        """Changes what we say of ourselves; a new head or our leaving is told at once."""
        if all(getattr(self._hello, name) == value for name, value in fields.items()):
            return
        if {"head", "leaving"} & fields.keys():
            self._next_round = min(self._next_round, now)
        self._hello = self._hello.model_copy(update=fields)
        self._sealed = None

    def packet(self, to: str, now: float) -> tuple[Statement, ...]:
        """What to send to a member now: our own Hello, then what it should know of others."""
        packet = [self._own(now)]
        record = self._records.get(to)
        if record is not None and record.accused is not None:
            packet.append(record.accused)
        packet += [s for s in self._rumours.take(to) if s not in packet]
        return tuple(packet)

    def answer(
        self, sender: str, packet: Sequence[Statement], now: float, *, directly: bool = True
    ) -> tuple[list[Effect], tuple[Statement, ...]]:
        """Takes the probe of ``sender``, which came over a relay or ``directly``; returns the
        effects and the packet to answer with."""
        effects = self.on_packet(sender, packet, now)
        if directly and (record := self._records.get(sender)) is not None:
            record.health = replace(record.health, called=now)
        reply = self.packet(sender, now)
        for statement in packet:
            if isinstance(statement.said, Digest) and statement.signer == sender:
                reply += tuple(s for s in self._missing(statement.said) if s not in reply)
        return effects, reply

    def is_news(self, signer: str, said: Said) -> bool:
        """Whether a statement would change anything, so that its signature is worth checking."""
        if isinstance(said, Digest):
            return True
        if isinstance(said, Hello):
            record = self._records.get(signer)
            return record is not None and _is_newer(said, record.health.hello)
        if signer == self._me or signer not in self._records:
            return False
        if said.peer == self._me:
            return said.incarnation == self._hello.incarnation
        accused = self._records.get(said.peer)
        known = None if accused is None else accused.health.hello
        return known is not None and said.incarnation == known.incarnation

    # --- events --------------------------------------------------------------------------------
    def on_timer(self, now: float) -> list[Effect]:
        """Probes that are due, and suspicions whose time is up."""
        effects: list[Effect] = []
        gap = now - self._last_timer
        self._last_timer = now
        if gap > max(LATE_SECONDS, self._interval):
            # We were the silent one: everybody gets the time back before being judged.
            self._excuse(gap)
            self._local.worse()
        if gap > STALL_SECONDS:
            effects.append(Woke(gap))
            self._raise_incarnation(now)
            self._synced = False
        self._refute(now)
        for record in self._records.values():
            suspicion = record.suspicion
            if suspicion is not None and now >= suspicion.deadline:
                effects += self._move(record, Liveness.UNREACHABLE, now)
        if now >= self._next_round:
            self._next_round = now + self._interval * self._local.multiplier
            effects += self._probe_some(now)
        return effects

    def on_hint(self, peer_id: str, now: float) -> list[Effect]:
        """There is a new address of a member that we miss: try it without waiting."""
        record = self._records.get(peer_id)
        if record is None or peer_id in self._probes or record.health.state in PRESENT:
            return []
        return [self._probe(peer_id, now)]

    def on_packet(
        self, sender: str, packet: Sequence[Statement], now: float, rtt: float | None = None
    ) -> list[Effect]:
        """A packet arrived from ``sender`` itself, as a probe or (with ``rtt``) an answer.

        The first statement is its own Hello. An old one (two crossed on the way) still proves
        that the sender is there, unless it has left.
        """
        if rtt is not None:
            self._local.better()
            probing = self._probes.pop(sender, None)
            if probing is not None and probing.with_digest:
                self._synced = True
                self._next_sync = now + SYNC_INTERVAL * self._choose.uniform(0.8, 1.2)
        record = self._records.get(sender)
        if record is None:
            return []
        hello = packet[0].said
        assert isinstance(hello, Hello)
        is_news = _is_newer(hello, record.health.hello)
        effects: list[Effect] = []
        if is_news or record.health.state is not Liveness.LEFT:
            if is_news:
                effects += self._learn(record, packet[0], sender, now)
            left = record.health.hello is not None and record.health.hello.leaving
            effects += self._move(record, Liveness.LEFT if left else Liveness.ALIVE, now)
            record.health = replace(record.health, heard=now)
            if rtt is not None:
                record.health = replace(record.health, rtt=rtt, failures=0)
        return effects + self.on_rumours(sender, packet[1:], now)

    def on_rumours(self, source: str, statements: Iterable[Statement], now: float) -> list[Effect]:
        """What ``source`` passed on: verified statements of any members."""
        effects: list[Effect] = []
        for statement in statements:
            if not self.is_news(statement.signer, statement.said):
                continue
            match statement.said:
                case Hello():
                    effects += self._on_second_hand(statement, source, now)
                case Accusation():
                    effects += self._on_accusation(statement, source, now)
                case Digest():
                    pass  # Only the one who answers it cares.
        return effects

    def on_failure(self, peer_id: str, now: float) -> list[Effect]:
        """A probe was not answered in time, or refused."""
        probing, record = self._probes.get(peer_id), self._records.get(peer_id)
        if probing is None or record is None:
            return []
        if now - probing.started > probing.timeout + LATE_SECONDS:
            # A timeout that is noticed late says more about us than about the peer.
            self._local.worse()
            del self._probes[peer_id]
            return []
        health = replace(record.health, failures=record.health.failures + 1)
        record.health = health
        missed = health.state in PRESENT or record.rumoured
        helpers = self._helpers(peer_id) if missed else []
        if not helpers:
            del self._probes[peer_id]
            return self._accuse(record, now)
        probing.waiting = set(helpers)
        timeout = INDIRECT_TIMEOUT * self._local.multiplier
        return [ProbeThrough(peer_id, helper, timeout) for helper in helpers]

    def on_witness(
        self, peer_id: str, helper: str, seen: Statement | None, answered: bool, now: float
    ) -> list[Effect]:
        """``helper`` probed a member for us. ``seen`` is the Hello it got; without one,
        ``answered`` says whether the helper at least told us so."""
        probing, record = self._probes.get(peer_id), self._records.get(peer_id)
        if probing is None or record is None or helper not in probing.waiting:
            return []
        probing.waiting.discard(helper)
        said = None if seen is None or seen.signer != peer_id else seen.said
        if seen is not None and isinstance(said, Hello) and said.order > probing.order:
            del self._probes[peer_id]
            record.rumoured = False
            is_news = _is_newer(said, record.health.hello)
            effects = self._learn(record, seen, helper, now) if is_news else []
            effects += self._move(record, Liveness.LEFT if said.leaving else Liveness.ALIVE, now)
            record.health = replace(record.health, heard=now)
            return [*effects, Witnessed(peer_id, helper)]
        probing.silent_helpers += not answered
        if probing.waiting:
            return []
        del self._probes[peer_id]
        record.rumoured = False
        if probing.silent_helpers:
            self._local.worse()
        return self._accuse(record, now)

    # --- probing -------------------------------------------------------------------------------
    def _probe_some(self, now: float) -> list[Effect]:
        """The next few members that are there, and always one that is not."""
        free = self._records.keys() - self._probes.keys()
        alive = self.alive()
        targets = self._present.take(free & alive, PROBE_FANOUT)
        targets += self._absent.take(free - alive, max(1, PROBE_FANOUT - len(targets)))
        return [self._probe(peer, now) for peer in targets]

    def _probe(self, peer_id: str, now: float) -> Probe:
        packet = self.packet(peer_id, now)
        with_digest = not self._synced or now >= self._next_sync
        if with_digest:
            packet += (self._speak(self._digest()),)
        hello = self._records[peer_id].health.hello
        timeout = PROBE_TIMEOUT * self._local.multiplier
        order = (-1, -1) if hello is None else hello.order
        self._probes[peer_id] = _Probing(now, timeout, order, with_digest)
        return Probe(peer_id, packet, timeout)

    def _helpers(self, peer_id: str) -> list[str]:
        able = [
            peer
            for peer, record in self._records.items()
            if record.health.state is Liveness.ALIVE and peer != peer_id
        ]
        return self._choose.sample(able, min(INDIRECT_PROBES, len(able)))

    def _digest(self) -> Digest:
        """Everything the first time, later a sample of constant size."""
        peers = list(self._records)
        if self._synced:
            peers = self._choose.sample(peers, min(SYNC_SAMPLE, len(peers)))
        hellos = {peer: self._records[peer].health.hello for peer in peers}
        return Digest(known={p: (0, 0) if h is None else h.order for p, h in hellos.items()})

    def _missing(self, digest: Digest) -> list[Statement]:
        newer: list[Statement] = []
        budget = _SYNC_BYTES
        for peer, order in digest.known.items():
            record = self._records.get(peer)
            if record is None or record.statement is None or record.health.hello is None:
                continue
            present = record.health.state is not Liveness.UNREACHABLE
            size = len(record.statement.data)
            if present and record.health.hello.order > order and size <= budget:
                newer.append(record.statement)
                budget -= size
        return newer

    # --- what others say -----------------------------------------------------------------------
    def _on_second_hand(self, statement: Statement, source: str, now: float) -> list[Effect]:
        record, hello = self._records[statement.signer], statement.said
        assert isinstance(hello, Hello)
        before = record.health.hello
        effects = self._learn(record, statement, source, now)
        if hello.leaving:
            return effects + self._move(record, Liveness.LEFT, now)
        # A dead member's last words may still travel: only a new incarnation brings it back.
        if before is None or hello.incarnation > before.incarnation:
            effects += self._move(record, Liveness.ALIVE, now)
        if record.health.state is Liveness.UNREACHABLE:
            record.rumoured = True
        else:
            record.health = replace(record.health, heard=now)
        return effects

    def _on_accusation(self, statement: Statement, source: str, now: float) -> list[Effect]:
        accusation = statement.said
        assert isinstance(accusation, Accusation)
        if accusation.peer == self._me:
            self._on_accused(statement.signer, now)
            return []
        record = self._records[accusation.peer]
        effects: list[Effect] = []
        if record.health.state is Liveness.ALIVE:
            record.suspicion = Suspicion.begin(now, len(self._records) + 1, self._interval)
            effects = self._move(record, Liveness.SUSPECT, now)
        suspicion = record.suspicion
        if suspicion is not None and suspicion.confirm(statement.signer):
            record.accused = statement
            self._rumours.add(statement, source, self._sends(urgent=True), urgent=True)
        return effects

    def _on_accused(self, accuser: str, now: float) -> None:
        """Somebody misses us. Any member may make that up as often as it likes, so one accuser
        lets us doubt ourselves once in a while only."""
        if now - self._accused_by.get(accuser, -math.inf) >= ACCUSER_PAUSE:
            self._accused_by[accuser] = now
            self._local.worse()
        self._is_accused = True
        self._refute(now)

    def _refute(self, now: float) -> None:
        """Contradicts whoever accused us, at most once per interval."""
        due = now - self._refuted_at >= self._interval
        if self._is_accused and due and not self._hello.leaving:
            self._is_accused = False
            self._refuted_at = now
            self._raise_incarnation(now)

    def _accuse(self, record: _Record, now: float) -> list[Effect]:
        hello = record.health.hello
        if hello is None or record.health.state not in PRESENT:
            return []
        accusation = Accusation(peer=record.health.peer_id, incarnation=hello.incarnation)
        return self._on_accusation(self._speak(accusation), self._me, now)

    # --- inside --------------------------------------------------------------------------------
    def _own(self, now: float) -> Statement:
        """Our Hello, signed anew when it changed or is half an interval old: a helper that got
        it proves that we were there just now."""
        if self._sealed is None or now - self._sealed_at >= self._interval / 2:
            self._hello = self._hello.model_copy(update={"seq": self._hello.seq + 1})
            self._sealed = self._speak(self._hello)
            self._sealed_at = now
        return self._sealed

    def _raise_incarnation(self, now: float) -> None:
        self.update(now, incarnation=self._hello.incarnation + 1)
        self._next_round = min(self._next_round, now)

    def _learn(
        self, record: _Record, statement: Statement, source: str, now: float
    ) -> list[Effect]:
        """Takes a newer Hello and passes it on if it says something new."""
        before, hello = record.health.hello, statement.said
        assert isinstance(hello, Hello)
        peer = record.health.peer_id
        record.statement = statement
        record.health = replace(record.health, hello=hello)
        urgent = before is None or hello.incarnation > before.incarnation or hello.leaving
        if before is not None and hello.incarnation > before.incarnation:
            record.accused = None
            self._rumours.forget_accusations(peer)
        old = now - record.spread_at >= SPREAD_INTERVAL * self._interval
        if urgent or old or _content(hello) != _content(before):
            record.spread_at = now
            self._rumours.add(statement, source, self._sends(urgent=urgent), urgent=urgent)
        effects: list[Effect] = []
        if before is None or (before.hosts, before.port) != (hello.hosts, hello.port):
            effects.append(Located(peer, hello.addresses))
        if not hello.leaving:
            effects.append(HeadSeen(peer, hello.round))
        return effects

    def _sends(self, *, urgent: bool) -> int:
        """In how many packets something is passed on: a few times the logarithm of the room."""
        digits = math.ceil(math.log10(len(self._records) + 2))
        return 4 * digits if urgent else 1 + digits

    def _move(self, record: _Record, state: Liveness, now: float) -> list[Effect]:
        if state is not Liveness.SUSPECT:
            record.suspicion = None
        if state is Liveness.ALIVE:
            record.rumoured = False
        before = record.health.state
        if before is state:
            return []
        record.health = replace(record.health, state=state, since=now)
        return [StateChanged(record.health.peer_id, before, state)]

    def _excuse(self, gap: float) -> None:
        for probing in self._probes.values():
            probing.started += gap
        for record in self._records.values():
            if record.suspicion is not None:
                record.suspicion.started += gap


class _Ring:
    """Everybody in turn, in an order that changes every time around."""

    def __init__(self, choose: random.Random) -> None:
        self._choose = choose
        self._queue: list[str] = []

    def take(self, candidates: Collection[str], count: int) -> list[str]:
        taken: list[str] = []
        for _ in range(2):
            while self._queue and len(taken) < count:
                peer = self._queue.pop()
                if peer in candidates and peer not in taken:
                    taken.append(peer)
            if len(taken) == min(count, len(candidates)):
                break
            self._queue = sorted(set(candidates) - set(taken))
            self._choose.shuffle(self._queue)
        return taken


def _is_newer(hello: Hello, known: Hello | None) -> bool:
    return known is None or hello.order > known.order


def _content(hello: Hello | None) -> object:
    """Everything a Hello says except which one it is."""
    if hello is None:
        return None
    return (hello.round, hello.head, hello.attempt, hello.port, hello.hosts, hello.status)
