"""Any order of deliveries, losses, repetitions, timeouts and crashes keeps the room's promises.

The invariants S1-S7 are checked by the bench in every step; here hypothesis looks for the order.
"""

from __future__ import annotations

import pytest
from core_bench import Bench, Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from p2p.rounds.core import RoundCore
from p2p.sim.invariants import Violation
from p2p.sim.mutations import NoLockRule

TIMERS = ("deadline", "attempt", "grace", "resend")


class Room(RuleBasedStateMachine):
    """Three to five members; hypothesis is network, clock and power supply."""

    bench: Bench
    core: type[RoundCore] = RoundCore

    @initialize(count=st.integers(3, 5), kind=st.sampled_from(["majority", "two_thirds"]))
    def found(self, count: int, kind: str) -> None:
        self.bench = Bench(count, rule=kind, rounds=2, core=self.core)
        self.bench.contribute()

    def _member(self, index: int) -> str:
        return self.bench.peers[index % len(self.bench.peers)]

    @precondition(lambda self: self.bench.mail)
    @rule(index=st.integers(0, 10_000), again=st.booleans())
    def deliver_one(self, index: int, again: bool) -> None:
        mail = self.bench.mail
        mail.rotate(-(index % len(mail)))
        message = mail.popleft()
        self.bench.hand_over(message)
        if again:
            mail.append(message)

    @precondition(lambda self: self.bench.mail)
    @rule(count=st.integers(1, 40))
    def deliver_some(self, count: int) -> None:
        for _ in range(min(count, len(self.bench.mail))):
            self.bench.hand_over(self.bench.mail.popleft())

    @precondition(lambda self: self.bench.mail)
    @rule(count=st.integers(1, 20))
    def lose_some(self, count: int) -> None:
        for _ in range(min(count, len(self.bench.mail))):
            self.bench.mail.pop()

    @precondition(lambda self: self.bench.mail)
    @rule(member=st.integers(0, 4))
    def cut_off(self, member: int) -> None:
        peer = self._member(member)
        kept = [message for message in self.bench.mail if message[1] != peer]
        self.bench.mail.clear()
        self.bench.mail.extend(kept)

    @rule(
        away=st.sampled_from([None, 0, 1, 2, 3, 4]),
        lost=st.sampled_from([None, "commit", "prepared", "vote"]),
    )
    def go_on_without(self, away: int | None, lost: str | None) -> None:
        """All but one go on for an attempt; what one kind of message says is lost to everybody."""
        peer = None if away is None else self._member(away)

        def heard(message: Message) -> bool:
            return peer not in message[:2] and message[2].type != lost

        self.bench.deliver(heard)
        for other in self.bench.peers:
            if other != peer and (other, "grace") in self.bench.timers:
                self.bench.fire(other, "grace")
        self.bench.deliver(heard)

    @rule(away=st.integers(0, 4))
    def lose_patience(self, away: int) -> None:
        for name in ("deadline", "attempt"):
            for other in self.bench.peers:
                if other != self._member(away) and (other, name) in self.bench.timers:
                    self.bench.fire(other, name)  # type: ignore[arg-type]

    @rule(lost=st.sampled_from(["commit", "prepared", "vote"]))
    def leader_is_cut_off_at_a_certificate(self, lost: str) -> None:
        """What chance alone does not find in thousands of runs, and what breaks rounds."""
        leader = self.bench.cores[self.bench.peers[0]].leader
        away = self.bench.peers.index(leader)
        self.go_on_without(None, lost)
        self.lose_patience(away)
        self.go_on_without(away, None)

    @rule(member=st.integers(0, 4), name=st.sampled_from(TIMERS))
    def time_passes(self, member: int, name: str) -> None:
        peer = self._member(member)
        if (peer, name) in self.bench.timers:
            self.bench.fire(peer, name)  # type: ignore[arg-type]

    @rule(member=st.integers(0, 4))
    def kill(self, member: int) -> None:
        self.bench.restart(self._member(member))

    @rule(member=st.integers(0, 4))
    def finish_training(self, member: int) -> None:
        peer = self._member(member)
        core = self.bench.cores[peer]
        if not core.done and not core.contributed:
            self.bench.contribute(peer)

    @rule(member=st.integers(0, 4), seen=st.sets(st.integers(0, 4)))
    def look_around(self, member: int, seen: set[int]) -> None:
        peers = [self._member(index) for index in seen]
        self.bench.feed(self._member(member), lambda core: core.on_alive(peers, self.bench.now))

    @rule(member=st.integers(0, 4), other=st.integers(0, 4))
    def hear_of_a_head(self, member: int, other: int) -> None:
        source = self._member(other)
        number = self.bench.cores[source].round
        self.bench.feed(
            self._member(member), lambda core: core.on_peer_head(source, number, self.bench.now)
        )

    def teardown(self) -> None:
        """Whatever happened: with the network back, the room gets to its end."""
        if not hasattr(self, "bench"):
            return
        bench = self.bench
        bench.alive(*bench.peers)
        for _ in range(60):
            if all(core.done for core in bench.cores.values()):
                return
            for peer in bench.peers:
                if not bench.cores[peer].done and not bench.cores[peer].contributed:
                    bench.contribute(peer)
            heads = {peer: core.round for peer, core in bench.cores.items()}
            for peer in bench.peers:
                for source, number in heads.items():
                    bench.feed(peer, lambda c, s=source, n=number: c.on_peer_head(s, n, 0.0))
            for name in ("resend", "deadline", "grace", "attempt"):
                bench.deliver()
                bench.fire_all(name)  # type: ignore[arg-type]
        raise AssertionError("the room never ends")


Room.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestRoom = Room.TestCase


class ForgetfulRoom(Room):
    core = NoLockRule

    def teardown(self) -> None:
        """It need not get to its end."""


def test_hypothesis_finds_the_order_that_splits_a_room_without_locks() -> None:
    fresh = settings(Room.TestCase.settings, database=None)
    with pytest.raises(Violation):
        run_state_machine_as_test(ForgetfulRoom, settings=fresh)
