"""Changes of the membership that are under way, in a room where two admins must sign."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p.errors import LimitError
from p2p.messages import MAX_OFFERED
from p2p.operations import AdminChange, MemberAdd, MemberRemove, Operation
from p2p.room import Member
from p2p.rounds.admission import (
    MAX_UNDER_WAY,
    MAX_UNSIGNED_ADDITIONS_PER_AUTHOR,
    MAX_UNSIGNED_PER_AUTHOR,
    UNSIGNED_ROUNDS,
    UNSIGNED_UNANCHORED_ROUNDS,
    Admissions,
)
from p2p.rounds.effects import Journal
from p2p.rounds.rules import Facts
from p2p.sim.parts import ROOM_ID, SimSigner, peer_ids, simulated_genesis

STOLEN, ADA, BOB, CLEO = peer_ids(4)


def commit_hash(round_number: int) -> str:
    return f"{round_number:064x}"


class Desk:
    """What one member knows of the changes."""

    def __init__(self) -> None:
        base = simulated_genesis(4, "majority", 10_000)
        genesis = base.model_copy(update={"admins": [STOLEN, ADA, BOB], "admin_threshold": 2})
        self.journal = Journal()
        self.facts = Facts.of(genesis, ROOM_ID, self.journal.commits)
        self.admissions = Admissions(self.journal, SimSigner(CLEO), self.facts)

    def commit(self) -> None:
        """A round ends; nothing of what is under way was in its result."""
        done = self.facts.round
        self.facts = replace(self.facts, round=done + 1, parent=commit_hash(done))
        for id_ in self.admissions.committed(self.facts):
            del self.journal.operations[id_]

    def take(self, operation: Operation) -> None:
        news = self.admissions.learn(operation)
        if news is not None:
            self.journal.operations[news.id] = news
            self.admissions.refold()


def wish(number: int) -> Operation:
    member = Member(peer_id=CLEO, name=f"Cleo {number}", certificate="")
    change = MemberAdd(author=STOLEN, seq=number, after=ROOM_ID, member=member)
    return Operation.of(SimSigner(STOLEN).seal(change))


def own_removal(number: int) -> Operation:
    """The same admin as in :func:`wish` wants somebody out."""
    change = MemberRemove(author=STOLEN, seq=number, after=ROOM_ID, peer=CLEO)
    return Operation.of(SimSigner(STOLEN).seal(change))


def removal(by: str) -> Operation:
    change = MemberRemove(author=ADA, seq=1, after=ROOM_ID, peer=STOLEN)
    return Operation.of(SimSigner(by).seal(change))


@pytest.fixture
def flooded() -> Desk:
    """One whom a stolen key sent as many wishes as it takes."""
    desk = Desk()
    refused = 0
    for number in range(1, MAX_UNDER_WAY + 2):
        try:
            desk.take(wish(number))
        except LimitError:
            refused += 1
    assert refused
    return desk


def test_a_stolen_key_fills_no_places_but_its_own(flooded: Desk) -> None:
    assert len(flooded.journal.operations) == MAX_UNSIGNED_ADDITIONS_PER_AUTHOR
    flooded.take(removal(ADA))
    assert STOLEN in flooded.admissions.current.members
    flooded.take(removal(BOB).joined(removal(ADA)))
    assert STOLEN in flooded.admissions.current.removed


def test_newcomers_leave_their_admin_places_to_remove_somebody(flooded: Desk) -> None:
    spare = MAX_UNSIGNED_PER_AUTHOR - MAX_UNSIGNED_ADDITIONS_PER_AUTHOR
    first = MAX_UNDER_WAY + 2
    for number in range(first, first + spare):
        flooded.take(own_removal(number))
    with pytest.raises(LimitError):
        flooded.take(own_removal(first + spare))


def test_wishes_nobody_has_a_place_for_hold_up_no_other_change(flooded: Desk) -> None:
    flooded.take(removal(ADA))
    offered = flooded.admissions.offer_to(BOB)
    assert len(offered) == MAX_OFFERED
    assert removal(ADA) in offered
    signed = removal(BOB).joined(removal(ADA))
    flooded.take(signed)
    assert flooded.admissions.offer_to(BOB)[0] == signed


def test_a_change_that_waits_too_long_for_signatures_is_forgotten_by_everybody() -> None:
    desk = Desk()
    desk.take(removal(ADA))
    assert desk.admissions.waiting() == (removal(ADA),)
    assert desk.admissions.last_round(removal(ADA)) == UNSIGNED_ROUNDS
    for _ in range(UNSIGNED_ROUNDS):
        assert desk.admissions.waiting()
        desk.commit()
    assert desk.admissions.waiting() == ()
    desk.take(removal(ADA))
    assert desk.admissions.waiting() == (), "whoever is behind does not bring it back"
    signed = removal(BOB).joined(removal(ADA))
    desk.take(signed)
    assert STOLEN in desk.admissions.current.removed, "with all signatures it is never too late"


def test_a_change_made_after_no_known_commit_is_forgotten_all_the_same() -> None:
    desk = Desk()
    desk.commit()
    change = MemberRemove(author=ADA, seq=1, after="f" * 64, peer=STOLEN)
    adrift = Operation.of(SimSigner(ADA).seal(change))
    desk.take(adrift)
    for _ in range(UNSIGNED_UNANCHORED_ROUNDS):
        assert desk.admissions.last_round(adrift) == 1 + UNSIGNED_UNANCHORED_ROUNDS
        assert desk.admissions.waiting() == (adrift,)
        desk.commit()
    assert desk.admissions.waiting() == ()
    desk.take(adrift)
    assert desk.admissions.waiting() == (), "whoever is behind does not bring it back"


def test_a_change_that_contradicts_what_holds_is_forgotten() -> None:
    """An office for somebody who has left must not wait for that one's return."""
    desk = Desk()
    all_four = tuple(sorted((STOLEN, ADA, BOB, CLEO)))
    office = AdminChange(author=ADA, seq=5, after=ROOM_ID, admins=all_four, threshold=2)
    left = MemberRemove(author=CLEO, seq=1, after=ROOM_ID, peer=CLEO)
    signed = [Operation.of(SimSigner(peer).seal(office)) for peer in (ADA, BOB)]
    desk.take(Operation.of(SimSigner(CLEO).seal(left)))
    desk.journal.operations[signed[0].id] = signed[0].joined(signed[1])
    desk.admissions.refold()
    assert CLEO not in desk.admissions.current.admins
    for _ in range(UNSIGNED_ROUNDS):
        assert signed[0].id in desk.journal.operations
        desk.commit()
    assert signed[0].id not in desk.journal.operations
    assert len(desk.journal.operations) == 1, "what has an effect is kept"


def test_a_change_with_all_signatures_does_not_expire() -> None:
    desk = Desk()
    desk.take(removal(BOB).joined(removal(ADA)))
    for _ in range(UNSIGNED_ROUNDS + 1):
        desk.commit()
    assert STOLEN in desk.admissions.current.removed


def test_a_newcomer_that_left_before_a_commit_held_it_stays_gone() -> None:
    desk = Desk()
    peer = peer_ids(5)[-1]
    member = Member(peer_id=peer, name="Eve", certificate="")
    addition = MemberAdd(author=STOLEN, seq=1, after=ROOM_ID, member=member)
    by = (SimSigner(STOLEN), SimSigner(ADA))
    signed = [Operation.of(signer.seal(addition)) for signer in by]
    desk.take(signed[0].joined(signed[1]))
    assert peer in desk.admissions.current.members
    farewell = MemberRemove(author=peer, seq=1, after=ROOM_ID, peer=peer)
    desk.take(Operation.of(SimSigner(peer).seal(farewell)))
    desk.commit()
    assert len(desk.journal.operations) == 2
    desk.admissions.refold()
    assert peer not in desk.admissions.current.members


def test_a_change_acts_only_where_the_commit_is_known_that_it_was_made_after() -> None:
    """Else an admin could admit and remove with effect on everybody, and no ledger would say so."""
    desk = Desk()
    change = MemberRemove(author=ADA, seq=1, after=commit_hash(1), peer=STOLEN)
    forged = Operation.of(SimSigner(ADA).seal(change))
    signed = forged.joined(Operation.of(SimSigner(BOB).seal(change)))
    desk.take(signed)
    assert desk.admissions.current == desk.facts.membership
    assert desk.admissions.ready() == ()
    assert desk.admissions.acting() == [], "newcomers are not told of it either"
    desk.commit()
    assert STOLEN in desk.admissions.current.removed
    assert desk.admissions.ready() == (signed,)


def test_a_newcomer_believes_what_it_was_let_in_with() -> None:
    desk = Desk()
    member = Member(peer_id="n" * 52, name="New", certificate="")
    change = MemberAdd(author=ADA, seq=1, after=commit_hash(9), member=member)
    signed = Operation.of(SimSigner(ADA).seal(change))
    signed = signed.joined(Operation.of(SimSigner(BOB).seal(change)))
    journal = Journal(operations={signed.id: signed})
    newcomer = Admissions(journal, SimSigner("n" * 52), desk.facts, [signed.id])
    assert "n" * 52 in newcomer.current.members
    somebody = Admissions(journal, SimSigner(CLEO), desk.facts)
    assert "n" * 52 not in somebody.current.members


def test_changes_made_after_false_commits_fill_no_places_but_their_authors() -> None:
    desk = Desk()
    genesis = simulated_genesis(4, "majority", 10_000)
    desk.facts = Facts.of(genesis, ROOM_ID, ())
    desk.admissions = Admissions(desk.journal, SimSigner(CLEO), desk.facts)
    (liar,) = genesis.admins
    for number in range(1, MAX_UNSIGNED_PER_AUTHOR + 1):
        change = MemberRemove(author=liar, seq=number, after="f" * 64, peer=BOB)
        desk.take(Operation.of(SimSigner(liar).seal(change)))
    change = MemberRemove(author=liar, seq=99, after="f" * 64, peer=BOB)
    with pytest.raises(LimitError):
        desk.take(Operation.of(SimSigner(liar).seal(change)))
    honest = MemberRemove(author=liar, seq=100, after=ROOM_ID, peer=CLEO)
    desk.take(Operation.of(SimSigner(liar).seal(honest)))
    assert CLEO in desk.admissions.current.removed
