"""Members whom no commit has named yet, and what they leave behind."""

from __future__ import annotations

import pytest
from core_bench import Bench, Message, result_of

from p2p.envelope import Envelope
from p2p.limits import MAX_MEMBERS
from p2p.messages import MAX_LISTED, Contribution, Exclusion, Proposal, parse
from p2p.operations import AdminChange, Change, MemberAdd, MemberRemove, Operation
from p2p.rounds.rules import Facts, make_result
from p2p.sim.parts import INITIAL, ROOM_ID, SimSigner, contribution_blob, simulated_genesis

GUEST = "n" * 52


def signed(change: Change, *signers: str) -> Operation:
    first, *others = (Operation.of(SimSigner(peer).seal(change)) for peer in signers)
    for other in others:
        first = first.joined(other)
    return first


def admission(bench: Bench, by: str, seq: int = 1) -> Operation:
    record = bench.genesis.members[0].model_copy(update={"peer_id": GUEST, "role": "participant"})
    return signed(MemberAdd(author=by, seq=seq, after=ROOM_ID, member=record), by)


def goodbye(peer: str) -> Operation:
    return signed(MemberRemove(author=peer, seq=1, after=ROOM_ID, peer=peer), peer)


def contribution(bench: Bench) -> Envelope:
    facts = bench.cores[bench.peers[0]].facts
    blob = contribution_blob(GUEST, facts.round, facts.parent, False)
    message = Contribution(
        peer=GUEST, round=facts.round, parent=facts.parent, plan=facts.plan_hash,
        blob=blob.sha256, size=blob.size, chunks=blob.chunks, samples=9, steps=1,
    )  # fmt: skip
    return SimSigner(GUEST).seal(message)


def among_members(bench: Bench, message: Message) -> bool:
    return message[1] in bench.peers


def tell(bench: Bench, peer: str, operation: Operation) -> None:
    bench.feed(peer, lambda core: core.on_operation(operation, bench.now))


@pytest.mark.parametrize("heard_by", [1, 2, 3])
@pytest.mark.parametrize("rule", ["majority", "two_thirds"])
def test_a_newcomer_that_contributes_and_leaves_stops_no_round(rule: str, heard_by: int) -> None:
    bench = Bench(3, rule=rule)
    admin = bench.peers[0]
    tell(bench, admin, admission(bench, admin))
    bench.deliver(lambda message: among_members(bench, message))
    work = contribution(bench)
    for peer in bench.peers[:heard_by]:
        bench.hand_over((GUEST, peer, work))
    tell(bench, admin, goodbye(GUEST))
    bench.contribute()
    bench.persist_until(
        lambda: bench.committed() == [1] * 3, lambda message: among_members(bench, message)
    )
    assert {item.peer for item in result_of(bench, 1).inputs} == set(bench.peers)
    assert GUEST not in bench.cores[admin].members


def test_a_goodbye_that_comes_while_a_result_is_agreed_on_costs_one_attempt() -> None:
    bench = Bench(3)
    admin = bench.peers[0]
    tell(bench, admin, admission(bench, admin))
    bench.deliver(lambda message: among_members(bench, message))
    for peer in bench.peers:
        bench.hand_over((GUEST, peer, contribution(bench)))
    bench.contribute()
    bench.deliver(lambda message: among_members(bench, message) and message[2].type != "vote")
    for peer in bench.peers:
        tell(bench, peer, goodbye(GUEST))
    bench.persist_until(
        lambda: bench.committed() == [1] * 3, lambda message: among_members(bench, message)
    )


def test_a_newcomer_whose_admin_is_an_admin_no_longer_stops_no_round() -> None:
    bench = Bench(4)
    first, second, *_ = bench.peers
    office = signed(
        AdminChange(author=first, seq=1, after=ROOM_ID, admins=(first, second), threshold=1),
        first,
        second,
    )
    tell(bench, first, office)
    bench.contribute()
    bench.deliver(lambda message: among_members(bench, message))
    assert bench.committed() == [1] * 4
    tell(bench, second, admission(bench, second, seq=5))
    bench.deliver(lambda message: among_members(bench, message))
    for peer in bench.peers[:2]:
        bench.hand_over((GUEST, peer, contribution(bench)))
    tell(
        bench,
        first,
        signed(
            AdminChange(author=first, seq=2, after=ROOM_ID, admins=(first,), threshold=1), first
        ),
    )
    bench.contribute()
    bench.persist_until(
        lambda: bench.committed() == [2] * 4, lambda message: among_members(bench, message)
    )
    assert GUEST not in bench.cores[first].members


@pytest.mark.parametrize(("count", "rule"), [(2, "majority"), (4, "two_thirds")])
def test_voters_leave_with_the_commit_where_there_is_none_without_their_votes(
    count: int, rule: str
) -> None:
    bench = Bench(count, rule=rule)
    leavers = set(bench.peers[count // 2 :])
    for peer in leavers:
        tell(bench, peer, goodbye(peer))
    bench.deliver()
    assert all(leavers <= core.members.keys() for core in bench.cores.values())
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [1] * count
    for core in bench.cores.values():
        assert core.members.keys() == set(bench.peers) - leavers
    bench.contribute(*(peer for peer in bench.peers if peer not in leavers))
    bench.alive(*(peer for peer in bench.peers if peer not in leavers))
    bench.persist_until(
        lambda: 2 in bench.committed(), lambda message: not leavers & set(message[:2])
    )


def test_a_voter_that_the_room_can_do_without_leaves_at_once() -> None:
    bench = Bench(3)
    *_, gone = bench.peers
    tell(bench, gone, goodbye(gone))
    bench.deliver()
    assert all(gone not in core.members for core in bench.cores.values())


def test_a_full_room_in_which_members_come_and_go_still_has_results() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    peers = [a * 26 + b * 26 for a in letters for b in letters]
    founders, guest, given_up = peers[:MAX_MEMBERS], peers[MAX_MEMBERS], peers[MAX_MEMBERS + 1 :]
    genesis = simulated_genesis(1, "majority", 1000)
    record = genesis.members[0]
    genesis = genesis.model_copy(
        update={
            "admins": founders[:1],
            "members": [record.model_copy(update={"peer_id": peer}) for peer in founders],
        }
    )
    facts = Facts.first(genesis, ROOM_ID)
    admin, goes = founders[0], founders[-1]
    welcome = record.model_copy(update={"peer_id": guest})
    operations = (
        signed(MemberRemove(author=admin, seq=1, after=ROOM_ID, peer=goes), admin),
        signed(MemberAdd(author=admin, seq=2, after=ROOM_ID, member=welcome), admin),
    )
    excluded = tuple(
        Exclusion(contribution=f"{number:064x}", peer=peer, reason="a key given up long ago")
        for number, peer in enumerate(given_up[:MAX_LISTED])
    )
    heard = [*founders, guest]
    result = make_result(facts, 0, (), excluded, heard, operations, INITIAL)
    assert len(result.present) == len(heard) + MAX_LISTED
    report = "{}"
    proposal = Proposal(
        round=1, attempt=0, body=result.to_bytes().decode(),
        new_attempts=(report,) * len(heard), contributions=(report,) * MAX_LISTED,
    )  # fmt: skip
    assert parse(Proposal.kind, proposal.to_bytes()) == proposal


def test_who_has_left_contributes_no_more_and_starts_again_all_the_same() -> None:
    bench = Bench(3)
    *_, gone = bench.peers
    tell(bench, gone, goodbye(gone))
    bench.deliver()
    bench.contribute(*bench.peers[:2])
    bench.alive(*bench.peers[:2])
    bench.persist_until(lambda: bench.committed() == [1] * 3, lambda message: True)
    bench.contribute(gone)
    assert bench.disks[gone].contribution is None
    bench.restart(gone)
