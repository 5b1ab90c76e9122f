"""What a member that has turned hostile can send to our HTTP server, as raw bytes.

None of it may end in a status of the 5xx family that means "we broke" (500), in a hang, or in
bytes handed to the node behind the server.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from member_rig import Member, RawConnection, Room, eventually, identity, request

from p2p.addresses import Address
from p2p.client import ClientLimits
from p2p.errors import NetworkError, ProtocolError
from p2p.limits import MAX_LARGE_MESSAGE_BYTES, MAX_LEDGERS_PER_PEER, MAX_MESSAGE_BYTES, MIB
from p2p.server import ServerLimits

BOMB = gzip.compress(bytes(64 << 20))
FAST = ServerLimits(
    first_request=0.3, watchdog_interval=0.05, transfer_grace=0.2, min_transfer_rate=1 << 20
)


@dataclass
class Attack:
    """``victim`` serves; ``attacker`` is a member whose key we use for raw connections."""

    room: Room
    victim: Member
    attacker: Member

    async def connect(self) -> RawConnection:
        context = self.attacker.tls.client_context(self.victim.id)
        return await RawConnection.open(self.victim.address, context)

    async def ask(self, data: bytes) -> int:
        connection = await self.connect()
        try:
            return await connection.ask(data)
        finally:
            await connection.close()


@pytest.fixture
async def attack(room: Room) -> AsyncIterator[Attack]:
    victim = await room.add(server=FAST)
    yield Attack(room, victim, await room.add())
    assert victim.handler.messages == [], "nothing of this may reach the node"


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("POST", "/v1/messages", BOMB, Content_Encoding="gzip"), 415),
        (request("POST", "/v1/hello", gzip.compress(b"x"), Content_Encoding="deflate"), 415),
        (request("POST", "/v1/messages", b"x", Content_Encoding="identity"), 415),
        (request("POST", "/v1/hello", bytes(MAX_MESSAGE_BYTES + 1)), 413),
        (request("POST", "/v1/messages", bytes(MAX_LARGE_MESSAGE_BYTES + 1)), 413),
        (request("POST", "/v1/messages", chunked(bytes(MAX_LARGE_MESSAGE_BYTES + 1)),
                 Transfer_Encoding="chunked"), 413),
        (request("POST", "/v1/messages", Content_Length=str(1 << 40)), 413),
        (request("POST", "/v1/messages", b"refuse"), 400),
        (request("POST", "/v1/messages", b"later"), 429),
        (request("GET", "/v1/messages"), 405),
        (request("PUT", "/v1/messages", b"x"), 405),
        (request("HEAD", "/v1/ledger?from=0"), 405),
        (request("GET", "/"), 404),
        (request("GET", "/v1/blobs/../../etc/passwd"), 404),
        (request("GET", "/v1/blobs/%2e%2e%2fidentity.key"), 404),
        (request("GET", "/v1/blobs/" + "A" * 64), 404),
        (request("GET", "/v1/blobs/" + "a" * 64), 404),
        (request("GET", "/v1/blobs/" + "a" * 65), 404),
        (request("GET", "/v1/ledger"), 400),
        (request("GET", "/v1/ledger?from=-1"), 400),
        (request("GET", "/v1/ledger?from=" + "9" * 1000), 400),
        (request("GET", "/v1/ledger?from=1e3"), 400),
        (request("GET", "/v1/ledger?from=%D9%A1"), 400),
        (request("GET", "/" + "a" * 3000), 400),
        (request("GET", "/v1/ledger?from=0", X="a" * 9000), 400),
        (request("GET", "/v1/ledger?from=0", **{f"X{i}": "a" for i in range(100)}), 400),
        (request("POST", "/v1/hello", Content_Length="-1"), 400),
        (b"POST /v1/hello HTTP/1.1\r\nHost: m\r\nContent-Length: 1\r\n"
         b"Content-Length: 2\r\n\r\nx", 400),
        (b"POST /v1/hello HTTP/1.1\r\nHost: m\r\nContent-Length: 1\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET /v1/ledger?from=0 HTTP/1.1\nHost: m\n\n", 400),
        (bytes(range(256)) * 8, 400),
        (b"\x16\x03\x01" + bytes(100), 400),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)  # fmt: skip
async def test_a_hostile_request_is_refused(attack: Attack, data: bytes, status: int) -> None:
    assert await attack.ask(data) == status


ROUTES = {
    "/v1/messages": request("POST", "/v1/messages"),
    "/v1/hello": request("POST", "/v1/hello"),
    "/v1/probe/{peer}": request("POST", f"/v1/probe/{'a' * 52}"),
    "/v1/via/{peer}": request("POST", f"/v1/via/{'a' * 52}"),
    "/v1/blobs/{sha256}": request("GET", f"/v1/blobs/{'b' * 64}"),
    "/v1/blobs/{sha256}/chunks": request("GET", f"/v1/blobs/{'b' * 64}/chunks"),
    "/v1/exhibits/{round}": request("GET", "/v1/exhibits/1"),
    "/v1/ledger": request("GET", "/v1/ledger?from=0"),
}
"""A plain request to each, for others to be made of."""
EVERY_ROUTE = pytest.mark.parametrize("plain", ROUTES.values(), ids=ROUTES)


def with_headers(plain: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    return plain[:-2] + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


async def test_no_route_is_spared(attack: Attack) -> None:
    resources = attack.victim.server._application().router.resources()
    assert {resource.canonical for resource in resources} == ROUTES.keys()


@EVERY_ROUTE
async def test_no_route_takes_other_methods(attack: Attack, plain: bytes) -> None:
    method, _, rest = plain.partition(b" ")
    for other in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"SPAM"):
        if other != method:
            assert await attack.ask(other + b" " + rest) in (400, 405), other


@EVERY_ROUTE
async def test_no_route_inflates_a_body(attack: Attack, plain: bytes) -> None:
    length = b"Content-Length: %d" % len(BOMB)
    packed = with_headers(plain, b"Content-Encoding: gzip", length, body=BOMB)
    assert await attack.ask(packed) == 415


@EVERY_ROUTE
async def test_no_route_takes_two_lengths_or_a_request_within(attack: Attack, plain: bytes) -> None:
    inner = request("POST", "/v1/messages", b"smuggled")
    length = b"Content-Length: %d" % (5 + len(inner))
    both = with_headers(plain, length, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + inner)
    twice = with_headers(plain, length, b"Content-Length: 5", body=b"0\r\n\r\n" + inner)
    odd = with_headers(plain, b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n" + inner)
    for smuggled in (both, twice, odd):
        assert await attack.ask(smuggled) == 400


@EVERY_ROUTE
async def test_no_route_waits_for_a_body_without_end(attack: Attack, plain: bytes) -> None:
    status = await attack.ask(with_headers(plain, b"Content-Length: %d" % (1 << 40)))
    # 200: nobody reads the body; 504: whoever was to be probed does not answer.
    assert status in (200, 403, 404, 413, 504)


async def test_the_ledger_is_held_for_few_readers_of_one_member(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer is held in memory until it has been read."""
    patient = ServerLimits(transfer_grace=600.0)
    attack = Attack(room, await room.add(server=patient), await room.add())
    monkeypatch.setattr("p2p.server.MAX_LEDGER_REPLY_BYTES", 64 * MIB)
    attack.victim.handler.entries = [bytes(MIB)] * 60
    readers = [await attack.connect() for _ in range(MAX_LEDGERS_PER_PEER)]
    for reader in readers:
        assert await reader.ask(ROUTES["/v1/ledger"]) == 200
    assert await attack.ask(ROUTES["/v1/ledger"]) == 503
    for reader in readers:
        await reader.close()
    await eventually(lambda: not attack.victim.server._ledgers)
    assert await attack.ask(ROUTES["/v1/ledger"]) == 200


@pytest.mark.parametrize(
    "wanted",
    ["bytes=-1", "bytes=5-2", "bytes=0-1,3-4", "bytes=99999999999999999999-", "bytes=--1",
     "bytes=0x0-0x1", "bytes= 0-1", "lines=0-1", "bytes=\xb2-\xb3", "", "="],
)  # fmt: skip
async def test_what_is_no_range_gets_no_bytes(attack: Attack, wanted: str) -> None:
    ref = await attack.victim.store.put(b"ten bytes.")
    assert await attack.ask(request("GET", f"/v1/blobs/{ref.sha256}", Range=wanted)) == 416


async def test_a_multipart_body_is_just_bytes(attack: Attack) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="refuse"\r\n\r\nx\r\n--b--\r\n'
    data = request("POST", "/v1/hello", body, Content_Type="multipart/form-data; boundary=b")
    assert await attack.ask(data) == 200
    assert attack.victim.handler.hellos[-1][1] == body


@pytest.mark.parametrize(
    "body", [b"[" * 60_000, b"9" * 60_000, json.dumps({"t": 1}).encode(), b"\xff" * 100]
)
async def test_bodies_are_handed_over_as_they_are(attack: Attack, body: bytes) -> None:
    """The server parses nothing; p2p.envelope, which does, is tested with the same bytes."""
    assert await attack.ask(request("POST", "/v1/hello", body)) == 200
    assert attack.victim.handler.hellos[-1][1] == body


async def test_the_caller_is_who_the_certificate_says(attack: Attack) -> None:
    forged = identity(1).peer_id
    data = request("POST", "/v1/hello", b"x", X_Peer_Id=forged, From=forged, Host=forged)
    assert await attack.ask(data.replace(b"Host: member\r\n", b"")) == 200
    assert attack.victim.handler.hellos[-1][0] == attack.attacker.id


# --- slowness -------------------------------------------------------------------------------
async def test_a_silent_member_is_hung_up_on(attack: Attack) -> None:
    connection = await attack.connect()
    assert await connection.read_all() == b""
    await connection.close()


async def test_a_header_that_drips_is_hung_up_on(attack: Attack) -> None:
    connection = await attack.connect()

    async def drip() -> None:
        for byte in request("POST", "/v1/hello", b"x", Padding="a" * 2000):
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.02)

    dripping = asyncio.ensure_future(drip())
    assert await connection.read_all() == b""
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)
    await connection.close()


async def test_a_body_that_stops_is_given_up(attack: Attack) -> None:
    connection = await attack.connect()
    head = request("POST", "/v1/hello", Content_Length="1000")
    assert await connection.ask(head + b"first bytes") in {0, 408, 504}
    await connection.close()
    assert attack.victim.handler.hellos == []


async def test_a_reader_that_never_reads_does_not_keep_its_transfer(room: Room) -> None:
    victim, attacker = await room.add(server=FAST), await room.add()
    blob = await victim.store.put(bytes(32 << 20))
    context = attacker.tls.client_context(victim.id)
    connection = await RawConnection.open(victim.address, context)
    await connection.send(request("GET", f"/v1/blobs/{blob.sha256}"))
    await eventually(lambda: len(victim.server._uploads) > 0)
    await eventually(lambda: len(victim.server._uploads) == 0)
    await connection.close()


# --- quantity -------------------------------------------------------------------------------
async def test_a_flood_of_requests_is_slowed_down(room: Room) -> None:
    victim = await room.add(server=ServerLimits(request_rate=1, request_burst=5))
    attacker, other = await room.add(), await room.add()
    context = attacker.tls.client_context(victim.id)
    connection = await RawConnection.open(victim.address, context)
    last = request("GET", "/v1/ledger?from=0", Connection="close")
    await connection.send(request("GET", "/v1/ledger?from=0") * 99 + last)
    answers = await connection.read_all()
    assert answers.count(b"HTTP/1.1 ") == 100
    assert answers.count(b"HTTP/1.1 200") < 50, "5 at once and few more while they are answered"
    assert await other.client.hello(victim.id, b"x") == b"answer to x", "others are not affected"
    await connection.close()


async def test_connections_per_member_are_counted(room: Room) -> None:
    victim = await room.add(server=ServerLimits(connections_per_peer=2))
    attacker, other = await room.add(), await room.add()
    context = attacker.tls.client_context(victim.id)
    kept = [await RawConnection.open(victim.address, context) for _ in range(2)]
    for connection in kept:
        assert await connection.ask(request("POST", "/v1/hello", b"x")) == 200
    third = await RawConnection.open(victim.address, context)
    assert await third.ask(request("POST", "/v1/hello", b"x")) == 0
    assert await other.client.hello(victim.id, b"x") == b"answer to x"
    await kept.pop().close()
    await eventually(lambda: len(victim.server._connections) < 3)
    for connection in [*kept, third]:
        await connection.close()


async def test_transfers_per_member_are_counted(room: Room) -> None:
    victim, attacker = await room.add(server=ServerLimits(transfers_per_peer=1)), await room.add()
    blob = await victim.store.put(bytes(64 << 20))
    context = attacker.tls.client_context(victim.id)
    ask = request("GET", f"/v1/blobs/{blob.sha256}")
    first = await RawConnection.open(victim.address, context)
    await first.send(ask)
    await eventually(lambda: len(victim.server._uploads) > 0)
    second = await RawConnection.open(victim.address, context)
    assert await second.ask(ask) == 503
    await first.close()
    await second.close()


async def test_malformed_requests_do_not_fill_the_log(
    attack: Attack, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await attack.connect()
    assert await connection.ask(request("GET", "/v1/ledger?from=0")) == 200
    await connection.send(b"bad\r\n\r\n")
    await connection.read_all()
    await connection.close()
    assert not caplog.records


async def test_readers_that_hang_up_do_not_fill_the_log(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    victim, attacker = await room.add(), await room.add()
    blob = await victim.store.put(bytes(64 << 20))
    for _ in range(3):
        context = attacker.tls.client_context(victim.id)
        connection = await RawConnection.open(victim.address, context)
        await connection.send(request("GET", f"/v1/blobs/{blob.sha256}"))
        await eventually(lambda: len(victim.server._uploads) > 0)
        connection._writer.transport.abort()
        await eventually(lambda: len(victim.server._uploads) == 0)
    assert not caplog.records


async def test_pipelined_requests_do_not_pile_up(attack: Attack) -> None:
    connection = await attack.connect()
    last = request("GET", "/v1/ledger?from=0", Connection="close")
    await connection.send(request("GET", "/v1/ledger?from=0") * 150 + last)
    answers = await connection.read_all()
    assert answers.count(b"HTTP/1.1 200") == 151
    await connection.close()


# --- anything at all ------------------------------------------------------------------------
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from(
                [b"GET ", b"POST ", b"/v1/hello", b"/v1/ledger?from=", b" HTTP/1.1", b"\r\n", b"\n",
                 b"Content-Length: ", b"Transfer-Encoding: chunked", b"Range: bytes=", b"0", b"-1",
                 b"ffffffffffffffff", b"\0", b"Upgrade: websocket\r\nConnection: upgrade", b": "]
            ),
            max_size=30,
        ).map(b"".join),
    )
)  # fmt: skip
async def test_any_bytes_get_an_answer_or_a_closed_connection(attack: Attack, data: bytes) -> None:
    connection = await attack.connect()
    await connection.send(data + b"\r\n\r\n")
    answer = await connection.read_all()
    assert b"HTTP/1.1 500" not in answer
    assert b"Traceback" not in answer
    await connection.close()


# --- hostile servers ------------------------------------------------------------------------
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 1000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_MESSAGE_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 500 \x1b]0;x\x07\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999999999 OK\r\n\r\n",
    ],
)
async def test_a_hostile_answer_is_a_network_error(room: Room, answer: bytes) -> None:
    ada = await room.add(client=ClientLimits(hello=1.0, request=1.0))
    mallory = await room.add()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        if not answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999"):
            writer.close()

    await mallory.server.stop()
    impostor = await asyncio.start_server(
        respond, "127.0.0.1", 0, ssl=mallory.tls.listening_context
    )
    async with impostor:
        host, port = impostor.sockets[0].getsockname()
        ada.addresses.forget(mallory.id)
        ada.addresses.hint(mallory.id, [Address(host, port)])
        with pytest.raises(NetworkError):
            await ada.client.hello(mallory.id, b"x")
        with pytest.raises((NetworkError, ProtocolError)):
            await ada.client.fetch_ledger(mallory.id, 0)


async def test_a_redirect_is_not_followed(room: Room) -> None:
    """A member must not be able to make us connect elsewhere on its behalf."""
    ada, mallory = await room.add(client=ClientLimits(hello=1.0)), await room.add()
    lured: list[object] = []
    trap = await asyncio.start_server(lambda *connection: lured.append(connection), "127.0.0.1", 0)
    port = trap.sockets[0].getsockname()[1]

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        location = b"Location: http://127.0.0.1:%d/\r\n" % port
        writer.write(b"HTTP/1.1 307 Go\r\n" + location + b"Content-Length: 0\r\n\r\n")
        writer.close()

    impostor = await asyncio.start_server(
        redirect, "127.0.0.1", 0, ssl=mallory.tls.listening_context
    )
    async with trap, impostor:
        ada.addresses.forget(mallory.id)
        ada.addresses.hint(mallory.id, [Address(*impostor.sockets[0].getsockname())])
        with pytest.raises(NetworkError, match="307"):
            await ada.client.hello(mallory.id, b"x")
    assert lured == []
