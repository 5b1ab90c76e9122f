"""The round state machine, property by property."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from core_bench import Bench, Message, everything, kind_is, kind_is_not

from p2p.envelope import Envelope
from p2p.errors import ProtocolError
from p2p.messages import (
    QC,
    Commit,
    Contribution,
    Exclusion,
    Leave,
    NewAttempt,
    Operations,
    Prepared,
    Proposal,
    Receipt,
    Result,
    ResultInput,
    Vote,
    Want,
    parse,
    parse_result,
    value_of,
)
from p2p.rounds import leading, rules
from p2p.rounds.effects import (
    Accused,
    Combine,
    Elected,
    FetchBlob,
    FetchCommits,
    KeepResult,
    Persist,
    ProposalMade,
    Send,
    VoteCast,
)
from p2p.rounds.rules import parts_of
from p2p.sim.parts import INITIAL, combine, contribution_blob
from p2p.workload import Verdict


def proposal_of(bench: Bench, leader: str) -> Proposal:
    envelope = bench.disks[leader].proposals[bench.cores[leader].attempt]
    message = parse(envelope.type, envelope.payload)
    assert isinstance(message, Proposal)
    return message


def votes_of(bench: Bench, peer: str) -> list[VoteCast]:
    return [
        effect.record
        for who, effect in bench.effects
        if who == peer and isinstance(effect, Persist) and isinstance(effect.record, VoteCast)
    ]


def result_of(bench: Bench, peer: str, round_number: int = 1) -> Result:
    commit = parse(Commit.kind, bench.cores[peer].journal.commits[round_number - 1].payload)
    assert isinstance(commit, Commit)
    return parse_result(commit.body)


# --- the normal way ------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rule", ["majority", "two_thirds"])
def test_a_round_needs_no_timer_when_nothing_fails(count: int, rule: str) -> None:
    bench = Bench(count, rule=rule)
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [1] * count
    assert len(bench.values()) == 1
    assert len(result_of(bench, bench.peers[0]).inputs) == count


def test_the_room_is_done_after_the_planned_rounds_and_still_answers() -> None:
    bench = Bench(3, rounds=2)
    for _ in range(3):
        bench.contribute()
        bench.deliver()
    assert bench.committed() == [2, 2, 2]
    core = bench.cores[bench.peers[0]]
    assert core.done
    parent = core.journal.commits[0].commit_hash
    late = bench.signer(bench.peers[1]).seal(NewAttempt(round=2, attempt=0, parent=parent))
    bench.hand_over((bench.peers[1], bench.peers[0], late))
    assert [message[2].type for message in bench.mail] == ["commit"]


def test_votes_are_on_disk_before_they_leave() -> None:
    bench = Bench(4)
    bench.contribute()
    bench.deliver()
    persisted: set[tuple[str, bytes]] = set()
    for peer, effect in bench.effects:
        if isinstance(effect, Persist) and isinstance(effect.record, VoteCast):
            record = effect.record
            vote = Vote(
                attempt=record.attempt, phase=record.phase, round=record.round, value=record.value
            )
            persisted.add((peer, vote.to_bytes()))
        if isinstance(effect, Send) and effect.message.type == Vote.kind:
            assert (peer, effect.message.payload) in persisted
    assert persisted


def test_live_participants_are_waited_for_and_a_dead_one_is_not() -> None:
    bench = Bench(4)
    *present, absent = bench.peers
    bench.contribute(*present)
    bench.deliver()
    assert bench.committed() == [0] * 4
    bench.alive(*present)
    bench.deliver(lambda message: message[1] != absent)
    assert bench.committed() == [1, 1, 1, 0]
    assert result_of(bench, present[0]).inputs[2]


def test_a_member_that_passes_this_round_is_not_waited_for_but_votes() -> None:
    bench = Bench(4)
    *present, idle = bench.peers
    bench.contribute(*present)
    bench.deliver()
    assert bench.committed() == [0] * 4
    bench.feed(idle, lambda core: core.on_leave(1, 0.0))
    bench.deliver()
    assert bench.committed() == [1] * 4
    assert [vote.phase for vote in votes_of(bench, idle)] == ["prepare", "commit"]
    assert idle in bench.cores[idle].expected()


@pytest.mark.parametrize(("contributors", "least", "inputs"), [(0, 1, 0), (1, 2, 0), (2, 2, 2)])
def test_the_deadline_ends_the_wait_and_too_few_skip_the_round(
    contributors: int, least: int, inputs: int
) -> None:
    bench = Bench(4, min_contributions=least)
    if contributors:
        bench.contribute(*bench.peers[:contributors])
    bench.deliver()
    bench.fire_all("deadline")
    bench.deliver()
    assert bench.committed() == [1] * 4
    result = result_of(bench, bench.peers[0])
    assert len(result.inputs) == inputs
    assert (result.ref == INITIAL) is (inputs == 0)
    assert len(result.listed) == contributors


def test_a_bad_contribution_is_excluded_with_its_reason() -> None:
    bench = Bench(4)
    bench.contribute(bad=[bench.peers[1]])
    bench.deliver()
    (excluded,) = result_of(bench, bench.peers[0]).excluded
    assert (excluded.peer, excluded.reason) == (bench.peers[1], "not finite")


def test_a_contribution_that_comes_late_gets_a_receipt_that_says_so() -> None:
    bench = Bench(3)
    *present, late = bench.peers
    bench.contribute(*present)
    bench.alive(*present)
    bench.deliver(lambda message: message[1] != late)
    assert bench.committed() == [1, 1, 0]
    bench.contribute(late)
    bench.deliver(lambda message: message[0] == late or message[2].type == Receipt.kind)
    receipts = [
        parse(e.message.type, e.message.payload)
        for _, e in bench.effects
        if isinstance(e, Send) and e.to == late and e.message.type == Receipt.kind
    ]
    assert {receipt.verdict for receipt in receipts if isinstance(receipt, Receipt)} == {"late"}


def test_nothing_is_trained_twice() -> None:
    bench = Bench(3)
    bench.contribute(bench.peers[0])
    bench.restart(bench.peers[0])
    assert bench.cores[bench.peers[0]].contributed
    bench.mail.clear()
    bench.contribute(bench.peers[0])
    assert not bench.mail
    bench.contribute(*bench.peers[1:])
    bench.deliver()
    for peer in bench.peers:
        bench.fire(peer, "resend")
    bench.deliver()
    assert bench.committed() == [1, 1, 1]
    assert len(result_of(bench, bench.peers[0]).inputs) == 3


# --- failover ------------------------------------------------------------------------------------
def without(peer: str) -> Callable[[Message], bool]:
    return lambda message: peer not in message[:2]


def test_a_leader_that_dies_while_it_collects_costs_one_timeout() -> None:
    bench = Bench(4)
    bench.contribute()
    bench.deliver(kind_is("contribution", "receipt"))
    dead = bench.order[0]
    rest = [peer for peer in bench.peers if peer != dead]
    for peer in rest:
        bench.fire(peer, "attempt")
    bench.deliver(without(dead))
    for peer in rest:
        if (peer, "grace") in bench.timers:
            bench.fire(peer, "grace")
    bench.deliver(without(dead))
    assert [bench.cores[peer].round for peer in rest] == [2, 2, 2]
    assert len(result_of(bench, rest[0]).inputs) == 4
    elected = [e.attempt for p, e in bench.effects if p == rest[0] and isinstance(e, Elected)]
    assert elected == [0, 1]


def test_a_leader_known_to_be_away_is_given_less_time() -> None:
    bench = Bench(4)
    dead = bench.order[0]
    rest = [peer for peer in bench.peers if peer != dead]
    bench.contribute()
    bench.deliver(kind_is("contribution"))
    assert bench.timers[rest[0], "attempt"] > 4
    bench.alive(*rest)
    assert bench.timers[rest[0], "attempt"] == 0.5


def test_what_a_quorum_locked_is_proposed_again_by_the_next_leader() -> None:
    bench = Bench(4)
    bench.contribute()
    # Everybody locks, then the leader dies with the commit votes on their way.
    dead = bench.order[0]
    bench.deliver(lambda m: not (m[1] == dead and is_vote(m, "commit")))
    value = bench.disks[dead].votes[0, "prepare"]
    rest = [peer for peer in bench.peers if peer != dead]
    assert {bench.disks[peer].lock.value for peer in rest} == {value}  # type: ignore[union-attr]
    for peer in rest:
        bench.fire(peer, "attempt")
    bench.deliver(without(dead))
    assert bench.values() == {value}
    assert [bench.cores[peer].round for peer in rest] == [2, 2, 2]


def test_one_lock_is_enough_to_bind_the_next_leader() -> None:
    bench = Bench(4)
    bench.contribute()
    dead, *rest = bench.order
    locked = rest[-1]
    # Only one voter hears of the certificate.
    bench.deliver(lambda m: m[2].type != Prepared.kind or m[1] == locked)
    value = bench.disks[dead].votes[0, "prepare"]
    assert [bench.disks[peer].lock is not None for peer in rest] == [False, False, True]
    for peer in rest:
        bench.fire(peer, "attempt")
    bench.deliver(without(dead))
    assert bench.values() == {value}


def test_the_vote_that_commits_waits_until_the_result_is_on_disk() -> None:
    bench = Bench(3)
    late = bench.order[1]
    bench.bare = set(bench.peers)
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [0] * 3
    for disk in bench.disks.values():
        assert disk.votes.keys() == {(0, "prepare")}
        assert disk.lock is None
    asked = [(peer, effect) for peer, effect in bench.effects if isinstance(effect, KeepResult)]
    assert {peer for peer, _ in asked} == set(bench.peers)
    for peer, effect in asked:
        assert len(effect.parts) == 3
        assert effect.holders
        assert peer not in effect.holders
    bench.bare = {late}
    for peer in bench.peers:
        bench.fire(peer, "resend")
    bench.deliver()
    assert bench.committed() == [1] * 3
    assert {entry.peer for entry in qc_of(bench, late).signatures} == set(bench.peers) - {late}


def test_a_certificate_whose_result_nobody_kept_binds_no_leader() -> None:
    bench = Bench(3)
    dead, *rest = bench.order
    bench.bare = set(bench.peers)
    bench.contribute()
    bench.deliver()
    lost = bench.disks[dead].votes[0, "prepare"]
    bench.bare = set()
    for peer in rest:
        bench.fire(peer, "attempt")
    bench.persist_until(lambda: bool(bench.values()), without(dead), timers=("grace",))
    assert bench.values()
    assert lost not in bench.values()


def lost_after_a_lock(count: int) -> tuple[Bench, str, str]:
    """The second leader is locked on what the first one proposed. The third one, which did not
    know that, had another value prepared, and nobody has got its result onto a disk."""
    bench = Bench(count)
    locked, third = bench.order[1], bench.order[2]
    bench.bare = set(bench.peers) - {locked}
    bench.contribute(*(peer for peer in bench.peers if peer != third))
    bench.deliver()
    bench.fire_all("deadline")
    bench.persist_until(lambda: bench.disks[locked].lock is not None, everything, ("grace",))
    first = bench.disks[locked].votes[0, "prepare"]
    bench.bare = set(bench.peers)
    go_on(bench, *bench.peers)
    bench.contribute(third)
    bench.persist_until(
        lambda: (2, "prepare") in bench.disks[third].votes,
        lambda message: message[0] != locked,
        ("grace",),
    )
    bench.deliver(lambda message: message[0] != locked)
    second = bench.disks[third].votes[2, "prepare"]
    assert first != second
    assert [bench.disks[peer].lock is not None for peer in bench.order[:3]] == [False, True, False]
    return bench, first, second


def go_on(bench: Bench, *peers: str) -> None:
    """Two attempts go by in silence."""
    for _ in range(2):
        for peer in peers:
            bench.fire(peer, "attempt")
        bench.deliver(lambda message: False)
    for peer in peers:
        bench.fire(peer, "resend")


def test_a_leader_goes_back_to_its_own_lock_where_a_later_value_is_lost() -> None:
    bench, first, _ = lost_after_a_lock(3)
    other, locked, dead = bench.order
    bench.restart(other)
    bench.bare = set()
    go_on(bench, other, locked)
    assert bench.cores[locked].leader == locked
    bench.persist_until(lambda: bool(bench.values()), without(dead), timers=("grace",))
    assert bench.values() == {first}


def test_a_lock_on_another_value_is_no_sign_that_a_lost_result_is_kept() -> None:
    bench, _, second = lost_after_a_lock(5)
    *rest, leader = bench.order
    dead = bench.order[2]
    for peer in rest:
        bench.restart(peer)
    bench.bare = set()
    go_on(bench, *(peer for peer in bench.order if peer != dead))
    assert bench.cores[leader].leader == leader
    bench.persist_until(lambda: bool(bench.values()), without(dead), timers=("grace",))
    assert second not in bench.values()


def qc_of(bench: Bench, peer: str) -> QC:
    commit = parse(Commit.kind, bench.cores[peer].journal.commits[0].payload)
    assert isinstance(commit, Commit)
    return commit.qc


def is_vote(message: Message, phase: str) -> bool:
    vote = parse(message[2].type, message[2].payload)
    return isinstance(vote, Vote) and vote.phase == phase


def test_a_commit_that_only_the_dead_leader_knows_is_the_one_the_others_reach() -> None:
    bench = Bench(5)
    bench.contribute()
    dead = bench.order[0]
    bench.deliver(kind_is_not("commit"))
    rest = [peer for peer in bench.peers if peer != dead]
    assert bench.cores[dead].round == 2
    for peer in rest:
        bench.fire(peer, "attempt")
    bench.deliver(without(dead))
    assert bench.cores[rest[0]].round == 2
    assert len(bench.values()) == 1
    assert len({core.head for core in bench.cores.values()}) == 1


def test_a_restarted_leader_repeats_its_proposal_and_makes_no_other() -> None:
    bench = Bench(4)
    leader = bench.order[0]
    others = [peer for peer in bench.peers if peer != leader]
    bench.contribute(*others)
    bench.deliver(kind_is("contribution", "receipt"))
    for peer in bench.peers:
        bench.fire(peer, "deadline")
    bench.deliver(kind_is("newattempt"))
    before = bench.disks[leader].proposals[0]
    bench.restart(leader)
    bench.contribute(leader)
    assert bench.disks[leader].proposals == {0: before}
    bench.deliver()
    assert bench.values() == {value_of(proposal_body(before))}


def proposal_body(envelope: Any) -> str:
    message = parse(envelope.type, envelope.payload)
    assert isinstance(message, Proposal)
    return message.body


def test_a_voter_killed_after_its_vote_repeats_that_vote() -> None:
    bench = Bench(4)
    bench.contribute()
    bench.deliver(kind_is_not("vote"))
    voter = bench.order[1]
    bench.restart(voter)
    bench.fire(voter, "resend")
    votes = [m for m in bench.mail if m[0] == voter and m[2].type == Vote.kind]
    assert [m[2].payload for m in votes] == [
        Vote(
            attempt=0, phase="prepare", round=1, value=bench.disks[voter].votes[0, "prepare"]
        ).to_bytes()
    ]


# --- what a voter refuses ------------------------------------------------------------------------
Change = Callable[[Result], Mapping[str, Any]]


def first_input(**changes: Any) -> Change:
    return lambda r: {"inputs": (r.inputs[0].model_copy(update=changes), *r.inputs[1:])}


def with_invented_input(result: Result) -> Mapping[str, Any]:
    invented = result.inputs[0].model_copy(update={"contribution": "0" * 64, "peer": "z" * 52})
    return {"inputs": (invented, *result.inputs)}


def without_first(result: Result) -> Mapping[str, Any]:
    """Flawless arithmetic over what is left."""
    rest = result.inputs[1:]
    return {"inputs": rest, "result_blob": combine(parts_of(rest), INITIAL).sha256}


def excluding(items: Iterable[ResultInput]) -> Mapping[str, Any]:
    gone = (Exclusion(contribution=i.contribution, peer=i.peer, reason="ugly") for i in items)
    return {"excluded": tuple(gone)}


def another_proposer(result: Result) -> Mapping[str, Any]:
    return {"proposer": next(i.peer for i in result.inputs if i.peer != result.proposer)}


LIES: dict[str, Change] = {
    "another parent": lambda r: {"parent": "0" * 64},
    "another round": lambda r: {"round": 2},
    "another attempt": lambda r: {"attempt": 1},
    "another proposer": another_proposer,
    "another algorithm": lambda r: {"algorithm": "sum"},
    "another plan": lambda r: {"next_plan": "0" * 64},
    "voters dropped": lambda r: {"next_voters": r.next_voters[:1]},
    "presence denied": lambda r: {"present": r.present[1:]},
    "a weight raised": first_input(weight=11),
    "a blob swapped": first_input(blob="0" * 64),
    "an input twice": lambda r: {"inputs": (r.inputs[0], *r.inputs)},
    "an input invented": with_invented_input,
    "inputs unsorted": lambda r: {"inputs": tuple(reversed(r.inputs))},
    "an input hidden": without_first,
    "a good input excluded": lambda r: {**without_first(r), **excluding(r.inputs[:1])},
    "a wrong sum": lambda r: {"result_blob": "0" * 64},
    "a wrong size": lambda r: {"result_size": 7},
    "wrong chunks": lambda r: {"result_chunks": "0" * 64},
    "a round skipped": lambda r: {
        "inputs": (),
        **excluding(r.inputs),
        "result_blob": INITIAL.sha256,
    },
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("rule", ["majority", "two_thirds"])
def test_a_voter_refuses_a_result_that_is_not_what_the_round_prescribes(
    lie: str, rule: str
) -> None:
    bench = Bench(4, rule=rule)
    bench.contribute()
    bench.deliver(kind_is_not("proposal"))
    leader, voter = bench.order[:2]
    honest = proposal_of(bench, leader)
    result = parse_result(honest.body)
    body = result.model_copy(update=dict(LIES[lie](result))).to_bytes().decode()
    forged = bench.signer(leader).seal(honest.model_copy(update={"body": body}))
    bench.hand_over((leader, voter, forged))
    assert votes_of(bench, voter) == []
    assert bench.refused[-1][0] == voter
    good = bench.signer(leader).seal(honest)
    other = bench.order[2]
    bench.hand_over((leader, other, good))
    assert [vote.phase for vote in votes_of(bench, other)] == ["prepare"]


def test_a_skipped_round_keeps_the_previous_result_to_its_last_chunk() -> None:
    bench = Bench(4)
    bench.fire_all("deadline")
    bench.deliver(kind_is_not("proposal"))
    leader, voter, other = bench.order[:3]
    honest = proposal_of(bench, leader)
    result = parse_result(honest.body)
    assert result.skipped
    body = result.model_copy(update={"result_chunks": "0" * 64}).to_bytes().decode()
    forged = honest.model_copy(update={"body": body})
    bench.hand_over((leader, voter, bench.signer(leader).seal(forged)))
    assert votes_of(bench, voter) == []
    bench.hand_over((leader, other, bench.signer(leader).seal(honest)))
    assert [vote.phase for vote in votes_of(bench, other)] == ["prepare"]


@pytest.mark.parametrize(
    "change",
    [
        {"new_attempts": ()},
        {"contributions": ()},
        {"round": 3},
    ],
)
def test_a_voter_refuses_a_proposal_without_its_evidence(change: dict[str, Any]) -> None:
    bench = Bench(4)
    bench.contribute()
    leader, voter = bench.order[:2]
    bench.deliver(lambda m: m[2].type != "proposal" and m[1] != voter)
    bench.fire(leader, "grace")
    forged = bench.signer(leader).seal(proposal_of(bench, leader).model_copy(update=change))
    bench.hand_over((leader, voter, forged))
    assert votes_of(bench, voter) == []


def test_only_the_leader_of_an_attempt_may_propose() -> None:
    bench = Bench(4)
    bench.contribute()
    bench.deliver(kind_is_not("proposal"))
    leader, impostor, voter = bench.order[:3]
    forged = bench.signer(impostor).seal(proposal_of(bench, leader))
    bench.hand_over((impostor, voter, forged))
    assert votes_of(bench, voter) == []


def test_two_proposals_for_one_attempt_get_one_vote_and_an_accusation() -> None:
    bench = Bench(4, rule="two_thirds")
    bench.contribute()
    bench.deliver(kind_is_not("proposal"))
    leader, voter, other = bench.order[:3]
    honest = proposal_of(bench, leader)
    result = parse_result(honest.body)
    twin = result.model_copy(update={"excluded": ()}).model_copy(update={"result_size": 7})
    forged = honest.model_copy(update={"body": twin.to_bytes().decode()})
    bench.hand_over((leader, voter, bench.signer(leader).seal(honest)))
    bench.hand_over((leader, voter, bench.signer(leader).seal(forged)))
    assert len(votes_of(bench, voter)) == 1
    bench.deliver(kind_is("evidence"))
    for peer in (voter, other):
        records = [e.record for p, e in bench.effects if p == peer and isinstance(e, Persist)]
        (accusation,) = (r.evidence for r in records if isinstance(r, Accused))
        assert (accusation.offence, accusation.accused) == ("double_proposal", leader)


def test_two_votes_for_one_attempt_count_once_and_are_evidence() -> None:
    bench = Bench(4, rule="two_thirds")
    bench.contribute()
    bench.deliver(kind_is_not("vote"))
    leader, liar = bench.order[:2]
    value = bench.disks[leader].votes[0, "prepare"]
    for signed in (value, "0" * 64):
        vote = Vote(attempt=0, phase="prepare", round=1, value=signed)
        bench.hand_over((liar, leader, bench.signer(liar).seal(vote)))
    assert bench.cores[leader].voted("prepare") == {leader, liar}
    records = [e.record for p, e in bench.effects if p == leader and isinstance(e, Persist)]
    (accusation,) = (r.evidence for r in records if isinstance(r, Accused))
    assert (accusation.offence, accusation.accused) == ("double_vote", liar)


def test_a_wrong_sum_is_refused_by_everybody_and_replaced_by_the_next_leader() -> None:
    bench = Bench(4)
    liar = bench.order[0]
    bench.bad_arithmetic.add(liar)
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [0] * 4
    bench.fire_all("attempt")
    bench.deliver()
    bench.fire_all("grace")
    bench.deliver()
    assert len(bench.values()) == 1
    assert result_of(bench, bench.order[1]).proposer == bench.order[1]


def test_a_locked_voter_refuses_another_value() -> None:
    bench = Bench(5)
    bench.contribute()
    first, second, *free, locked = bench.order
    bench.deliver(lambda m: m[2].type != Prepared.kind or m[1] == locked)
    assert bench.disks[locked].lock is not None
    for peer in (second, *free):
        bench.fire(peer, "attempt")
    # The second leader hears nothing of the lock and finds a quorum without it.
    bench.deliver(lambda m: locked not in m[:2] and first not in m[:2])
    bench.fire(second, "grace")
    bench.hand_over((second, locked, bench.disks[second].proposals[1]))
    assert (1, "prepare") not in bench.disks[locked].votes
    assert any("locked" in reason for peer, reason in bench.refused if peer == locked)


# --- attempts ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("rule", "messages_needed"), [("majority", 1), ("two_thirds", 2)])
def test_one_liar_cannot_run_the_attempts_up(rule: str, messages_needed: int) -> None:
    bench = Bench(4, rule=rule)
    me, *others = bench.peers
    for count, peer in enumerate(others[:messages_needed], start=1):
        report = NewAttempt(round=1, attempt=7, parent=bench.cores[me].head)
        bench.hand_over((peer, me, bench.signer(peer).seal(report)))
        assert bench.cores[me].attempt == (7 if count == messages_needed else 0)
    assert bench.disks[me].attempt == 7


def test_the_leader_asks_for_contributions_it_only_heard_of() -> None:
    bench = Bench(3)
    leader, *others = bench.order
    bench.contribute(*bench.peers)
    bench.deliver(lambda m: not (m[1] == leader and m[2].type == Contribution.kind))
    assert bench.committed() == [0] * 3
    for peer in others:
        bench.fire(peer, "resend")
    assert bench.cores[leader].contributors() == {leader}
    reports = [m for m in bench.mail if m[2].type == NewAttempt.kind]
    bench.mail.clear()
    for message in reports:
        bench.hand_over(message)
    assert {m[2].type for m in bench.mail} == {"want"}
    bench.deliver()
    assert bench.committed() == [1] * 3
    assert len(result_of(bench, leader).inputs) == 3


# --- commits and catching up ---------------------------------------------------------------------
def test_a_member_that_is_behind_fetches_and_verifies_what_it_lacks() -> None:
    bench = Bench(4)
    *present, absent = bench.peers
    for number in (1, 2):
        bench.contribute(*present)
        bench.alive(*present)
        bench.persist_until(lambda n=number: bench.committed() == [n, n, n, 0], without(absent))
    bench.feed(absent, lambda core: core.on_peer_head(present[0], 3, 0.0))
    assert bench.cores[absent].head == bench.cores[present[0]].head


def first_signature(**changes: Any) -> Callable[[QC], QC]:
    def change(qc: QC) -> QC:
        first = qc.signatures[0].model_copy(update=changes)
        return qc.model_copy(update={"signatures": (first, *qc.signatures[1:])})

    return change


QC_LIES: dict[str, Callable[[QC], QC]] = {
    "too few": lambda qc: qc.model_copy(update={"signatures": qc.signatures[:2]}),
    "a voter twice": lambda qc: qc.model_copy(update={"signatures": (qc.signatures[0],) * 3}),
    "another phase": lambda qc: qc.model_copy(update={"phase": "prepare"}),
    "another attempt": lambda qc: qc.model_copy(update={"attempt": 1}),
    "another value": lambda qc: qc.model_copy(update={"value": "0" * 64}),
    "a stranger": first_signature(peer="z" * 52),
    "a forged signature": first_signature(signature="A" * 86),
}


@pytest.mark.parametrize("lie", QC_LIES)
def test_a_commit_without_a_true_quorum_is_no_commit(lie: str) -> None:
    bench = Bench(4)
    bench.contribute()
    victim = bench.order[-1]
    bench.deliver(lambda m: not (m[1] == victim and m[2].type == Commit.kind))
    source = bench.order[0]
    commit = parse(Commit.kind, bench.cores[source].journal.commits[0].payload)
    assert isinstance(commit, Commit)
    forged = commit.model_copy(update={"qc": QC_LIES[lie](commit.qc)})
    bench.feed(victim, lambda core: core.on_commit(source, forged.to_bytes(), 0.0))
    assert bench.cores[victim].round == 1
    bench.feed(victim, lambda core: core.on_commit(source, commit.to_bytes(), 0.0))
    assert bench.cores[victim].round == 2


def test_messages_of_the_next_round_wait_for_it() -> None:
    bench = Bench(3)
    bench.contribute()
    slow = bench.order[-1]
    bench.deliver(lambda m: not (m[1] == slow and m[2].type == Commit.kind))
    ahead = bench.order[0]
    bench.contribute(ahead)
    (early,) = [m for m in bench.mail if m[1] == slow and m[2].type == Contribution.kind]
    bench.mail.clear()
    # Stored away, and its sender is asked for what is missing.
    effects = bench.cores[slow].on_message(ahead, early[2], 0.0)
    assert FetchCommits(ahead, 2) in effects
    payload = bench.cores[ahead].journal.commits[0].payload
    bench.feed(slow, lambda core: core.on_commit(ahead, payload, 0.0))
    assert bench.cores[slow].contributors() == {ahead}


def test_a_stranger_is_not_heard() -> None:
    bench = Bench(3)
    stranger = bench.signer("z" * 52)
    bench.hand_over((bench.peers[1], bench.peers[0], stranger.seal(Leave(round=1))))
    assert bench.refused == [(bench.peers[0], "a message is signed by a stranger")]


def test_words_that_another_repeats_are_not_answered() -> None:
    bench = Bench(4)
    mallory, victim, *_ = [peer for peer in bench.peers if peer != bench.order[0]]
    leader = bench.order[0]
    bench.contribute()
    bench.deliver(kind_is("contribution", "receipt"))
    signer = bench.signer(victim)
    core = bench.cores[leader]
    (own,) = (e for e in core._round.envelopes.values() if e.signer == victim)
    everybodys = tuple(sorted(id_[:32] for id_ in core.contributions))
    report = NewAttempt(round=1, attempt=0, parent=core.head, have=("0" * 32,))
    words = [
        own,
        signer.seal(Want(round=1, contributions=everybodys)),
        signer.seal(report),
        signer.seal(Operations(offered=())),
    ]
    for word in words:
        bench.hand_over((mallory, leader, word))
    assert not bench.mail
    bench.hand_over((victim, leader, words[1]))
    bench.hand_over((victim, leader, words[2]))
    assert {(m[1], m[2].type) for m in bench.mail} == {(victim, "contribution"), (victim, "want")}


def test_words_about_the_past_that_another_repeats_are_not_answered() -> None:
    bench = Bench(3)
    told, mallory, victim = bench.peers
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [1, 1, 1]
    late = bench.disks[victim].commits[0]
    vote = bench.signer(victim).seal(Vote(attempt=0, phase="commit", round=1, value=late.value))
    bench.hand_over((mallory, told, vote))
    assert not bench.mail
    bench.hand_over((victim, told, vote))
    assert [(m[1], m[2].type) for m in bench.mail] == [(victim, "commit")]


# --- a lost journal ------------------------------------------------------------------------------
def test_a_node_that_lost_its_journal_stays_silent_for_the_round_it_may_have_voted_in() -> None:
    bench = Bench(3)
    forgetful = bench.order[0]
    bench.disks[forgetful].amnesia = True
    bench.restart(forgetful)
    bench.contribute()
    bench.deliver()
    assert votes_of(bench, forgetful) == []
    assert not bench.disks[forgetful].proposals
    bench.fire_all("attempt")
    bench.deliver()
    bench.fire_all("grace")
    bench.deliver()
    assert bench.committed() == [1, 1, 1]
    assert not bench.disks[forgetful].amnesia
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [2, 2, 2]


def test_a_forgetful_node_believes_no_claim_about_how_far_others_are() -> None:
    bench = Bench(5)
    forgetful, liar = bench.order[0], bench.order[4]
    bench.disks[forgetful].amnesia = True
    bench.mute.add(liar)
    bench.restart(forgetful)
    bench.feed(forgetful, lambda core: core.on_peer_head(liar, 99_999, 0.0))
    bench.contribute()
    bench.persist_until(lambda: bench.committed() == [1] * 5, everything)
    assert votes_of(bench, forgetful) == []
    assert not bench.disks[forgetful].amnesia


def test_a_forgetful_node_waits_for_as_many_ledgers_as_meet_every_quorum() -> None:
    bench = Bench(4)
    forgetful, mute, *others = bench.order
    bench.disks[forgetful].amnesia = True
    bench.mute |= {mute, others[0]}
    bench.restart(forgetful)
    for number in (1, 2):
        bench.contribute()
        bench.persist_until(lambda n=number: bench.committed() == [n] * 4, everything)
        # One of three ledgers is too few: a quorum may have met without its owner.
        assert bench.disks[forgetful].amnesia
    bench.mute.remove(mute)
    bench.fire(forgetful, "resend")
    assert bench.disks[forgetful].amnesia, "that voter shows its ledger in the round under way"
    bench.contribute()
    bench.persist_until(lambda: bench.committed() == [3] * 4, everything)
    assert not bench.disks[forgetful].amnesia
    assert votes_of(bench, forgetful) == []


def test_a_forgetful_node_that_decides_alone_asks_those_who_are_there() -> None:
    bench = Bench(1)
    (alone,) = bench.peers
    bench.disks[alone].amnesia = True
    bench.restart(alone)
    bench.feed(alone, lambda core: core.on_alive((), 0.0))
    assert not bench.disks[alone].amnesia


def test_patience_with_a_later_attempt_begins_when_a_quorum_is_there() -> None:
    bench = Bench(4, rule="two_thirds")
    fast, *others = bench.peers
    bench.contribute()
    bench.deliver(kind_is("contribution", "receipt"))
    bench.fire(fast, "attempt")
    assert bench.cores[fast].attempt == 1
    bench.deliver()
    assert (fast, "attempt") not in bench.timers
    for peer in others[:2]:
        bench.fire(peer, "attempt")
    bench.deliver(kind_is(NewAttempt.kind))
    assert (fast, "attempt") in bench.timers


# --- a contribution's blob -----------------------------------------------------------------------
def test_a_blob_nobody_has_is_excluded_after_the_wait() -> None:
    bench = Bench(4)
    lost = bench.peers[2]
    bench.missing.add(contribution_blob(lost, 1, bench.cores[lost].head, False).sha256)
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [1] * 4
    (excluded,) = result_of(bench, bench.peers[0]).excluded
    assert (excluded.peer, excluded.reason) == (lost, "blob unavailable")


def test_the_leader_does_not_wait_for_a_check_for_ever() -> None:
    bench = Bench(4)
    bench.contribute()
    bench.deliver(kind_is("contribution", "receipt"))
    leader = bench.order[0]
    slow = next(iter(bench.cores[leader].contributions))
    del bench.cores[leader]._round.verdicts[slow]
    bench.deliver()
    for peer in bench.peers:
        bench.fire(peer, "resend")
    bench.deliver()
    assert not any(isinstance(e, Combine) for p, e in bench.effects if p == leader)
    bench.fire(leader, "grace")
    assert not any(isinstance(e, Combine) for p, e in bench.effects if p == leader)
    bench.fire(leader, "grace")
    assert any(isinstance(e, Combine) for p, e in bench.effects if p == leader)


def test_a_blob_that_comes_slowly_holds_up_neither_the_leader_nor_the_voters() -> None:
    bench = Bench(4)
    slow = bench.peers[2]
    bench.slow.add(contribution_blob(slow, 1, bench.cores[slow].head, False).sha256)
    bench.contribute()
    bench.persist_until(
        lambda: bench.committed() == [1] * 4,
        everything,
        ("deadline", "grace", "grace", "attempt"),
    )
    (excluded,) = result_of(bench, bench.peers[0]).excluded
    assert (excluded.peer, excluded.reason) == (slow, "blob unavailable")


def test_nobody_fetches_what_cannot_count() -> None:
    bench = Bench(4, ask=2)
    asked = bench.cores[bench.peers[0]].facts.asked
    assert asked is not None
    unasked = next(peer for peer in reversed(bench.order) if peer not in asked)
    envelope = variant(bench, unasked, 10)
    for peer in bench.peers:
        if peer != unasked:
            bench.hand_over((unasked, peer, envelope))
    assert not any(isinstance(effect, FetchBlob) for _, effect in bench.effects)
    bench.contribute(*asked)
    bench.deliver()
    assert bench.committed() == [1] * 4
    assert {item.peer for item in result_of(bench, unasked).inputs} == asked


# --- what others quote or keep is written in one way ---------------------------------------------
def padded(bench: Bench, envelope: Envelope) -> Envelope:
    class Padded(type(parse(envelope.type, envelope.payload))):  # type: ignore[misc]
        def to_bytes(self) -> bytes:
            return envelope.payload.replace(b"{", b"{" + 40_000 * b" ", 1)

    message = Padded.model_validate_json(envelope.payload)
    return bench.signer(envelope.signer).seal(message)


@pytest.mark.parametrize("kind", [Contribution.kind, NewAttempt.kind])
def test_blanks_in_what_is_quoted_are_refused(kind: str) -> None:
    bench = Bench(4)
    liar = bench.order[-1]
    bench.contribute()

    def altered(message: Message) -> bool:
        sender, receiver, envelope = message
        if envelope.type != kind or envelope.signer != liar:
            return True
        bench.hand_over((sender, receiver, padded(bench, envelope)))
        return False

    bench.persist_until(
        lambda: bench.committed() == [1] * 4, altered, ("deadline", "grace", "grace", "attempt")
    )
    assert any("is not written as" in reason for _, reason in bench.refused)


def test_a_commit_with_blanks_is_not_kept() -> None:
    bench = Bench(3)
    late = bench.peers[2]
    bench.contribute()
    bench.deliver(lambda m: not (m[1] == late and m[2].type == Commit.kind))
    payload = bench.cores[bench.peers[0]].journal.commits[0].payload
    spaced = payload.replace(b"{", b"{ ", 1)
    bench.feed(late, lambda core: core.on_commit(bench.peers[0], spaced, bench.now))
    assert bench.cores[late].round == 1
    bench.feed(late, lambda core: core.on_commit(bench.peers[0], payload, bench.now))
    assert bench.cores[late].round == 2


def test_reports_that_would_make_a_proposal_too_large_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = 4_500
    monkeypatch.setattr(leading, "MAX_PROPOSAL_TEXT", limit)
    bench = Bench(7)
    bench.contribute(bench.peers[0])
    bench.persist_until(
        lambda: bench.committed() == [1] * 7, everything, ("deadline", "grace", "grace", "attempt")
    )
    (proposal,) = (
        effect.record.envelope
        for _, effect in bench.effects
        if isinstance(effect, Persist) and isinstance(effect.record, ProposalMade)
    )
    message = parse(proposal.type, proposal.payload)
    assert isinstance(message, Proposal)
    assert len(proposal.payload) <= limit + 1024
    assert 4 <= len(message.new_attempts) < 7, len(proposal.payload)


# --- a member that tells everybody something else ------------------------------------------------
def variant(bench: Bench, author: str, samples: int) -> Envelope:
    core = bench.cores[author]
    blob = contribution_blob(author, 1, core.head, False)
    message = Contribution(
        peer=author,
        round=1,
        parent=core.head,
        plan=core.facts.plan_hash,
        blob=blob.sha256,
        size=blob.size,
        chunks=blob.chunks,
        samples=samples,
        steps=1,
    )
    return bench.signer(author).seal(message)


def told_apart(bench: Bench, liar: str, each: int) -> None:
    """``liar`` signs ``each`` different contributions for every member."""
    for number, peer in enumerate(p for p in bench.peers if p != liar):
        for samples in range(each * number + 1, each * (number + 1) + 1):
            bench.hand_over((liar, peer, variant(bench, liar, samples)))


@pytest.mark.parametrize(("count", "rule"), [(4, "two_thirds"), (5, "majority"), (7, "two_thirds")])
@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("place", [1, -1])
def test_a_member_that_tells_everybody_something_else_stops_no_round(
    count: int, rule: str, each: int, place: int
) -> None:
    bench = Bench(count, rule=rule)
    liar = bench.order[place]
    honest = [peer for peer in bench.peers if peer != liar]
    told_apart(bench, liar, each)
    bench.contribute(*honest)
    bench.persist_until(
        lambda: all(len(bench.cores[peer].journal.commits) == 1 for peer in honest),
        lambda m: liar not in m[:2],
        ("deadline", "resend", "grace", "grace"),
    )
    result = result_of(bench, honest[0])
    assert result.attempt == 0
    assert {item.peer for item in result.inputs} == set(honest)
    assert {(e.peer, e.reason) for e in result.excluded} == {(liar, rules.SEVERAL)}


@pytest.mark.parametrize(("reporters", "taken"), [([-1], 2), ([-1, -2], 4)])
def test_nobody_fills_a_leader_with_contributions_by_naming_them(
    reporters: list[int], taken: int
) -> None:
    bench = Bench(7, rule="two_thirds")
    leader, liar = bench.order[0], bench.order[-1]
    many = [variant(bench, liar, samples) for samples in range(1, 30)]
    have = tuple(sorted(envelope.id[: rules.SHORT_ID] for envelope in many))
    report = NewAttempt(round=1, attempt=0, parent=bench.cores[leader].head, have=have)
    for index in reporters:
        reporter = bench.order[index]
        bench.hand_over((reporter, leader, bench.signer(reporter).seal(report)))
    for envelope in many:
        bench.hand_over((liar, leader, envelope))
    assert len(bench.cores[leader].contributions) == taken


def test_a_node_that_forgot_what_it_contributed_stands_what_comes_back() -> None:
    bench = Bench(4)
    leader, *others = bench.order
    bench.contribute(leader)
    bench.fire(leader, "deadline")
    forgotten = [variant(bench, leader, samples) for samples in (1, 2, 3)]
    have = tuple(sorted(envelope.id[: rules.SHORT_ID] for envelope in forgotten))
    report = NewAttempt(round=1, attempt=0, parent=bench.cores[leader].head, have=have)
    for peer in others:
        bench.hand_over((peer, leader, bench.signer(peer).seal(report)))
    for envelope in forgotten:
        bench.hand_over((others[0], leader, envelope))
    assert len(bench.cores[leader].contributions) > rules.MAX_COUNTED
    bench.fire(leader, "attempt")
    bench.fire(leader, "resend")


def test_a_result_may_not_count_a_member_that_told_members_different_things() -> None:
    bench = Bench(4)
    author = bench.order[-1]
    known = {
        envelope.id: message
        for envelope in (variant(bench, author, samples) for samples in (1, 2, 3))
        if isinstance(message := parse(envelope.type, envelope.payload), Contribution)
    }
    facts = bench.cores[author].facts
    good = {id_: Verdict(True) for id_ in known}
    inputs, excluded = rules.select(known, good, facts, facts.membership)
    assert not inputs
    assert {item.reason for item in excluded} == {rules.SEVERAL}
    first, second = sorted(known)[:2]
    pair = {first: known[first], second: known[second]}
    (item,), rest = rules.select(pair, good, facts, facts.membership)
    third = next(entry for entry in excluded if entry.contribution not in pair)
    listed = tuple(sorted((*rest, third), key=lambda entry: entry.contribution))
    result = rules.make_result(facts, 0, (item,), listed, [], (), INITIAL)
    with pytest.raises(ProtocolError, match="different things"):
        rules.check_result(result, facts, 0, {}, known)
