"""Who may change the membership, and that no order of delivery brings a removed member back."""

from __future__ import annotations

from itertools import permutations

import pytest

from p2p.errors import ProtocolError
from p2p.membership import Membership, SignaturesMissing, check_signatures
from p2p.operations import AdminChange, Change, MemberAdd, MemberRemove, Operation
from p2p.room import Member, Role
from p2p.sim.parts import ROOM_ID, SimSigner, peer_ids, simulated_genesis

ADA, BOB, CLEO, DAN, EVE = peer_ids(5)
ROOM = Membership.founding(simulated_genesis(2, "majority", 1000))


def signed(change: Change, *signers: str) -> Operation:
    operation = Operation.of(SimSigner(signers[0]).seal(change))
    for signer in signers[1:]:
        operation = operation.joined(Operation.of(SimSigner(signer).seal(change)))
    return operation


def member(peer: str, role: Role = "participant", name: str = "") -> Member:
    return Member(peer_id=peer, name=name or peer[:1], role=role, certificate="")


def add(peer: str, *, seq: int = 1, by: str = ADA, role: Role = "participant") -> Operation:
    change = MemberAdd(author=by, seq=seq, after=ROOM_ID, member=member(peer, role))
    return signed(change, by)


def remove(peer: str, *, seq: int = 2, by: str = ADA) -> Operation:
    return signed(MemberRemove(author=by, seq=seq, after=ROOM_ID, peer=peer), by)


def lead(admins: tuple[str, ...], threshold: int, *signers: str, seq: int = 9) -> Operation:
    change = AdminChange(
        author=signers[0], seq=seq, after=ROOM_ID, admins=admins, threshold=threshold
    )
    return signed(change, *signers)


def test_an_admin_admits_and_removes() -> None:
    joined = ROOM.after(add(CLEO))
    assert set(joined.members) == {ADA, BOB, CLEO}
    gone = joined.after(remove(CLEO))
    assert set(gone.members) == {ADA, BOB}
    assert set(ROOM.members) == {ADA, BOB}


@pytest.mark.parametrize("by", [BOB, EVE])
def test_nobody_else_does(by: str) -> None:
    for operation in (add(CLEO, by=by), remove(ADA, by=by), lead((BOB,), 1, by)):
        with pytest.raises(ProtocolError, match="who may not"):
            ROOM.after(operation)


def test_a_removed_key_never_comes_back_in_whatever_order_the_news_arrive() -> None:
    news = [add(CLEO, seq=1), remove(CLEO, seq=2), add(CLEO, seq=3)]
    for order in permutations(news):
        membership = ROOM.folded(ROOM.applicable(order))
        assert CLEO not in membership.members
    with pytest.raises(ProtocolError, match="do not come back"):
        ROOM.folded(news)


def test_whoever_left_by_itself_may_be_admitted_again_but_not_by_the_old_signature() -> None:
    left = ROOM.folded([add(CLEO, seq=1), remove(CLEO, seq=1, by=CLEO)])
    assert CLEO not in left.members
    with pytest.raises(ProtocolError, match="outdated"):
        left.after(add(CLEO, seq=1))
    again = left.after(add(CLEO, seq=2))
    assert CLEO in again.members
    with pytest.raises(ProtocolError, match="outdated"):
        again.after(remove(CLEO, seq=1, by=CLEO))


def test_a_later_record_of_a_member_replaces_an_earlier_one_and_not_the_other_way_round() -> None:
    membership = ROOM.after(add(BOB, seq=5, role="observer"))
    assert not membership.trains(BOB)
    with pytest.raises(ProtocolError, match="outdated"):
        membership.after(add(BOB, seq=4))
    assert membership.after(add(BOB, seq=6)).trains(BOB)


def test_as_many_admins_must_sign_as_the_threshold_says() -> None:
    shared = ROOM.folded([add(CLEO, seq=1), lead((ADA, BOB, CLEO), 2, ADA, BOB)])
    assert shared.threshold == 2
    assert shared.members[CLEO].role == "admin"
    wish = MemberAdd(author=ADA, seq=20, after=ROOM_ID, member=member(DAN))
    with pytest.raises(SignaturesMissing):
        shared.after(signed(wish, ADA))
    with pytest.raises(SignaturesMissing):
        shared.after(signed(wish, ADA, EVE))
    assert DAN in shared.after(signed(wish, ADA, CLEO)).members


def test_text_that_a_terminal_would_obey_is_refused_before_anybody_is_asked_to_sign() -> None:
    shared = ROOM.folded([add(CLEO, seq=1), lead((ADA, BOB, CLEO), 2, ADA, BOB)])
    wish = MemberRemove(author=ADA, seq=20, after=ROOM_ID, peer=CLEO, reason="x\x1b]52;c;aGk=\x07")
    with pytest.raises(ProtocolError, match="not shown"):
        shared.after(signed(wish, ADA))
    renamed = member(DAN).model_copy(update={"name": "Dan\nWARNING"})
    with pytest.raises(ProtocolError, match="not shown"):
        shared.after(signed(MemberAdd(author=ADA, seq=21, after=ROOM_ID, member=renamed), ADA))


def test_a_threshold_above_the_number_of_admins_asks_all_of_them() -> None:
    founded = Membership.founding(
        simulated_genesis(3, "majority", 1000).model_copy(update={"admin_threshold": 2})
    )
    assert CLEO not in founded.after(remove(CLEO)).members, "a founder alone is all of them"
    with pytest.raises(SignaturesMissing, match="new admins"):
        founded.after(lead((ADA, BOB), 2, ADA))
    two = founded.after(lead((ADA, BOB), 2, ADA, BOB))
    with pytest.raises(SignaturesMissing):
        two.after(remove(CLEO))
    with pytest.raises(ProtocolError, match="fewer admins"):
        two.after(signed(MemberRemove(author=BOB, seq=1, after=ROOM_ID, peer=BOB), BOB))
    with pytest.raises(ProtocolError, match="more signatures than it has admins"):
        two.after(lead((ADA,), 2, ADA, BOB, seq=10))
    assert two.after(lead((ADA,), 1, ADA, BOB, seq=10)).needed == 1


def test_new_admins_must_agree_to_be_admins() -> None:
    with pytest.raises(SignaturesMissing, match="new admins"):
        ROOM.after(lead((BOB,), 1, ADA))
    handed_over = ROOM.after(lead((BOB,), 1, ADA, BOB))
    assert handed_over.admins == {BOB}
    with pytest.raises(ProtocolError, match="may not"):
        handed_over.after(add(CLEO, seq=10))


def test_a_room_never_has_fewer_admins_than_must_sign() -> None:
    with pytest.raises(ProtocolError, match="fewer admins"):
        ROOM.after(remove(ADA))
    with pytest.raises(ProtocolError, match="more signatures than it has admins"):
        ROOM.after(lead((ADA,), 2, ADA))
    with pytest.raises(ProtocolError, match="must be a member"):
        ROOM.after(lead((ADA, EVE), 1, ADA))


def test_a_stolen_admin_is_removed_by_the_others() -> None:
    shared = ROOM.after(lead((ADA, BOB), 1, ADA))
    rest = shared.after(remove(ADA, by=BOB))
    assert rest.admins == {BOB}
    assert ADA not in rest.members


def test_a_newcomer_cannot_be_made_an_admin_on_the_side() -> None:
    with pytest.raises(ProtocolError, match="who is an admin"):
        ROOM.after(add(CLEO, role="admin"))


def test_a_name_that_would_be_cleaned_is_refused() -> None:
    change = MemberAdd(author=ADA, seq=1, after=ROOM_ID, member=member(CLEO, name="a\x1b[2Jb"))
    with pytest.raises(ProtocolError, match="characters that are not shown"):
        ROOM.after(signed(change, ADA))


def test_what_depends_on_another_change_waits_for_it() -> None:
    news = [add(CLEO, seq=1, by=BOB), lead((ADA, BOB), 1, ADA, seq=7)]
    for order in permutations(news):
        assert ROOM.applicable(order) == (news[1], news[0])


def test_a_signature_that_does_not_fit_is_refused() -> None:
    operation = add(CLEO)
    check_signatures(operation, SimSigner(ADA).verify)
    forged = operation.model_copy(update={"body": operation.body.replace('"seq":1', '"seq":2')})
    with pytest.raises(ProtocolError, match="does not fit"):
        check_signatures(Operation.model_validate(forged.model_dump()), SimSigner(ADA).verify)
