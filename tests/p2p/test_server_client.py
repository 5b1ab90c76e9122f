"""Members talking to members over real sockets and TLS."""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import replace
from types import SimpleNamespace

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st
from member_rig import RawConnection, Room, eventually, request

from p2p.addresses import Address
from p2p.blobs.chunks import ChunkList
from p2p.client import ClientLimits, _into, _receive, _split_entries
from p2p.errors import BlobUnavailable, NetworkError, PeerBusy, ProtocolError, TrustError
from p2p.limits import (
    CHUNK_BYTES,
    MAX_LEDGER_REPLY_BYTES,
    MAX_LEDGER_REPLY_ENTRIES,
    MAX_QUEUED_MESSAGES,
)
from p2p.server import ServerLimits

IMPATIENT = ClientLimits(connect=0.5, request=1.0, hello=1.0, backoff_min=0.02, backoff_max=0.05)


# --- messages -------------------------------------------------------------------------------
async def test_messages_arrive_in_order_with_their_authenticated_sender(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    sent = [b"message %d" % i for i in range(50)]
    for data in sent:
        bob.client.send(ada.id, data)
    await eventually(lambda: len(ada.handler.messages) == len(sent))
    assert ada.handler.messages == [(bob.id, data) for data in sent]


async def test_only_the_newest_of_a_kind_is_sent(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    for i in range(20):
        bob.client.send(ada.id, b"have %d" % i, kind="have")
    bob.client.send(ada.id, b"last")
    await eventually(lambda: (bob.id, b"last") in ada.handler.messages)
    assert [data for _, data in ada.handler.messages] == [b"have 19", b"last"]


async def test_a_full_queue_loses_its_oldest_messages(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    for i in range(2 * MAX_QUEUED_MESSAGES):
        bob.client.send(ada.id, b"%d" % i)
    bob.client.send(ada.id, b"last")
    await eventually(lambda: (bob.id, b"last") in ada.handler.messages)
    assert len(ada.handler.messages) == MAX_QUEUED_MESSAGES
    assert ada.handler.messages[0][1] != b"0"


async def test_a_dead_peer_delays_nobody(room: Room) -> None:
    ada, bob, dead = await room.add(), await room.add(client=IMPATIENT), await room.add()
    await dead.server.stop()
    for i in range(200):
        bob.client.send(dead.id, b"%d" % i)
    bob.client.send(ada.id, b"x")
    await eventually(lambda: bool(ada.handler.messages))


async def test_a_peer_that_comes_back_gets_what_is_still_queued(room: Room) -> None:
    ada, bob = await room.add(), await room.add(client=IMPATIENT)
    port = ada.server.port
    await ada.server.stop()
    bob.client.send(ada.id, b"while you were away")
    await asyncio.sleep(0.1)
    await ada.server.start(["127.0.0.1"], port)
    bob.client.wake(ada.id)
    await eventually(lambda: bool(ada.handler.messages))
    assert ada.handler.messages == [(bob.id, b"while you were away")]


async def test_a_refused_message_is_dropped_and_the_next_one_sent(room: Room) -> None:
    ada, bob = await room.add(), await room.add(client=IMPATIENT)
    for data in (b"refuse", b"x"):
        bob.client.send(ada.id, data)
    await eventually(lambda: bool(ada.handler.messages))
    assert ada.handler.messages == [(bob.id, b"x")]


async def test_messages_for_strangers_and_removed_members_go_nowhere(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    bob.client.send("a" * 52, b"x")
    room.remove(bob)
    ada.client.send(bob.id, b"x")
    ada.client.forget(bob.id)
    bob.client.forget(ada.id)
    assert not ada.client._outboxes


async def test_old_messages_are_not_delivered(room: Room) -> None:
    ada = await room.add()
    bob = await room.add(client=ClientLimits(connect=0.5, request=1, backoff_min=0.02, queue_age=0))
    bob.client.send(ada.id, b"old")
    await asyncio.sleep(0.1)
    assert ada.handler.messages == []


# --- hello ----------------------------------------------------------------------------------
async def test_a_hello_is_answered(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    assert await bob.client.hello(ada.id, b"hi") == b"answer to hi"
    assert ada.handler.hellos == [(bob.id, b"hi", "127.0.0.1")]


async def test_failures_are_network_or_trust_errors(room: Room) -> None:
    ada, bob = await room.add(), await room.add(client=IMPATIENT)
    with pytest.raises(TrustError):
        await bob.client.hello("a" * 52, b"x")
    bob.addresses.forget(ada.id)
    with pytest.raises(NetworkError):
        await bob.client.hello(ada.id, b"x")
    await bob.client.stop()
    with pytest.raises(NetworkError):
        await bob.client.hello(ada.id, b"x")
    bob.client.send(ada.id, b"x")


async def test_a_peer_that_does_not_answer_times_out(room: Room) -> None:
    ada, bob = await room.add(client=ClientLimits(hello=0.2)), await room.add()

    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0, ssl=bob.tls.listening_context)
    ada.addresses.forget(bob.id)
    ada.addresses.hint(bob.id, [Address(*silent.sockets[0].getsockname())])
    async with silent:
        with pytest.raises(NetworkError):
            await ada.client.hello(bob.id, b"x")
    await ada.client.stop()


async def test_dead_addresses_are_passed_over_and_the_winner_remembered(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    bob.addresses.forget(ada.id)
    bob.addresses.hint(ada.id, [ada.address])
    bob.addresses.hint(ada.id, [Address("127.0.0.1", 1), Address("127.0.0.2", 1)])
    bob.addresses.worked(ada.id, Address("127.0.0.1", 2))
    assert await bob.client.hello(ada.id, b"x") == b"answer to x"
    assert bob.addresses.of(ada.id)[0] == ada.address


async def test_the_environment_cannot_redirect_us(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    ada, bob = await room.add(), await room.add()
    assert await bob.client.hello(ada.id, b"x") == b"answer to x"


async def test_after_a_reset_the_client_goes_on(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    await bob.client.hello(ada.id, b"x")
    await bob.client.reset()
    assert await bob.client.hello(ada.id, b"x") == b"answer to x"


# --- ledger ---------------------------------------------------------------------------------
async def test_the_ledger_comes_from_the_asked_round_on(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    ada.handler.entries = [b"genesis", b"one", b"two" * 1000]
    assert await bob.client.fetch_ledger(ada.id, 0) == list(ada.handler.entries)
    assert await bob.client.fetch_ledger(ada.id, 2) == [b"two" * 1000]
    assert await bob.client.fetch_ledger(ada.id, 3) == []


async def test_a_ledger_reply_is_bounded_and_never_empty_when_there_is_more(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    ada.handler.entries = [b"x"] * (MAX_LEDGER_REPLY_ENTRIES + 1)
    assert len(await bob.client.fetch_ledger(ada.id, 0)) == MAX_LEDGER_REPLY_ENTRIES
    big = bytes(MAX_LEDGER_REPLY_BYTES // 3)
    ada.handler.entries = [big] * 5
    assert await bob.client.fetch_ledger(ada.id, 0) == [big] * 2
    ada.handler.entries = [bytes(MAX_LEDGER_REPLY_BYTES), b"next"]
    assert len(await bob.client.fetch_ledger(ada.id, 0)) == 1


@given(st.binary(max_size=64))
def test_any_ledger_reply_is_entries_or_a_protocol_error(data: bytes) -> None:
    try:
        entries = _split_entries(data)
    except ProtocolError:
        return
    assert b"".join(struct.pack(">I", len(e)) + e for e in entries) == data


@pytest.mark.parametrize("entries", [[b""], [b"one", b""], [b"x"] * (MAX_LEDGER_REPLY_ENTRIES + 1)])
def test_a_ledger_reply_of_crumbs_is_refused(entries: list[bytes]) -> None:
    with pytest.raises(ProtocolError, match="empty entries, or too many"):
        _split_entries(b"".join(struct.pack(">I", len(e)) + e for e in entries))


# --- blobs over HTTP ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("header", "status", "expected"),
    [
        (None, 200, slice(0, 1000)),
        ("bytes=0-", 206, slice(0, 1000)),
        ("bytes=10-19", 206, slice(10, 20)),
        ("bytes=990-5000", 206, slice(990, 1000)),
        ("bytes=999-999", 206, slice(999, 1000)),
        ("bytes=1000-", 416, None),
        ("bytes=20-10", 416, None),
        ("bytes=-10", 416, None),
        ("bytes=0-1,5-6", 416, None),
        ("bytes=a-b", 416, None),
        ("bytes=" + "9" * 100 + "-", 416, None),
        ("lines=0-1", 416, None),
        ("bytes=\u0661-", 416, None),
    ],
)
async def test_ranges_of_a_blob(
    room: Room, header: str | None, status: int, expected: slice | None
) -> None:
    ada, bob = await room.add(), await room.add()
    content = os.urandom(1000)
    blob = await ada.store.put(content)
    connection = await RawConnection.open(ada.address, bob.tls.client_context(ada.id))
    headers = {"Range": header} if header else {}
    await connection.send(request("GET", f"/v1/blobs/{blob.sha256}", Connection="close", **headers))
    answer = await connection.read_all()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d" % status)
    assert body == (content[expected] if expected else b"")
    await connection.close()


async def test_an_empty_blob_can_be_fetched(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    blob = await ada.store.put(b"")
    path = await bob.store.fetch(bob.client, blob, lambda: [ada.id])
    assert path.read_bytes() == b""


async def test_a_blob_of_another_size_is_refused_before_it_is_sent(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    blob = await ada.store.put(bytes(1000))
    assert (await bob.client.fetch_chunk(ada.id, blob, 0)).data == bytes(1000)
    with pytest.raises(BlobUnavailable):
        await bob.client.fetch_chunk(ada.id, replace(blob, size=1001), 0)
    with pytest.raises(BlobUnavailable):
        await bob.client.fetch_chunk(ada.id, replace(blob, size=CHUNK_BYTES + 1), 1)


async def test_what_a_member_holds_comes_with_the_list_of_chunks(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    blob = await ada.store.put(os.urandom(2 * CHUNK_BYTES + 1))
    holdings = await bob.client.holdings(ada.id, blob)
    assert holdings.have == 0b111
    assert ChunkList.read(holdings.listing, blob).digest == blob.chunks
    assert (await bob.client.fetch_chunk(ada.id, blob, 2)).have == 0b111
    with pytest.raises(BlobUnavailable):
        await bob.client.holdings(ada.id, replace(blob, sha256="0" * 64))


async def test_chunks_are_not_counted_as_requests_but_crumbs_are(room: Room) -> None:
    ada = await room.add(server=ServerLimits(request_rate=0.001, request_burst=8))
    bob = await room.add()
    blob = await ada.store.put(bytes(20 * CHUNK_BYTES))
    for index in range(20):
        await bob.client.fetch_chunk(ada.id, blob, index)
    crumbs = await ada.store.put(b"crumb")
    for _ in range(8):
        await bob.client.fetch_chunk(ada.id, crumbs, 0)
    with pytest.raises(PeerBusy):
        await bob.client.fetch_chunk(ada.id, crumbs, 0)


async def test_a_connection_lost_between_two_reads_is_a_network_error() -> None:
    loop = asyncio.get_running_loop()
    never_connected = BaseProtocol(loop)
    content = StreamReader(never_connected, 1 << 16, loop=loop)
    answer = SimpleNamespace(content=content, content_length=None, connection=None)
    with pytest.raises(NetworkError, match="lost"):
        await _receive(answer, _into(bytearray()), 10)
