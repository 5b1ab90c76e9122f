"""A member changes its key: with both signatures, at a commit, and nobody gets away by it."""

from __future__ import annotations

from itertools import permutations

import pytest
from core_bench import Bench

from p2p.errors import LimitError, ProtocolError
from p2p.membership import Membership, SignaturesMissing
from p2p.messages import Commit, parse, parse_result
from p2p.operations import KeyChange, MemberRemove, Operation
from p2p.sim.parts import ROOM_ID, SimSigner, peer_ids, simulated_genesis

ADA, BOB, CLEO, NEW, OTHER = peer_ids(5)
ROOM = Membership.founding(simulated_genesis(3, "majority", 1000))


def change(old: str, new: str, *signers: str, seq: int = 1, **fields: object) -> Operation:
    record = ROOM.members[old].model_copy(update={"peer_id": new, **fields})
    wish = KeyChange(author=old, seq=seq, after=ROOM_ID, member=record)
    signed = [Operation.of(SimSigner(peer).seal(wish)) for peer in signers or (old, new)]
    operation = signed[0]
    for other in signed[1:]:
        operation = operation.joined(other)
    return operation


def remove(peer: str, by: str = ADA) -> Operation:
    wish = MemberRemove(author=by, seq=1, after=ROOM_ID, peer=peer)
    return Operation.of(SimSigner(by).seal(wish))


def test_the_new_key_takes_the_place_of_the_old_one_for_good() -> None:
    after = ROOM.after(change(BOB, NEW))
    assert after.members.keys() == {ADA, NEW, CLEO}
    assert BOB in after.removed
    assert after.now(BOB) == NEW
    with pytest.raises(ProtocolError):
        after.after(change(BOB, OTHER, seq=2))


@pytest.mark.parametrize("signers", [(BOB,), (NEW,), (ADA, NEW), (BOB, ADA)])
def test_both_keys_must_sign(signers: tuple[str, ...]) -> None:
    with pytest.raises(ProtocolError):
        ROOM.after(change(BOB, NEW, *signers))


def test_nobody_takes_the_place_of_another_member_or_more_rights() -> None:
    with pytest.raises(ProtocolError, match="somebody's before"):
        ROOM.after(change(BOB, CLEO))
    with pytest.raises(ProtocolError, match="nothing else"):
        ROOM.after(change(BOB, NEW, name="Ada"))
    with pytest.raises(ProtocolError, match="nothing else"):
        ROOM.after(change(BOB, NEW, role="observer"))


def test_who_is_removed_does_not_get_away_by_changing_its_key() -> None:
    for order in permutations([change(BOB, NEW), remove(BOB)]):
        chosen = ROOM.applicable(order)
        assert not {BOB, NEW} & ROOM.folded(chosen).members.keys()
    fled = ROOM.after(change(BOB, NEW)).after(remove(BOB))
    assert NEW in fled.removed


def test_an_admins_key_needs_the_signatures_of_any_change() -> None:
    alone = ROOM.after(change(ADA, NEW))
    assert alone.admins == {NEW}
    genesis = simulated_genesis(3, "majority", 1000)
    genesis = genesis.model_copy(update={"admins": [ADA, BOB], "admin_threshold": 2})
    shared = Membership.founding(genesis)
    with pytest.raises(SignaturesMissing):
        shared.after(change(ADA, NEW))
    assert shared.after(change(ADA, NEW, ADA, NEW, BOB)).admins == {NEW, BOB}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_old_key_votes_until_the_commit_and_the_new_one_from_then_on(count: int) -> None:
    bench = Bench(count)
    old = bench.peers[-1]
    new = "z" * 52
    record = bench.cores[old].members[old].model_copy(update={"peer_id": new})
    wish = KeyChange(author=old, seq=1, after=ROOM_ID, member=record)
    both = Operation.of(SimSigner(old).seal(wish)).joined(Operation.of(SimSigner(new).seal(wish)))
    bench.feed(old, lambda core: core.on_operation(both, bench.now))
    bench.deliver()
    assert all(old in core.members for core in bench.cores.values()), "not before the commit"
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [1] * count
    commit = parse(Commit.kind, bench.cores[old].journal.commits[0].payload)
    assert isinstance(commit, Commit)
    inputs = {item.peer for item in parse_result(commit.body).inputs}
    assert inputs == set(bench.peers), "what the old key trained counts"
    for core in bench.cores.values():
        assert set(core.facts.voters) == {*bench.peers[:-1], new}
        assert old not in core.members


def test_one_change_of_a_key_at_a_time() -> None:
    bench = Bench(3)
    old = bench.peers[-1]
    core = bench.cores[old]
    for number, new in enumerate(("y" * 52, "z" * 52), start=1):
        record = core.members[old].model_copy(update={"peer_id": new})
        wish = KeyChange(author=old, seq=number, after=ROOM_ID, member=record)
        both = Operation.of(SimSigner(old).seal(wish))
        both = both.joined(Operation.of(SimSigner(new).seal(wish)))
        if number == 2:
            with pytest.raises(LimitError):
                core.check_operation(both)
        bench.feed(old, lambda core, both=both: core.on_operation(both, bench.now))
