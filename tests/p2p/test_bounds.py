"""Small parts that keep the network layer within bounds: addresses, rates, tasks."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.accepting import HandshakeGate, HandshakeLimits
from p2p.addresses import Address, AddressBook
from p2p.errors import ProtocolError
from p2p.limits import MAX_ADDRESSES_PER_PEER, MAX_HINTED_PEERS
from p2p.pacing import TokenBucket, TransferPace
from p2p.tasks import TaskOwner


# --- addresses ------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["10.0.0.7:47778", "[fd00::7]:47778", "[fe80::1%eth0]:1"])
def test_an_address_is_read_as_it_is_written(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "host:1", "10.0.0.7", "10.0.0.7:", "10.0.0.7:0", "10.0.0.7:65536", "10.0.0.7:-1",
     "0.0.0.0:1", "224.0.0.1:1", "[::]:1", "10.0.0.7:１", "1.2.3.4:1:2", "10.0.0.7: 1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        Address.parse(text)


@given(st.text())
def test_any_text_is_an_address_or_a_protocol_error(text: str) -> None:
    try:
        Address.parse(text)
    except ProtocolError:
        return


def address(number: int) -> Address:
    return Address("10.0.0.1", number + 1)


def test_the_address_that_worked_is_tried_first_and_survives_a_flood_of_hints() -> None:
    book = AddressBook()
    book.hint("ada", [address(0), address(1)])
    book.worked("ada", address(1))
    book.hint("ada", map(address, range(100, 200)))
    assert book.of("ada")[0] == address(1)
    assert len(book.of("ada")) == MAX_ADDRESSES_PER_PEER


def test_a_new_hint_is_tried_before_older_ones() -> None:
    book = AddressBook()
    book.worked("ada", address(0))
    book.hint("ada", [address(1)])
    book.hint("ada", [address(2)])
    assert book.of("ada") == (address(0), address(2), address(1))


def test_the_book_forgets_the_peer_heard_of_longest_ago() -> None:
    book = AddressBook()
    for number in range(MAX_HINTED_PEERS + 1):
        book.hint(f"peer{number}", [address(number)])
    assert book.of("peer0") == ()
    assert book.of("peer1")


def test_invented_peers_do_not_crowd_out_those_that_were_reached() -> None:
    book = AddressBook()
    book.worked("ada", address(0))
    for number in range(2 * MAX_HINTED_PEERS):
        book.hint(f"peer{number}", [address(number)])
    assert book.of("ada") == (address(0),)
    for number in range(2 * MAX_HINTED_PEERS):
        book.worked(f"member{number}", address(number))
    assert book.of("ada") == (), "the table stays bounded all the same"
    assert len(book._peers) == len(book.remembered()) == MAX_HINTED_PEERS


# --- handshakes -----------------------------------------------------------------------------
def test_one_host_cannot_use_up_the_handshakes() -> None:
    gate = HandshakeGate(HandshakeLimits(total=4, per_host=2))
    assert gate.enter("10.0.0.1")
    assert gate.enter("10.0.0.1")
    assert not gate.enter("10.0.0.1")
    assert gate.enter("10.0.0.2")
    assert gate.enter("fe80::1%eth0")
    assert not gate.enter("10.0.0.3")
    gate.leave("10.0.0.1")
    assert gate.enter("10.0.0.3")


def test_a_room_on_one_machine_has_only_the_common_limit() -> None:
    gate = HandshakeGate(HandshakeLimits(total=4, per_host=1))
    assert [gate.enter("127.0.0.1") for _ in range(5)] == [True] * 4 + [False]


# --- rates ----------------------------------------------------------------------------------
def test_a_bucket_allows_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3, now=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.05)
    assert bucket.take(0.15)
    assert not bucket.take(0.16)


@given(st.lists(st.floats(0, 1), max_size=200))
def test_a_bucket_never_allows_more_than_burst_plus_rate(pauses: list[float]) -> None:
    bucket, now, taken = TokenBucket(rate=5, burst=7, now=0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
    assert taken <= 7 + 5 * now + 1e-6


def test_a_transfer_that_was_fast_may_not_stall_later() -> None:
    pace = TransferPace(started=0, grace=1, rate=100, window=1000)
    assert pace.deadline == 11
    pace.advance(1_000_000, now=2)
    assert pace.deadline == 13
    pace.advance(1, now=12)
    assert pace.deadline == 13, "a byte now and then does not buy time"


# --- tasks ----------------------------------------------------------------------------------
async def test_an_exception_in_a_task_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("seen")

    owner = TaskOwner("owner")
    with caplog.at_level(logging.ERROR):
        await asyncio.wait([owner.spawn(fail(), "work")])
        await asyncio.sleep(0)
    assert "owner: work failed" in caplog.text
    assert "seen" in caplog.text
    assert len(owner) == 0


async def test_cancelling_waits_until_everything_has_ended() -> None:
    ended = []

    async def linger() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    owner = TaskOwner("owner")
    owner.spawn(linger(), "a")
    owner.spawn(linger(), "b")
    await asyncio.sleep(0)
    await owner.cancel()
    assert ended == [True, True]
    assert len(owner) == 0
