"""A member changes its key: with both signatures, at a commit, and nobody gets away by it."""

from __future__ import annotations

from base64 import b64encode
from contextlib import nullcontext
from dataclasses import replace
from itertools import permutations

import pytest
from core_bench import Bench, decide_without, result_of
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import LimitError, ProtocolError
from p2p.identity import Identity
from p2p.limits import MAX_KEY_CHANGES
from p2p.membership import Membership, SignaturesMissing
from p2p.messages import Commit, Contribution, parse
from p2p.operations import AdminChange, KeyChange, MemberAdd, MemberRemove, Operation
from p2p.room import Permissions
from p2p.rounds.admission import Admissions, verify_operation
from p2p.rounds.core import RoundCore
from p2p.rounds.effects import Journal
from p2p.rounds.rekeying import Rekeying
from p2p.rounds.rules import Facts
from p2p.rounds.signing import EnvelopeSigner, EnvelopeVerifier
from p2p.sim.parts import INITIAL, ROOM_ID, SimSigner, peer_ids, simulated_genesis

ADA, BOB, CLEO, NEW, OTHER = peer_ids(5)
ROOM = Membership.founding(simulated_genesis(3, "majority", 1000))


def change(old: str, new: str, *signers: str, seq: int = 1) -> Operation:
    wish = KeyChange(author=old, seq=seq, after=ROOM_ID, key=new, certificate="")
    signed = [Operation.of(SimSigner(peer).seal(wish)) for peer in signers or (old, new)]
    operation = signed[0]
    for other in signed[1:]:
        operation = operation.joined(other)
    return operation


def remove(peer: str, by: str = ADA, seq: int = 1) -> Operation:
    wish = MemberRemove(author=by, seq=seq, after=ROOM_ID, peer=peer)
    return Operation.of(SimSigner(by).seal(wish))


def watch_only(peer: str, seq: int = 1, **fields: object) -> Operation:
    """An admin takes a member's right to contribute."""
    record = ROOM.members[BOB].model_copy(
        update={"peer_id": peer, "permissions": Permissions(contribute=False), **fields}
    )
    wish = MemberAdd(author=ADA, seq=seq, after=ROOM_ID, member=record)
    return Operation.of(SimSigner(ADA).seal(wish))


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


def test_nobody_takes_the_place_of_another_member() -> None:
    with pytest.raises(ProtocolError, match="somebody's before"):
        ROOM.after(change(BOB, CLEO))


def test_who_is_removed_does_not_get_away_by_changing_its_key() -> None:
    for order in permutations([change(BOB, NEW), remove(BOB)]):
        chosen = ROOM.applicable(order)
        assert not {BOB, NEW} & ROOM.folded(chosen).members.keys()
    fled = ROOM.after(change(BOB, NEW)).after(remove(BOB))
    assert NEW in fled.removed


def test_what_an_admin_decided_about_the_old_key_holds_for_the_new_one() -> None:
    for order in permutations([change(BOB, NEW), watch_only(BOB)]):
        members = ROOM.folded(ROOM.applicable(order)).members
        assert members.keys() == {ADA, NEW, CLEO}
        assert not members[NEW].trains
        assert (members[NEW].peer_id, members[NEW].certificate) == (NEW, "")
    later = ROOM.folded([change(BOB, NEW), watch_only(NEW, seq=3, name="Robert")])
    with pytest.raises(ProtocolError, match="outdated"):
        later.after(watch_only(BOB, seq=2))


def test_an_admins_new_key_is_an_admins_in_changes_that_name_the_old_one() -> None:
    wish = AdminChange(author=ADA, seq=1, after=ROOM_ID, admins=(ADA, BOB), threshold=1)
    both = Operation.of(SimSigner(ADA).seal(wish)).joined(Operation.of(SimSigner(BOB).seal(wish)))
    for order in permutations([change(BOB, NEW), both]):
        assert ROOM.folded(ROOM.applicable(order)).admins == {ADA, NEW}


def test_the_old_key_counts_up_to_its_last_round_and_the_new_one_after_it() -> None:
    after = ROOM.after(change(BOB, NEW))
    assert [after.counts(peer, before=ROOM) for peer in (BOB, NEW)] == [True, False]
    assert [after.counts(peer, before=after) for peer in (BOB, NEW)] == [False, True]
    record = ROOM.members[BOB].model_copy(update={"peer_id": NEW})
    welcome = Operation.of(
        SimSigner(ADA).seal(MemberAdd(author=ADA, seq=1, after=ROOM_ID, member=record))
    )
    at_once = ROOM.folded([welcome, change(NEW, OTHER)])
    counted = [at_once.counts(peer, before=ROOM) for peer in (NEW, OTHER)]
    assert counted == [True, False], "admitted with the result that gives it another key"


def test_a_member_changes_its_key_only_so_often() -> None:
    room, old = ROOM, BOB
    for number in range(MAX_KEY_CHANGES):
        new = "abcdefghijklmnopqrst"[number] * 51 + "z"
        room, old = room.after(change(old, new)), new
    with pytest.raises(ProtocolError, match="times"):
        room.after(change(old, NEW))
    assert room.after(change(CLEO, NEW)).now(CLEO) == NEW


def test_an_admins_key_needs_the_signatures_of_any_change() -> None:
    alone = ROOM.after(change(ADA, NEW))
    assert alone.admins == {NEW}
    genesis = simulated_genesis(3, "majority", 1000)
    genesis = genesis.model_copy(update={"admins": [ADA, BOB], "admin_threshold": 2})
    shared = Membership.founding(genesis)
    with pytest.raises(SignaturesMissing):
        shared.after(change(ADA, NEW))
    assert shared.after(change(ADA, NEW, ADA, NEW, BOB)).admins == {NEW, BOB}


@pytest.mark.parametrize("lie", ["", "another room", "another key's certificate", "one signature"])
def test_real_signatures_are_checked(lie: str) -> None:
    old, new, other = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
    owner = other if lie == "another key's certificate" else new
    wish = KeyChange(
        author=old.peer_id, seq=1, after=ROOM_ID, key=new.peer_id,
        certificate=b64encode(owner.certificate_der()).decode(),
    )  # fmt: skip
    room_id = "0" * 64 if lie == "another room" else ROOM_ID
    seals = [EnvelopeSigner(key, room_id).seal(wish) for key in (old, new)]
    if lie == "one signature":
        seals[1] = replace(seals[1], signature=seals[0].signature)
    both = Operation.of(seals[0]).joined(Operation.of(seals[1]))
    with pytest.raises(ProtocolError) if lie else nullcontext():
        verify_operation(both, EnvelopeVerifier(ROOM_ID))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_old_key_votes_until_the_commit_and_the_new_one_from_then_on(count: int) -> None:
    bench = Bench(count)
    old = bench.peers[-1]
    new = "z" * 52
    both = change(old, new)
    bench.feed(old, lambda core: core.on_operation(both, bench.now))
    bench.deliver()
    assert all(old in core.members for core in bench.cores.values()), "not before the commit"
    bench.contribute()
    bench.deliver()
    assert bench.committed() == [1] * count
    inputs = {item.peer for item in result_of(bench, 1).inputs}
    assert inputs == set(bench.peers), "what the old key trained counts"
    for core in bench.cores.values():
        assert set(core.facts.voters) == {*bench.peers[:-1], new}
        assert old not in core.members


def test_what_the_old_key_did_late_is_not_carried_into_the_round_of_the_new_one() -> None:
    bench = Bench(4, carry=True)
    *others, old = bench.order
    new = "z" * 52
    bench.feed(old, lambda core: core.on_operation(change(old, new), bench.now))
    bench.deliver()
    decide_without(bench, old)
    late = Contribution(
        peer=old, round=1, parent=ROOM_ID, plan=bench.cores[old].facts.plan_hash,
        blob=INITIAL.sha256, size=INITIAL.size, chunks=INITIAL.chunks, samples=9, steps=1,
    )  # fmt: skip
    bench.hand_over((others[1], others[0], SimSigner(old).seal(late)))
    bench.contribute(*others)
    bench.persist_until(lambda: bench.committed() == [2] * 4, lambda m: True)
    result = result_of(bench, 2)
    assert {item.peer for item in result.inputs} == set(others)
    assert new not in bench.cores[others[0]].facts.present_before


def test_what_a_member_signed_before_its_key_changed_holds_with_the_change() -> None:
    """Whatever the numbers say: of the admin who changes its key, and of one who only agreed."""
    admitted = MemberAdd(
        author=BOB, seq=2, after=ROOM_ID,
        member=ROOM.members[CLEO].model_copy(update={"peer_id": OTHER}),
    )  # fmt: skip
    genesis = simulated_genesis(3, "majority", 1000)
    for author, number in ((BOB, 2), (ADA, 50)):
        wish = admitted.model_copy(update={"author": author, "seq": number})
        shared = Membership.founding(
            genesis.model_copy(update={"admins": [ADA, BOB], "admin_threshold": 2})
        )
        both = Operation.of(SimSigner(ADA).seal(wish)).joined(
            Operation.of(SimSigner(BOB).seal(wish))
        )
        for order in permutations([change(BOB, NEW, ADA, BOB, NEW), both]):
            assert shared.folded(shared.applicable(order)).members.keys() == {
                ADA, NEW, CLEO, OTHER,
            }  # fmt: skip


def test_what_was_decided_about_a_new_key_comes_after_it() -> None:
    """Numbers of different authors say nothing about who was first."""
    for order in permutations([change(BOB, NEW, seq=9), remove(NEW, seq=1)]):
        room = ROOM.folded(ROOM.applicable(order))
        assert room.members.keys() == {ADA, CLEO}
        assert room.removed == {BOB, NEW}


def test_who_changes_its_key_and_leaves_has_left() -> None:
    for order in permutations([change(BOB, NEW), remove(BOB, by=BOB, seq=2)]):
        assert ROOM.folded(ROOM.applicable(order)).members.keys() == {ADA, CLEO}


def test_whom_an_admin_lets_in_while_its_key_changes_stays() -> None:
    bench = Bench(3)
    admin, new, guest = bench.peers[0], "z" * 52, "n" * 52
    record = bench.genesis.members[1].model_copy(update={"peer_id": guest})
    wish = MemberAdd(author=admin, seq=2, after=ROOM_ID, member=record)
    for news in (change(admin, new), Operation.of(SimSigner(admin).seal(wish))):
        bench.feed(admin, lambda core, news=news: core.on_operation(news, bench.now))
    bench.deliver(lambda message: message[1] in bench.peers)
    bench.contribute()
    bench.deliver(lambda message: message[1] in bench.peers)
    assert bench.committed() == [1] * 3
    for core in bench.cores.values():
        assert core.members.keys() == {new, guest, *bench.peers[1:]}


def test_a_key_that_was_a_members_before_brings_no_old_decisions_back() -> None:
    def admit(peer: str, seq: int) -> Operation:
        record = ROOM.members[BOB].model_copy(update={"peer_id": peer})
        wish = MemberAdd(author=ADA, seq=seq, after=ROOM_ID, member=record)
        return Operation.of(SimSigner(ADA).seal(wish))

    came_and_left = ROOM.folded([admit(NEW, seq=7), remove(NEW, by=NEW), watch_only(BOB, seq=3)])
    again = came_and_left.after(change(BOB, NEW, seq=2))
    with pytest.raises(ProtocolError, match="outdated"):
        again.after(admit(NEW, seq=6))
    assert not again.members[NEW].trains


def test_who_signs_the_same_change_again_and_again_makes_no_news() -> None:
    desk = Admissions(
        journal := Journal(), SimSigner(CLEO), Facts.of(
            simulated_genesis(3, "majority", 1000), ROOM_ID, ()
        )
    )  # fmt: skip
    first = remove(BOB)
    journal.operations[first.id] = first
    (entry,) = first.signatures
    other = entry.model_copy(update={"signature": entry.signature[:-4] + "AAAA"})
    again = first.model_copy(update={"signatures": (other,)})
    assert desk.learn(again) is None


def test_what_counted_by_the_old_key_is_not_carried_by_the_new_one() -> None:
    bench = Bench(3, carry=True)
    old, new = bench.order[-1], "z" * 52
    bench.feed(old, lambda core: core.on_operation(change(old, new), bench.now))
    bench.deliver()
    bench.contribute()
    bench.deliver(lambda message: message[1] in bench.peers)
    assert bench.committed() == [1] * 3
    again = Contribution(
        peer=new, round=1, parent=ROOM_ID, plan=bench.cores[old].facts.plan_hash,
        blob=INITIAL.sha256, size=INITIAL.size, chunks=INITIAL.chunks, samples=9, steps=1,
    )  # fmt: skip
    for core in bench.cores.values():
        assert not core.facts.carries(again)


def test_who_is_removed_while_its_key_changes_is_removed_with_the_new_one() -> None:
    journal = Journal()
    facts = Facts.of(simulated_genesis(3, "majority", 1000), ROOM_ID, ())
    desk = Admissions(journal, SimSigner(CLEO), facts)
    for operation in (change(BOB, NEW), remove(BOB)):
        news = desk.learn(operation)
        assert news is not None
        journal.operations[news.id] = news
        desk.refold()
    commit = replace(facts, round=2, membership=facts.membership.after(change(BOB, NEW)))
    assert desk.committed(commit) == (change(BOB, NEW).id,), "the removal is still to come"
    assert desk.current.members.keys() == {ADA, CLEO}
    assert NEW in desk.current.removed


def test_a_newcomer_knows_others_by_keys_that_only_their_old_ones_signed() -> None:
    """It knows the genesis, which names the founder's old key, and what the lobby told."""
    wish = MemberAdd(
        author=NEW, seq=1, after="f" * 64,
        member=ROOM.members[BOB].model_copy(update={"peer_id": OTHER}),
    )  # fmt: skip
    told = [change(ADA, NEW), Operation.of(SimSigner(NEW).seal(wish))]
    journal = Journal(operations={operation.id: operation for operation in told})
    facts = Facts.of(simulated_genesis(3, "majority", 1000), ROOM_ID, ())
    desk = Admissions(journal, SimSigner(OTHER), facts, journal.operations)
    assert desk.current.members.keys() == {NEW, BOB, CLEO, OTHER}
    under_way = Admissions(Journal(operations={told[0].id: told[0]}), SimSigner(CLEO), facts)
    assert ADA in under_way.current.members, "the old key votes until the commit"
    quiet = {operation.id: operation for operation in (change(ADA, NEW), change(BOB, "z" * 52))}
    again = Admissions(Journal(operations=quiet), SimSigner(CLEO), facts, quiet)
    assert again.current.members.keys() == {NEW, "z" * 52, CLEO}, "they have signed nothing since"


def heads(rekeying: Rekeying, core: RoundCore, *peers: str) -> None:
    for peer in peers:
        rekeying.on_peer_head(peer, core.round)


def given_up(count: int, rule: str, place: int) -> tuple[Bench, str, Rekeying]:
    """A room in which the member at a place in the order of leaders has the commit that gave its
    key up, from the first leader, and nobody else has it."""
    bench = Bench(count, rule=rule)
    old = bench.order[place]
    bench.feed(old, lambda core: core.on_operation(change(old, "z" * 52), bench.now))
    bench.deliver()
    rekeying = Rekeying(bench.cores[old])
    assert not rekeying.is_time
    bench.contribute()
    bench.deliver(lambda message: message[2].type != "commit" or message[1] == old)
    assert bench.cores[old].membership.successors == {old: "z" * 52}
    knowing = {old, bench.order[0]}
    assert {core.round for peer, core in bench.cores.items() if peer not in knowing} == {1}
    return bench, old, rekeying


def test_one_member_that_knows_is_enough_where_nobody_lies() -> None:
    bench, old, rekeying = given_up(3, "majority", 0)
    heads(rekeying, bench.cores[bench.order[1]], bench.order[1])
    assert not rekeying.is_time, "it works on the round before"
    heads(rekeying, bench.cores[old], bench.order[1])
    assert rekeying.is_time


def test_who_led_to_the_commit_has_it() -> None:
    _, _, rekeying = given_up(3, "majority", 2)
    assert rekeying.is_time


def test_who_decides_alone_waits_for_nobody_that_is_not_there() -> None:
    bench = Bench(1)
    (old,), guest = bench.peers, "n" * 52
    record = bench.genesis.members[0].model_copy(update={"peer_id": guest, "role": "participant"})
    wish = MemberAdd(author=old, seq=1, after=ROOM_ID, member=record)
    for news in (Operation.of(SimSigner(old).seal(wish)), change(old, NEW, seq=2)):
        bench.feed(old, lambda core, news=news: core.on_operation(news, bench.now))
    bench.contribute()
    core = bench.cores[old]
    rekeying = Rekeying(core)
    assert core.members.keys() == {NEW, guest}
    for there, expected in (({guest}, False), (set(), True)):
        bench.feed(old, lambda core, there=there: core.on_alive(there, bench.now))
        assert rekeying.is_time == expected
    bench.feed(old, lambda core: core.on_alive({guest}, bench.now))
    heads(rekeying, core, guest)
    assert rekeying.is_time


def test_one_liar_makes_nobody_give_a_key_up_too_early() -> None:
    """It led, brought the commit to nobody else, and says that it has it: with the old key gone,
    the others would be too few for a quorum, and would refuse the new one."""
    bench, old, rekeying = given_up(4, "two_thirds", 3)
    liar, honest, *_ = bench.order
    core = bench.cores[old]
    heads(rekeying, core, liar, "x" * 52, "z" * 52, old)
    commit = SimSigner(liar).seal(parse_commit(core))
    rekeying.on_message(liar, commit.to_bytes())
    assert not rekeying.is_time
    rekeying.on_message(honest, commit.to_bytes())
    assert rekeying.is_time


def parse_commit(core: RoundCore) -> Commit:
    commit = parse(Commit.kind, core.journal.commits[0].payload)
    assert isinstance(commit, Commit)
    return commit


@st.composite
def news(draw: st.DrawFn) -> tuple[list[Operation], list[Operation]]:
    """Changes of three founders and two strangers, in two orders."""
    peers = st.sampled_from((ADA, BOB, CLEO, NEW, OTHER))
    operations = []
    for seq in range(1, draw(st.integers(2, 7))):
        by, about = draw(peers), draw(peers)
        header = {"author": by, "seq": draw(st.integers(seq, seq + 2)), "after": ROOM_ID}
        record = ROOM.members[BOB].model_copy(update={"peer_id": about})
        wish = draw(
            st.sampled_from((
                KeyChange(**header, key=about, certificate=""),
                MemberRemove(**header, peer=about),
                MemberAdd(**header, member=record),
                AdminChange(**header, admins=tuple(sorted({by, about})), threshold=1),
            ))
        )  # fmt: skip
        signed = [Operation.of(SimSigner(peer).seal(wish)) for peer in (by, about)]
        operations.append(signed[0].joined(signed[1]))
    return operations, draw(st.permutations(operations))


@given(news())
def test_in_whatever_order_news_come_everybody_sees_the_same_room(
    both: tuple[list[Operation], list[Operation]],
) -> None:
    one, other = (ROOM.folded(ROOM.applicable(order)) for order in both)
    assert one == other
    assert not one.members.keys() & one.removed
    assert one.successors.keys() <= one.removed
    assert one.admins <= one.members.keys()
    assert {member.peer_id for member in one.members.values()} == one.members.keys()
    assert {peer for peer, m in one.members.items() if m.role == "admin"} <= one.admins


def test_a_newcomer_that_catches_up_keeps_in_mind_all_that_it_was_told() -> None:
    """Also by a key that was neither the first nor the last of its owner."""
    facts = Facts.of(simulated_genesis(3, "majority", 1000), ROOM_ID, ())
    record = ROOM.members[BOB].model_copy(update={"peer_id": "n" * 52})
    wish = MemberAdd(author=OTHER, seq=1, after="f" * 64, member=record)
    told = [change(ADA, NEW), change(NEW, OTHER), Operation.of(SimSigner(OTHER).seal(wish))]
    journal = Journal(operations={operation.id: operation for operation in told})
    desk = Admissions(journal, SimSigner("n" * 52), facts, journal.operations)
    for number in range(2, 40):
        assert desk.committed(replace(facts, round=number, parent=f"{number:064x}")) == ()
        assert desk.current.members.keys() == {OTHER, BOB, CLEO, "n" * 52}
    caught_up = replace(facts, round=40, membership=facts.membership.folded(told))
    assert set(desk.committed(caught_up)) == journal.operations.keys()


def test_one_change_of_a_key_at_a_time() -> None:
    bench = Bench(3)
    old = bench.peers[-1]
    core = bench.cores[old]
    for number, new in enumerate(("y" * 52, "z" * 52), start=1):
        both = change(old, new, seq=number)
        if number == 2:
            with pytest.raises(LimitError):
                core.check_operation(both)
        bench.feed(old, lambda core, both=both: core.on_operation(both, bench.now))
