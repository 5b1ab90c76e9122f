"""The book of invites: what it counts is on the disk before anybody can profit from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from lobby_rig import Clock
from member_rig import identity

from p2p.errors import LimitError
from p2p.joining.invites import FILE_NAME, InviteBook, NotUsable
from p2p.limits import CODE_GUESSES, MAX_OPEN_INVITES

ADA, GRACE, ALAN = (identity(number).peer_id for number in (1, 2, 3))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> Iterator[InviteBook]:
    book = InviteBook(tmp_path, clock=clock)
    yield book
    book.close()


def reason(book: InviteBook, id_: str, peer: str = ADA) -> str:
    with pytest.raises(NotUsable) as caught:
        book.by_link(id_, peer)
    return caught.value.reason


def test_a_link_admits_as_many_as_it_says_and_no_more(book: InviteBook) -> None:
    invite = book.create_link(uses=2, lifetime=60)
    for peer in (ADA, GRACE):
        book.take_use(book.by_link(invite.id, peer).id, peer, "x")
    assert reason(book, invite.id, ALAN) == "used_up"
    with pytest.raises(NotUsable):
        book.take_use(invite.id, ALAN, "x")
    assert [guest.peer for guest in book.invites()[0].guests] == [ADA, GRACE]


def test_many_at_once_do_not_get_more_uses_than_there_are(tmp_path: Path, book: InviteBook) -> None:
    invite = book.create_link(uses=3, lifetime=60)
    admitted: list[str] = []

    def come(number: int) -> None:
        own = InviteBook(tmp_path, clock=Clock())
        try:
            own.take_use(invite.id, identity(number).peer_id, "x")
            admitted.append(identity(number).peer_id)
        except NotUsable:
            pass
        finally:
            own.close()

    threads = [threading.Thread(target=come, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 3 == book.invites()[0].used


def test_the_same_guest_counts_once_and_may_ask_again(book: InviteBook, clock: Clock) -> None:
    invite = book.create_link(uses=1, lifetime=60)
    book.take_use(invite.id, ADA, "Ada")
    book.take_use(invite.id, ADA, "Ada")
    assert book.invites()[0].used == 1
    clock.now += 61
    assert book.by_link(invite.id, ADA).id == invite.id
    assert reason(book, invite.id, GRACE) == "used_up"


def test_a_failed_admission_gives_its_use_back(book: InviteBook) -> None:
    invite = book.create_link(uses=1, lifetime=60)
    book.take_use(invite.id, ADA, "Ada")
    book.return_use(invite.id, ADA)
    book.return_use(invite.id, GRACE)
    assert book.by_link(invite.id, GRACE).used == 0


def test_an_invite_ends_with_its_time_by_the_inviters_clock(book: InviteBook, clock: Clock) -> None:
    invite = book.create_link(uses=1, lifetime=60)
    clock.now += 60
    assert reason(book, invite.id) == "expired"
    assert book.open_invites() == []


def test_who_proved_in_time_may_wait_for_a_person_past_the_expiry(
    book: InviteBook, clock: Clock
) -> None:
    invite = book.create_link(uses=1, lifetime=60)
    clock.now += 61
    book.take_use(invite.id, ADA, "Ada")
    assert book.invites()[0].used == 1


def test_a_withdrawn_invite_lets_nobody_in(book: InviteBook) -> None:
    invite, code = book.create_link(uses=5, lifetime=60), book.create_code(lifetime=60)
    assert book.revoke(invite.id[:8])[0].id == invite.id
    assert reason(book, invite.id) == "revoked"
    assert book.revoke(str(code.nameplate))[0].id == code.id
    with pytest.raises(NotUsable, match="revoked"):
        book.take_use(invite.id, ADA, "x")


def test_guesses_are_spent_before_they_are_answered_and_survive_a_crash(
    tmp_path: Path, clock: Clock
) -> None:
    """Each book is abandoned without a close, as kill -9 leaves it."""
    nameplate = InviteBook(tmp_path, clock=clock).create_code(lifetime=60).nameplate
    assert nameplate is not None
    for _ in range(CODE_GUESSES):
        InviteBook(tmp_path, clock=clock).guess(nameplate, ADA)
    with pytest.raises(NotUsable, match="burnt"):
        InviteBook(tmp_path, clock=clock).guess(nameplate, GRACE)


def test_a_right_guess_is_given_back(book: InviteBook) -> None:
    code = book.create_code(lifetime=60)
    assert code.nameplate is not None
    for _ in range(2 * CODE_GUESSES):
        book.guess(code.nameplate, ADA)
        book.guessed_right(code.id)
    assert book.invites()[0].guesses == 0


def test_two_open_codes_never_share_a_number(book: InviteBook) -> None:
    codes = [book.create_code(lifetime=60) for _ in range(40)]
    assert len({code.nameplate for code in codes}) == 40
    assert all(str(code.code).startswith(f"{code.nameplate}-") for code in codes)


def test_a_code_is_not_found_as_a_link(book: InviteBook) -> None:
    assert reason(book, book.create_code(lifetime=60).id) == "unknown"


@pytest.mark.parametrize(("uses", "lifetime"), [(0, 60), (129, 60), (1, 0), (1, 1e9)])
def test_invites_are_bounded(book: InviteBook, uses: int, lifetime: float) -> None:
    with pytest.raises(LimitError):
        book.create_link(uses=uses, lifetime=lifetime)


def test_the_number_of_open_invites_is_bounded(book: InviteBook, clock: Clock) -> None:
    for _ in range(MAX_OPEN_INVITES):
        book.create_link(uses=1, lifetime=60)
    with pytest.raises(LimitError):
        book.create_code(lifetime=60)
    clock.now += 61
    book.create_code(lifetime=60)


def test_only_the_owner_can_read_the_secrets(tmp_path: Path, book: InviteBook) -> None:
    book.create_link(uses=1, lifetime=60)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0
