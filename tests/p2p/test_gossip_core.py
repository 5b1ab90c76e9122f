"""Gossip as a pure state machine: what silence means, and who may say what."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2p.envelope import seal
from p2p.errors import LimitError, ProtocolError
from p2p.gossip.core import SwimCore
from p2p.gossip.effects import (
    Effect,
    HeadSeen,
    Liveness,
    Located,
    Probe,
    ProbeThrough,
    StateChanged,
    Witnessed,
    Woke,
)
from p2p.gossip.hello import Accusation, Digest, Hello, Said, parse_hello
from p2p.gossip.packets import Codec, to_bytes
from p2p.gossip.rumours import Statement
from p2p.gossip.suspicion import Suspicion
from p2p.identity import Identity
from p2p.limits import (
    INDIRECT_PROBES,
    LATE_SECONDS,
    MAX_RUMOUR_BYTES,
    MAX_RUMOURS,
    PROBE_FANOUT,
    STALL_SECONDS,
)

ME, ADA, BOB, EVE, ZOE = (letter * 52 for letter in "mabez")


def hello(seq: int, *, incarnation: int = 1, **fields: Any) -> Hello:
    defaults = {"round": 1, "head": "", "attempt": 0, "port": 1}
    return Hello(incarnation=incarnation, seq=seq, **(defaults | fields))


def said(signer: str, what: Said) -> Statement:
    return Statement(signer, what, f"{signer[0]}{what!r}".encode())


def accusation(signer: str, of: str, incarnation: int = 1) -> Statement:
    return said(signer, Accusation(peer=of, incarnation=incarnation))


def core(*members: str) -> SwimCore:
    return SwimCore(
        ME,
        [ME, *members],
        0.0,
        hello=hello(0),
        speak=lambda what: said(ME, what),
        choose=random.Random(1),
        interval=1.0,
    )


def heard(c: SwimCore, peer: str, now: float, seq: int = 1, **fields: Any) -> list[Effect]:
    """``peer`` answers a probe, or seems to."""
    return c.on_packet(peer, [said(peer, hello(seq, **fields))], now, rtt=0.02)


def states(c: SwimCore) -> dict[str, str]:
    return {p: h.state.value for p, h in c.peers().items()}


def of_kind(effects: list[Effect], kind: type) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


def run(c: SwimCore, start: float, end: float, step: float = 0.25) -> list[Effect]:
    effects: list[Effect] = []
    now = start
    while now <= end:
        effects += c.on_timer(now)
        now += step
    return effects


def fail_all(c: SwimCore, effects: list[Effect], now: float) -> list[Effect]:
    """Nobody answers any of these probes, nor do helpers find out more."""
    out: list[Effect] = []
    for effect in effects:
        match effect:
            case Probe(peer_id):
                out += fail_all(c, c.on_failure(peer_id, now), now)
            case ProbeThrough(peer_id, helper):
                out += fail_all(c, c.on_witness(peer_id, helper, None, True, now), now)
            case _:
                out.append(effect)
    return out


def accuse(c: SwimCore, peer: str, now: float) -> list[Effect]:
    """Probes until ``peer`` was asked and did not answer; the others do."""
    while True:
        effects = c.on_timer(now)
        mine = [e for e in effects if isinstance(e, Probe) and e.peer_id == peer]
        for probe in of_kind(effects, Probe):
            if probe.peer_id != peer:
                known = c.peers()[probe.peer_id].hello
                heard(c, probe.peer_id, now, seq=1 + (known.seq if known else 0))
        if mine:
            return fail_all(c, list(mine), now)
        now += 0.25


# --- probing --------------------------------------------------------------------------------
def test_everybody_else_is_probed_at_the_start() -> None:
    c = core(ADA, BOB)
    probed = [e.peer_id for e in run(c, 0, 1) if isinstance(e, Probe)]
    assert sorted(probed) == sorted([ADA, BOB]), "each once: a probe under way is not repeated"


def test_nobody_is_alive_before_it_proved_so() -> None:
    c = core(ADA)
    assert states(c) == {ADA: "unreachable"}
    assert c.alive() == set()


def test_an_answer_makes_alive() -> None:
    c = core(ADA)
    effects = heard(c, ADA, 1.0)
    assert StateChanged(ADA, Liveness.UNREACHABLE, Liveness.ALIVE) in effects
    assert c.alive() == {ADA}
    assert c.peers()[ADA].rtt == 0.02


def test_everybody_present_is_probed_in_turn() -> None:
    peers = [letter * 52 for letter in "abcdefghij"]
    c = core(*peers)
    for peer in peers:
        heard(c, peer, 0.0)
    order: list[str] = []
    for second in range(1, 21):
        for probe in of_kind(c.on_timer(float(second)), Probe):
            order.append(probe.peer_id)
            heard(c, probe.peer_id, float(second), seq=second + 1)
    assert len(order) == 20 * PROBE_FANOUT
    for at in range(0, len(order) - 30, 10):
        assert set(order[at : at + 20]) == set(peers), "nobody waits longer than two turns"


def test_the_load_does_not_depend_on_the_size_of_the_room() -> None:
    def probes(count: int) -> int:
        peers = ["".join(chr(97 + d) for d in (i // 26, i % 26)) * 26 for i in range(count)]
        c = core(*peers)
        for peer in peers:
            heard(c, peer, 0.0)
        sent = 0
        for tick in range(4 * 30):
            for probe in of_kind(c.on_timer(tick / 4), Probe):
                sent += 1
                budget = MAX_RUMOUR_BYTES + 1000
                assert sum(len(s.data) for s in probe.packet[:-1]) < budget
                heard(c, probe.peer_id, tick / 4, seq=2 + tick)
        return sent

    assert probes(10) == probes(100)


def test_who_left_or_is_missed_is_still_probed() -> None:
    c = core(ADA)
    heard(c, ADA, 0.1, leaving=True)
    assert [p.peer_id for p in of_kind(run(c, 0, 1), Probe)] == [ADA]


def test_a_new_address_of_a_missed_member_is_tried_at_once() -> None:
    c = core(ADA, BOB)
    heard(c, BOB, 0.0)
    assert [p.peer_id for p in of_kind(c.on_hint(ADA, 0.1), Probe)] == [ADA]
    assert c.on_hint(ADA, 0.2) == [], "it is being tried"
    assert c.on_hint(BOB, 0.2) == [], "it is here"
    assert c.on_hint(ZOE, 0.2) == [], "it is no member"


# --- silence --------------------------------------------------------------------------------
def test_silence_is_suspicion_first_and_absence_later() -> None:
    c = core(ADA, BOB)
    heard(c, ADA, 0.0)
    heard(c, BOB, 0.0)
    effects = accuse(c, ADA, 1.0)
    assert StateChanged(ADA, Liveness.ALIVE, Liveness.SUSPECT) in effects
    assert c.alive() == {ADA, BOB}, "suspicion alone takes nothing away"
    run(c, 3.0, 4.75)
    assert states(c)[ADA] == "suspect"
    run(c, 5.0, 8.0)
    assert states(c)[ADA] == "unreachable"
    assert c.alive() == {BOB}


def test_others_are_asked_before_anybody_is_accused() -> None:
    c = core(ADA, BOB, EVE, ZOE)
    for peer in (ADA, BOB, EVE, ZOE):
        heard(c, peer, 0.0)
    c.on_timer(0.25)
    c._probe(ADA, 1.0)
    asked = of_kind(c.on_failure(ADA, 1.5), ProbeThrough)
    assert {probe.helper for probe in asked} == {BOB, EVE, ZOE}
    assert len(asked) == INDIRECT_PROBES
    assert states(c)[ADA] == "alive"
    c.on_witness(ADA, BOB, None, True, 1.6)
    fresh = said(ADA, hello(2))
    effects = c.on_witness(ADA, EVE, fresh, True, 1.7)
    assert Witnessed(ADA, EVE) in effects
    assert states(c)[ADA] == "alive"
    assert c.on_witness(ADA, ZOE, None, True, 1.8) == []


def test_a_witness_cannot_bring_back_an_old_hello() -> None:
    c = core(ADA, BOB)
    heard(c, ADA, 0.0, seq=5)
    heard(c, BOB, 0.0)
    c._probe(ADA, 1.0)
    c.on_failure(ADA, 1.5)
    c.on_witness(ADA, BOB, said(ADA, hello(5)), True, 1.6)
    assert states(c)[ADA] == "suspect"


def test_hearing_from_a_suspect_itself_clears_it() -> None:
    c = core(ADA, BOB)
    heard(c, ADA, 0.0)
    heard(c, BOB, 0.0)
    accuse(c, ADA, 1.0)
    c.on_packet(ADA, [said(ADA, hello(2))], 3.0)
    assert states(c)[ADA] == "alive"
    run(c, 3.25, 30)
    assert states(c)[ADA] == "alive"
    for _ in range(50):
        c.packet(BOB, 31.0)
    told = [s.said for s in c.packet(ADA, 31.0)]
    assert Accusation(peer=ADA, incarnation=1) in told, "so that it contradicts for the others"


def test_last_words_of_the_dead_refute_nothing() -> None:
    c = core(ADA, BOB)
    heard(c, ADA, 0.0)
    heard(c, BOB, 0.0)
    accuse(c, ADA, 1.0)
    c.on_rumours(BOB, [said(ADA, hello(7))], 2.0)
    assert states(c)[ADA] == "suspect"
    c.on_rumours(BOB, [said(ADA, hello(0, incarnation=2))], 2.5)
    assert states(c)[ADA] == "alive"


def test_confirmations_shorten_a_suspicion() -> None:
    def seconds(*accusers: str) -> float:
        suspicion = Suspicion.begin(0.0, 10, 1.0)
        for accuser in accusers:
            suspicion.confirm(accuser)
        return suspicion.deadline

    assert seconds("a") == 24.0
    assert seconds("a") > seconds("a", "b") > seconds("a", "b", "c") > seconds("a", "b", "c", "d")
    assert seconds("a", "a", "a") == seconds("a"), "one voice counts once"
    assert seconds("a", "b", "c", "d") == 4.0
    suspicion = Suspicion.begin(0.0, 10, 1.0)
    assert [suspicion.confirm(a) for a in "aabcde"] == [True, False, True, True, True, False]
    assert Suspicion.begin(0.0, 3, 1.0).deadline == 4.0, "nobody could confirm"
    assert Suspicion.begin(0.0, 100, 1.0).shortest == 8.0


def test_our_own_sleep_is_not_held_against_others() -> None:
    c = core(ADA)
    heard(c, ADA, 0.0)
    accuse(c, ADA, 1.0)
    before = c.hello.incarnation
    effects = c.on_timer(8 * 3600.0)
    assert of_kind(effects, Woke)
    assert states(c)[ADA] == "suspect"
    assert c.hello.incarnation == before + 1
    assert of_kind(effects, Probe)[0].packet[-1].said.known.keys() == {ADA}  # type: ignore[union-attr]
    run(c, 8 * 3600.0 + 0.25, 8 * 3600.0 + 15)
    assert states(c)[ADA] == "unreachable", "after waking the usual patience applies"


def test_a_timer_that_is_a_little_late_is_no_sleep() -> None:
    c = core(ADA)
    c.on_timer(1.0)
    assert not of_kind(c.on_timer(1.0 + STALL_SECONDS), Woke)


def test_a_timeout_noticed_late_accuses_nobody() -> None:
    c = core(ADA)
    heard(c, ADA, 0.0)
    probe = c._probe(ADA, 1.0)
    assert c.on_failure(ADA, 1.0 + probe.timeout + 2 * LATE_SECONDS) == []
    assert states(c)[ADA] == "alive"
    assert c.patience == 2, "it was us"


def test_who_doubts_itself_gives_the_others_more_time() -> None:
    c = core(ADA, BOB)
    heard(c, ADA, 0.0)
    heard(c, BOB, 0.0)
    for second in range(1, 20):
        c._probe(ADA, float(second))
        for probe in of_kind(c.on_failure(ADA, second + 0.1), ProbeThrough):
            c.on_witness(ADA, probe.helper, None, False, second + 0.2)
    assert c.patience == 8, "not even the helpers answered"
    assert c._probe(BOB, 20.0).timeout == 8 * 1.5
    for _ in range(7):
        c._probe(BOB, 20.0)
        heard(c, BOB, 20.0)
    assert c.patience == 1


# --- what is said of us ------------------------------------------------------------------------
def test_we_contradict_an_accusation_with_a_greater_incarnation() -> None:
    c = core(ADA, BOB)
    heard(c, ADA, 0.0)
    heard(c, BOB, 0.0)
    c.on_rumours(ADA, [accusation(BOB, ME)], 1.0)
    assert c.hello.incarnation == 2
    c.on_rumours(ADA, [accusation(ADA, ME)], 1.1)
    assert c.hello.incarnation == 2, "that one is answered already"
    c.on_rumours(ADA, [accusation(ADA, ME, incarnation=99)], 1.2)
    assert c.hello.incarnation == 2, "nobody can have heard that from us"
    (own, *_) = c.packet(ADA, 1.3)
    assert own.said.order > (2, 0)  # type: ignore[union-attr]


def test_one_liar_alone_makes_nobody_unreachable() -> None:
    c = core(ADA, BOB, EVE, ZOE)
    for peer in (ADA, BOB, EVE, ZOE):
        heard(c, peer, 0.0)
    for second in range(60):
        now = float(second)
        incarnation = c.peers()[ADA].hello.incarnation  # type: ignore[union-attr]
        c.on_rumours(EVE, [accusation(EVE, ADA, incarnation)] * 5, now)
        run(c, now, now + 0.75)
        if second % 10 == 9:
            c.on_rumours(BOB, [said(ADA, hello(0, incarnation=incarnation + 1))], now)
    assert ADA in c.alive()


def test_one_liar_alone_makes_nobody_doubt_itself_or_talk_without_end() -> None:
    """Ten accusations a second are within the budget of requests that a member has."""
    c = core(ADA, EVE, ZOE)
    for peer in (ADA, EVE, ZOE):
        heard(c, peer, 0.0)
    run(c, 0.0, 1.0)
    probes = 0
    for step in range(300):
        now = 1.0 + step / 10
        c.on_rumours(EVE, [accusation(EVE, ME, c.hello.incarnation)], now)
        effects = c.on_timer(now)
        for probe in of_kind(effects, Probe):
            probes += 1
            heard(c, probe.peer_id, now, seq=2 + step)
    assert c.patience <= 2
    assert c.hello.incarnation <= 1 + 30 + 1
    assert probes <= PROBE_FANOUT * 2 * 31
    run(c, 31.0, 39.9, step=0.1)
    before = c.hello.incarnation
    for accuser, now in ((ADA, 40.0), (ZOE, 40.1)):
        c.on_rumours(accuser, [accusation(accuser, ME, c.hello.incarnation)], now)
    run(c, 40.2, 42.0, step=0.1)
    assert c.hello.incarnation == before + 2, "each is answered all the same"


def test_strangers_accuse_nobody() -> None:
    c = core(ADA, BOB)
    heard(c, ADA, 0.0)
    assert not c.is_news(EVE, Accusation(peer=ADA, incarnation=1))
    c.on_rumours(BOB, [accusation(EVE, ADA), accusation(BOB, ZOE), accusation(ME, ADA)], 1.0)
    assert states(c)[ADA] == "alive"


# --- what is passed on ----------------------------------------------------------------------------
def test_records_of_others_travel_second_hand() -> None:
    c = core(ADA, BOB, EVE)
    heard(c, BOB, 0.0)
    heard(c, EVE, 0.0)
    record = said(ADA, hello(3, round=4, head="cd", attempt=1, hosts=("10.0.0.7",), port=7))
    effects = c.on_rumours(BOB, [record], 0.5)
    assert HeadSeen(ADA, 4) in effects
    assert str(of_kind(effects, Located)[0].addresses[0]) == "10.0.0.7:7"
    assert states(c)[ADA] == "alive"
    assert record in c.packet(EVE, 0.6), "passed on as it was signed"
    assert record not in c.packet(BOB, 0.6), "not to whom we have it from"
    assert record not in c.packet(ADA, 0.6), "nor to its author"


def test_a_rumour_dies_out() -> None:
    c = core(ADA, BOB)
    heard(c, BOB, 0.0)
    c.on_rumours(BOB, [said(ADA, hello(3))], 0.5)
    told = sum(any(s.signer == ADA for s in c.packet(EVE, 0.5)) for _ in range(50))
    assert 1 <= told <= 8


def test_a_packet_is_bounded() -> None:
    peers = [letter * 52 for letter in "abcdefghijkl"]
    c = core(*peers)
    for peer in peers:
        heard(c, peer, 0.0, status={f"k{i}": "x" * 20 for i in range(20)})
    packet = c.packet(peers[0], 1.0)
    assert 1 < len(packet) < len(peers)
    assert sum(len(s.data) for s in packet[1:]) <= MAX_RUMOUR_BYTES


def test_only_news_is_reported() -> None:
    c = core(ADA)
    assert HeadSeen(ADA, 4) in heard(c, ADA, 1, seq=5, round=4, head="ab", attempt=2)
    assert not of_kind(heard(c, ADA, 2, seq=5, round=9), HeadSeen)
    assert not of_kind(heard(c, ADA, 2, seq=4, round=9), HeadSeen)
    assert HeadSeen(ADA, 9) in heard(c, ADA, 3, seq=0, incarnation=2, round=9)
    assert not of_kind(heard(c, ADA, 4, seq=99, incarnation=1, round=1), HeadSeen)
    assert c.peers()[ADA].hello == hello(0, incarnation=2, round=9)


def test_a_digest_is_answered_with_what_its_sender_lacks() -> None:
    c = core(ADA, BOB, EVE)
    for peer in (ADA, BOB):
        heard(c, peer, 0.0, seq=5)
    known = {ADA: (1, 5), BOB: (1, 4)}
    _, reply = c.answer(EVE, [said(EVE, hello(1)), said(EVE, Digest(known=known))], 40.0)
    hellos = [s.signer for s in reply if isinstance(s.said, Hello)]
    assert hellos.count(BOB) == 1
    for _ in range(30):
        c.packet(EVE, 41.0)
    _, reply = c.answer(EVE, [said(EVE, hello(2)), said(EVE, Digest(known=known))], 42.0)
    assert [s.signer for s in reply] == [ME, BOB]


def test_leaving_is_immediate_and_lasts_until_a_new_start() -> None:
    c = core(ADA, BOB)
    heard(c, ADA, 1.0)
    heard(c, BOB, 1.0)
    effects = c.on_rumours(BOB, [said(ADA, hello(3, leaving=True))], 2.0)
    assert StateChanged(ADA, Liveness.ALIVE, Liveness.LEFT) in effects
    assert ADA not in c.alive()
    heard(c, ADA, 2.1, seq=2)
    run(c, 2.25, 30)
    assert states(c)[ADA] == "left", "an answer sent before the goodbye does not undo it"
    heard(c, ADA, 31.0, seq=0, incarnation=2)
    assert states(c)[ADA] == "alive"


def test_strangers_and_removed_members_change_nothing() -> None:
    c = core(ADA)
    assert heard(c, ZOE, 1.0) == []
    assert c.on_failure(ZOE, 1.0) == []
    heard(c, ADA, 1.0)
    c.set_members([ME, BOB], 2.0)
    assert states(c) == {BOB: "unreachable"}
    assert heard(c, ADA, 2.0, seq=2) == []
    c.set_members([ME, ADA, BOB], 3.0)
    assert states(c)[ADA] == "unreachable", "whoever is admitted again starts anew"


class AnythingGoes(RuleBasedStateMachine):
    """No sequence of members' messages breaks the core or stops an honest pair from probing."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.core = core(ADA, BOB, EVE)
        self.under_way: set[str] = set()
        self.asked: set[tuple[str, str]] = set()

    def act(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Probe(peer_id):
                    assert peer_id not in self.under_way
                    self.under_way.add(peer_id)
                case ProbeThrough(peer_id, helper):
                    self.asked.add((peer_id, helper))

    @rule(after=st.floats(0, 4))
    def tick(self, after: float) -> None:
        self.now += after
        self.act(self.core.on_timer(self.now))

    @rule(
        peer=st.sampled_from([ADA, BOB, EVE, ME, ZOE]),
        incarnation=st.integers(0, 3),
        seq=st.integers(0, 10),
        leaving=st.booleans(),
        answers=st.booleans(),
        accused=st.sampled_from([ADA, BOB, ME, ZOE]),
        about=st.sampled_from([ADA, BOB, ME, ZOE]),
    )
    def receive(
        self, peer: str, incarnation: int, seq: int, leaving: bool, answers: bool,
        accused: str, about: str,
    ) -> None:  # fmt: skip
        is_answer = answers and peer in self.under_way
        packet = [
            said(peer, hello(seq, incarnation=incarnation, leaving=leaving)),
            accusation(peer, accused, incarnation),
            said(about, hello(seq, incarnation=incarnation)),
        ]
        before = {p: h.hello for p, h in self.core.peers().items()}
        own = self.core.hello.order
        if is_answer:
            self.under_way.discard(peer)
            self.act(self.core.on_packet(peer, packet, self.now, rtt=0.1))
        else:
            self.act(self.core.answer(peer, packet, self.now)[0])
        assert self.core.hello.order >= own
        for name, health in self.core.peers().items():
            known = before[name]
            assert known is None or (health.hello and health.hello.order >= known.order)

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        if self.under_way:
            peer = data.draw(st.sampled_from(sorted(self.under_way)))
            effects = self.core.on_failure(peer, self.now)
            if not any(isinstance(effect, ProbeThrough) for effect in effects):
                self.under_way.discard(peer)
            self.act(effects)

    @rule(data=st.data(), answered=st.booleans(), seq=st.none() | st.integers(0, 12))
    def witness(self, data: st.DataObject, answered: bool, seq: int | None) -> None:
        if self.asked:
            peer, helper = data.draw(st.sampled_from(sorted(self.asked)))
            self.asked.discard((peer, helper))
            seen = None if seq is None else said(peer, hello(seq))
            self.act(self.core.on_witness(peer, helper, seen, answered, self.now))
            if peer not in self.core._probes:
                self.under_way.discard(peer)

    @invariant()
    def only_members_are_known(self) -> None:
        if hasattr(self, "core"):
            assert self.core.peers().keys() == {ADA, BOB, EVE}

    @invariant()
    def a_probe_is_due_again_after_its_end(self) -> None:
        if hasattr(self, "core"):
            assert self.core._probes.keys() <= self.under_way
            assert self.core._next_round <= self.now + 8.0


TestAnythingGoes = AnythingGoes.TestCase


# --- the wire -------------------------------------------------------------------------------
def packet_of(*statements: Statement) -> bytes:
    return to_bytes(statements)


def codec(seed: int) -> tuple[str, Codec]:
    key = Identity.from_seed(bytes([seed]) * 32)
    return key.peer_id, Codec(key, ROOM)


def test_a_packet_round_trips() -> None:
    (ada, of_ada), (bob, of_bob) = codec(1), codec(2)
    packet = [
        of_ada.speak(hello(1)),
        of_bob.speak(hello(2)),
        of_ada.speak(Digest(known={bob: (1, 2)})),
    ]
    assert of_bob.open_packet(ada, to_bytes(packet), lambda *_: True) == packet
    assert of_bob.open_packet(ada, to_bytes(packet), lambda *_: False) == packet[:1]


@pytest.mark.parametrize("place", [0, 1])
def test_a_forged_statement_refuses_the_packet(place: int) -> None:
    (ada, of_ada), (_, of_bob) = codec(1), codec(2)
    parts = [of_ada.speak(hello(1)).data, of_bob.speak(hello(2)).data]
    forged = json.loads(parts[place])
    forged["s"] = json.loads(of_ada.speak(hello(9)).data)["s"]
    parts[place] = json.dumps(forged).encode()
    with pytest.raises(ProtocolError, match="signature"):
        of_bob.open_packet(ada, b"\n".join(parts), lambda *_: True)


def test_a_packet_begins_with_its_senders_hello() -> None:
    (ada, of_ada), (_, of_bob) = codec(1), codec(2)
    for first in (of_bob.speak(hello(1)), of_ada.speak(Digest(known={}))):
        with pytest.raises(ProtocolError):
            of_bob.open_packet(ada, packet_of(first), lambda *_: True)


def test_a_digest_of_somebody_else_is_refused() -> None:
    (ada, of_ada), (_, of_bob) = codec(1), codec(2)
    data = packet_of(of_ada.speak(hello(1)), of_bob.speak(Digest(known={})))
    with pytest.raises(ProtocolError, match="digest"):
        of_bob.open_packet(ada, data, lambda *_: True)


def test_a_packet_with_too_many_statements_is_refused() -> None:
    ada, of_ada = codec(1)
    data = packet_of(*[of_ada.speak(hello(1))] * (MAX_RUMOURS + 2))
    with pytest.raises(LimitError):
        of_ada.open_packet(ada, data, lambda *_: True)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_a_protocol_error(data: bytes) -> None:
    ada, of_ada = codec(1)
    for text in (data, packet_of(of_ada.speak(hello(1))) + b"\n" + data):
        with pytest.raises(ProtocolError):
            of_ada.open_packet(ada, text, lambda *_: True)


# --- the message ----------------------------------------------------------------------------
KEY = Identity.from_seed(bytes(32))
ROOM = "ab" * 32


def sealed(payload: bytes, type_: str = "hello") -> Any:
    return seal(KEY, ROOM, type_, payload)


def test_a_hello_round_trips_through_its_bytes() -> None:
    original = hello(3, status={"state": "training", "step": 7, "on_gpu": True})
    assert parse_hello(sealed(original.to_bytes())) == original


def test_texts_in_a_status_are_cleaned() -> None:
    parsed = parse_hello(
        sealed(
            hello(1).to_bytes()[:-1].replace(b'"status":{', b'"status":{"state":"a\\u001bb"') + b"}"
        )
    )
    assert parsed.status == {"state": "ab"}


@pytest.mark.parametrize(
    "status",
    [
        {"nested": {}},
        {"list": []},
        {"none": None},
        {"UPPER": 1},
        {"": 1},
        {"\x1b": 1},
        {"huge": 1 << 60},
        {"invisible": "\u200b"},
        {"long": "x" * 5000},
        {f"k{i}": 1 for i in range(33)},
        {f"k{i}": "é" * 64 for i in range(20)},
    ],
)
def test_a_status_that_is_not_small_and_flat_is_refused(status: dict[str, Any]) -> None:
    payload = json.loads(hello(1).to_bytes()) | {"status": status}
    with pytest.raises(ProtocolError):
        parse_hello(sealed(json.dumps(payload).encode()))


@pytest.mark.parametrize(
    "change",
    [
        b'"seq":-1',
        b'"seq":1.0',
        b'"seq":"1"',
        b'"seq":true',
        b'"seq":1,"seq":2',
        b'"seq":1,"extra":1',
        b'"seq":9007199254740992',
        b'"seq":1,"hosts":["example.org"]',
        b'"seq":1,"hosts":["0.0.0.0"]',
        b'"seq":1,"hosts":["10.0.0.1","10.0.0.2","10.0.0.3","10.0.0.4","10.0.0.5",'
        b'"10.0.0.6","10.0.0.7","10.0.0.8","10.0.0.9"]',
    ],
)
def test_a_malformed_hello_is_refused(change: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_hello(sealed(hello(1).to_bytes().replace(b'"seq":1', change)))


@given(st.binary(max_size=200))
def test_any_payload_is_a_hello_or_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_hello(sealed(payload))


def test_another_type_is_no_hello() -> None:
    with pytest.raises(ProtocolError):
        parse_hello(sealed(hello(1).to_bytes(), "vote"))
