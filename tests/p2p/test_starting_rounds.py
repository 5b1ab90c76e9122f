"""Rounds that wait for a word, and whose word it is."""

from __future__ import annotations

import pytest
from core_bench import Bench

from p2p.errors import LimitError, ProtocolError
from p2p.messages import Proposal, parse, parse_result
from p2p.operations import MemberAdd, Operation, RoundStart
from p2p.room import Permissions
from p2p.rounds import rules
from p2p.rounds.admission import MAX_STARTS_PER_AUTHOR, Admissions
from p2p.rounds.core import RoundCore
from p2p.rounds.effects import Effect, Journal, Persist, ProposalMade
from p2p.rounds.rules import Facts
from p2p.sim.parts import ROOM_ID, SimSigner


def start(by: str, through: int, seq: int = 1) -> Operation:
    change = RoundStart(author=by, seq=seq, after=ROOM_ID, through=through)
    return Operation.of(SimSigner(by).seal(change))


def hand_in(bench: Bench, operation: Operation, at: str) -> None:
    bench.feed(at, lambda core: core.on_operation(operation, bench.now))
    bench.deliver()


def permit(bench: Bench, peer: str, permissions: Permissions) -> Operation:
    admin = bench.peers[0]
    member = bench.cores[admin].members[peer].model_copy(update={"permissions": permissions})
    change = MemberAdd(author=admin, seq=1, after=ROOM_ID, member=member)
    return Operation.of(SimSigner(admin).seal(change))


def test_a_round_waits_for_a_word_however_long_and_its_time_begins_then() -> None:
    bench = Bench(3, held=True)
    bench.contribute()
    for peer in bench.peers:
        bench.feed(peer, lambda core: core.on_timer("deadline", bench.now))
    bench.deliver()
    assert bench.committed() == [0, 0, 0]
    assert bench.cores[bench.peers[1]].held
    hand_in(bench, start(bench.peers[0], 1), at=bench.peers[0])
    assert bench.committed() == [1, 1, 1]
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [1, 1, 1], "the next round waits again"


def test_a_start_after_a_false_commit_neither_begins_a_round_nor_keeps_others_from_it() -> None:
    """No result can hold it: a room that believed it would wait for one for ever."""
    bench = Bench(3, held=True)
    liar = bench.peers[0]
    change = RoundStart(author=liar, seq=1, after="f" * 64, through=3)
    hand_in(bench, Operation.of(SimSigner(liar).seal(change)), at=liar)
    assert all(core.held for core in bench.cores.values())
    bench.contribute()
    hand_in(bench, start(bench.peers[0], 1, seq=2), at=bench.peers[0])
    assert bench.committed() == [1, 1, 1]


def test_several_rounds_are_started_at_once() -> None:
    bench = Bench(3, held=True)
    hand_in(bench, start(bench.peers[0], 2), at=bench.peers[0])
    for _ in range(3):
        bench.contribute()
        bench.deliver()
    assert bench.committed() == [2, 2, 2]


def test_a_member_without_the_permission_starts_nothing() -> None:
    bench = Bench(3, held=True)
    bench.contribute()
    *_, other = bench.peers
    for peer in bench.peers:
        with pytest.raises(ProtocolError):
            bench.cores[peer].check_operation(start(other, 1))
        hand_in(bench, start(other, 1), at=peer)
    assert bench.committed() == [0, 0, 0]


def test_a_member_with_the_permission_starts_rounds() -> None:
    bench = Bench(3, held=True)
    bench.contribute()
    admin, _, other = bench.peers
    hand_in(bench, permit(bench, other, Permissions(start_rounds=True)), at=admin)
    hand_in(bench, start(other, 1), at=other)
    assert bench.committed() == [1, 1, 1]


class Impatient(RoundCore):
    """A lying member: to it every round has been started."""

    @property
    def held(self) -> bool:
        return False


def test_a_leader_that_begins_a_round_by_itself_is_left_alone() -> None:
    bench = Bench(3, held=True)
    bench.cores[bench.order[0]].__class__ = Impatient
    bench.contribute()
    bench.fire_all("deadline")
    bench.deliver()
    assert bench.committed() == [0, 0, 0]


def test_a_result_without_its_start_gets_no_vote() -> None:
    bench = Bench(3, held=True)
    voter = bench.order[1]
    bench.contribute()
    bench.deliver()
    hand_in(bench, start(bench.peers[0], 1), at=bench.peers[0])
    (sealed,) = (e.record.envelope for _, e in bench.effects if is_proposal(e))
    proposal = parse(sealed.type, sealed.payload)
    assert isinstance(proposal, Proposal)
    honest = parse_result(proposal.body)
    assert [type(operation.change) for operation in honest.operations] == [RoundStart]
    judge = Bench(3, held=True).cores[voter]
    reports = judge._read_reports(proposal, judge.facts.membership)
    quoted = judge._learn_quoted(proposal, honest)
    rules.check_result(honest, judge.facts, 0, reports, quoted)
    lie = honest.model_copy(update={"operations": ()})
    with pytest.raises(ProtocolError, match="nobody entitled has started"):
        rules.check_result(lie, judge.facts, 0, reports, quoted)


def is_proposal(effect: Effect) -> bool:
    return isinstance(effect, Persist) and isinstance(effect.record, ProposalMade)


def test_who_may_start_rounds_cannot_fill_the_places_of_other_changes() -> None:
    bench = Bench(3, held=True)
    journal = Journal()
    desk = Admissions(journal, SimSigner(bench.peers[1]), Facts.of(bench.genesis, ROOM_ID, ()))
    for number in range(1, MAX_STARTS_PER_AUTHOR + 1):
        news = desk.learn(start(bench.peers[0], number, seq=number))
        assert news is not None
        journal.operations[news.id] = news
        desk.refold()
    with pytest.raises(LimitError):
        desk.learn(start(bench.peers[0], 99, seq=99))
