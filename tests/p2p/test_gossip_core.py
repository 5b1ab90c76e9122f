"""Liveness as a pure state machine: what silence means, and who may say what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2p.envelope import seal
from p2p.errors import ProtocolError
from p2p.gossip.core import (
    Effect,
    HeadSeen,
    Liveness,
    LivenessCore,
    Probe,
    StateChanged,
    Woke,
)
from p2p.gossip.hello import Hello, parse_hello
from p2p.identity import Identity
from p2p.limits import PROBES_PER_SECOND, STALL_SECONDS

ME, ADA, BOB = "me", "ada", "bob"


def hello(seq: int, *, incarnation: int = 1, **fields: Any) -> Hello:
    defaults = {"round": 1, "head": "", "attempt": 0, "port": 1}
    return Hello(incarnation=incarnation, seq=seq, **(defaults | fields))


def core(*members: str) -> LivenessCore:
    return LivenessCore(ME, [ME, *members], now=0.0, interval=1.0)


def states(c: LivenessCore) -> dict[str, str]:
    return {p: h.state.value for p, h in c.peers().items()}


def changes(effects: list[Effect]) -> list[Effect]:
    return [e for e in effects if isinstance(e, StateChanged)]


def run(c: LivenessCore, start: float, end: float, step: float = 0.25) -> list[Effect]:
    effects: list[Effect] = []
    now = start
    while now <= end:
        effects += c.on_timer(now)
        now += step
    return effects


def test_everybody_else_is_probed_within_one_interval() -> None:
    c = core(ADA, BOB)
    probed = [e.peer_id for e in run(c, 0, 1) if isinstance(e, Probe)]
    assert sorted(probed) == [ADA, BOB], "each once: a probe under way is not repeated"


def test_nobody_is_alive_before_it_proved_so() -> None:
    c = core(ADA)
    assert states(c) == {ADA: "unreachable"}
    assert c.alive() == set()


def test_an_answer_makes_alive_and_silence_unmakes_it() -> None:
    c = core(ADA)
    effects = c.on_hello(ADA, hello(1), 1.0, rtt=0.02)
    assert changes(effects) == [StateChanged(ADA, Liveness.UNREACHABLE, Liveness.ALIVE)]
    assert c.alive() == {ADA}
    assert c.peers()[ADA].rtt == 0.02
    run(c, 1, 3.9)
    assert states(c) == {ADA: "alive"}
    run(c, 4, 4)
    assert states(c) == {ADA: "suspect"}
    assert c.alive() == {ADA}, "suspicion alone takes nothing away"
    run(c, 4.25, 11)
    assert states(c) == {ADA: "unreachable"}
    assert c.alive() == set()


def test_hearing_from_a_peer_counts_in_either_direction() -> None:
    c = core(ADA)
    c.on_hello(ADA, hello(1), 1.0)
    for seq in range(2, 30):
        run(c, seq - 1, seq - 0.25)
        c.on_failure(ADA, seq - 0.1)
        c.on_hello(ADA, hello(seq), float(seq))
    assert states(c) == {ADA: "alive"}, "our probes fail but its probes arrive"


def test_failures_before_the_silence_is_long_accuse_nobody() -> None:
    c = core(ADA)
    c.on_hello(ADA, hello(1), 1.0)
    for _ in range(50):
        c.on_failure(ADA, 2.0)
    assert states(c) == {ADA: "alive"}
    assert c.peers()[ADA].failures == 50


def test_only_news_is_reported() -> None:
    c = core(ADA)
    assert HeadSeen(ADA, 4, "ab", 2) in c.on_hello(ADA, hello(5, round=4, head="ab", attempt=2), 1)
    assert c.on_hello(ADA, hello(5, round=9), 2) == []
    assert c.on_hello(ADA, hello(4, round=9), 2) == []
    assert HeadSeen(ADA, 9, "", 0) in c.on_hello(ADA, hello(0, incarnation=2, round=9), 3)
    assert c.on_hello(ADA, hello(99, incarnation=1, round=1), 4) == []
    assert c.peers()[ADA].hello == hello(0, incarnation=2, round=9)


def test_an_old_hello_in_a_replay_keeps_nobody_alive() -> None:
    c = core(ADA)
    c.on_hello(ADA, hello(1), 1.0)
    for second in range(2, 15):
        run(c, second - 1, second)
        c.on_hello(ADA, hello(1), float(second))
    assert states(c) == {ADA: "unreachable"}


def test_an_answer_that_crossed_a_newer_hello_still_proves_presence() -> None:
    c = core(ADA)
    c.on_hello(ADA, hello(7), 1.0)
    c.on_hello(ADA, hello(6), 3.5, rtt=0.1)
    run(c, 3.5, 5)
    assert states(c) == {ADA: "alive"}
    assert c.peers()[ADA].hello == hello(7)


def test_leaving_is_immediate_and_lasts_until_a_new_hello() -> None:
    c = core(ADA)
    c.on_hello(ADA, hello(1), 1.0)
    effects = c.on_hello(ADA, hello(3, leaving=True), 2.0)
    assert effects == [StateChanged(ADA, Liveness.ALIVE, Liveness.LEFT)]
    assert c.alive() == set()
    c.on_hello(ADA, hello(2), 2.1, rtt=0.1)
    run(c, 2.25, 30)
    assert states(c) == {ADA: "left"}, "an answer sent before the goodbye does not undo it"
    c.on_hello(ADA, hello(0, incarnation=2), 31.0)
    assert states(c) == {ADA: "alive"}


def test_who_left_is_still_probed() -> None:
    c = core(ADA)
    c.on_hello(ADA, hello(1, leaving=True), 0.1)
    probes = [e for e in run(c, 0, 1) if isinstance(e, Probe)]
    assert probes == [Probe(ADA)]


def test_a_probe_follows_the_last_one_after_its_answer_or_failure() -> None:
    c = core(ADA)
    assert Probe(ADA) in c.on_timer(0.0)
    assert c.on_timer(1.0) == []
    c.on_failure(ADA, 1.4)
    assert Probe(ADA) in c.on_timer(1.5)
    c.on_hello(ADA, hello(1), 1.6, rtt=0.1)
    assert c.on_timer(1.7) == []
    assert Probe(ADA) in c.on_timer(2.6)


def test_our_own_sleep_is_not_held_against_others() -> None:
    c = core(ADA)
    c.on_hello(ADA, hello(1), 1.0)
    run(c, 1, 2)
    effects = c.on_timer(8 * 3600.0)
    assert Woke(8 * 3600.0 - 2.0) in effects
    assert states(c) == {ADA: "alive"}
    run(c, 8 * 3600.0 + 0.25, 8 * 3600.0 + 15)
    assert states(c) == {ADA: "unreachable"}, "after waking the usual patience applies"


def test_a_timer_that_is_a_little_late_is_no_sleep() -> None:
    c = core(ADA)
    c.on_timer(1.0)
    assert not [e for e in c.on_timer(1.0 + STALL_SECONDS) if isinstance(e, Woke)]


def test_strangers_and_removed_members_change_nothing() -> None:
    c = core(ADA)
    assert c.on_hello("stranger", hello(1), 1.0) == []
    assert c.on_failure("stranger", 1.0) == []
    c.on_hello(ADA, hello(1), 1.0)
    c.set_members([ME, BOB], 2.0)
    assert states(c) == {BOB: "unreachable"}
    assert c.on_hello(ADA, hello(2), 2.0) == []
    c.set_members([ME, ADA, BOB], 3.0)
    assert states(c)[ADA] == "unreachable", "whoever is admitted again starts anew"


def test_the_probe_load_of_a_large_room_is_constant() -> None:
    c = core(*(f"peer{i}" for i in range(10 * PROBES_PER_SECOND)))
    probes = 0
    for tick in range(4 * 30):
        for effect in c.on_timer(tick / 4):
            if isinstance(effect, Probe):
                probes += 1
                c.on_failure(effect.peer_id, tick / 4)
    assert 0.8 * 30 <= probes / PROBES_PER_SECOND <= 1.2 * 30


class AnythingGoes(RuleBasedStateMachine):
    """No sequence of members' messages breaks the core or stops an honest pair from probing."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.core = core(ADA, BOB)
        self.under_way: set[str] = set()
        self.last_probe = 0.0

    @rule(after=st.floats(0, 4), peer=st.sampled_from([ADA, BOB]))
    def tick(self, after: float, peer: str) -> None:
        self.now += after
        for effect in self.core.on_timer(self.now):
            if isinstance(effect, Probe):
                assert effect.peer_id not in self.under_way
                self.under_way.add(effect.peer_id)

    @rule(
        peer=st.sampled_from([ADA, BOB, ME, "stranger"]),
        incarnation=st.integers(0, 3),
        seq=st.integers(0, 10),
        leaving=st.booleans(),
        answers=st.booleans(),
    )
    def receive(self, peer: str, incarnation: int, seq: int, leaving: bool, answers: bool) -> None:
        is_answer = answers and peer in self.under_way
        newest = self.core.peers().get(peer)
        self.core.on_hello(
            peer,
            hello(seq, incarnation=incarnation, leaving=leaving),
            self.now,
            rtt=0.1 if is_answer else None,
        )
        if is_answer:
            self.under_way.discard(peer)
        if newest and newest.hello:
            after = self.core.peers()[peer].hello
            assert after is not None
            assert after.order >= newest.hello.order

    @rule(peer=st.sampled_from([ADA, BOB, "stranger"]))
    def fail(self, peer: str) -> None:
        self.core.on_failure(peer, self.now)
        self.under_way.discard(peer)

    @invariant()
    def only_members_are_known(self) -> None:
        if hasattr(self, "core"):
            assert self.core.peers().keys() == {ADA, BOB}

    @invariant()
    def a_probe_is_due_again_after_its_end(self) -> None:
        if not hasattr(self, "core"):
            return
        for peer in {ADA, BOB} - self.under_way:
            assert self.core._next_probe[peer] <= self.now + self.core.interval


TestAnythingGoes = AnythingGoes.TestCase


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
