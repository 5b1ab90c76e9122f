"""Lobbies that lie to whoever asks to be let in: the joiner ends with an error and nothing else."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lobby_rig import genesis_of, joiner
from member_rig import LOOPBACK, PATIENCE, identity

from p2p.addresses import Address
from p2p.errors import NetworkError, P2PError, ProtocolError, TrustError
from p2p.joining import joiner as joiner_module
from p2p.joining import wire
from p2p.joining.door import lobby_context
from p2p.joining.handshake import Proofs, invite_id, transcript
from p2p.joining.link import InviteLink

INVITER = identity(1)
ROOM = genesis_of(INVITER)
SECRET = bytes(range(16))
Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def false_lobby(play: Play) -> AsyncIterator[InviteLink]:
    """A lobby with the right key that follows a script, and a link to it."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, ProtocolError):
            await play(reader, writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, LOOPBACK, 0, ssl=lobby_context(INVITER))
    async with server:
        yield InviteLink(
            room=ROOM.id,
            inviter=INVITER.peer_id,
            secret=SECRET,
            addresses=(Address(LOOPBACK, server.sockets[0].getsockname()[1]),),
            expires_ms=0,
            uses=1,
            head_round=0,
            head=ROOM.id,
        )


async def error_of(play: Play) -> P2PError:
    async with false_lobby(play) as link, asyncio.timeout(PATIENCE):
        with pytest.raises(P2PError) as caught:
            await joiner(2).by_link(link)
    assert caught.value.cause
    return caught.value


async def challenge(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes = SECRET
) -> Proofs:
    """Plays the part up to the joiner's proof as a real lobby does."""
    hello = await wire.read_frame(reader, 1 << 20)
    assert wire.read(wire.Hello, hello).invite == invite_id(SECRET)
    said = wire.Challenge(version=1, room=ROOM.id, nonce="0" * 32)
    writer.write(wire.frame(said))
    await wire.read_frame(reader, 1 << 20)
    return Proofs.of(secret, transcript(INVITER.certificate_der(), hello, said.to_bytes()))


def admitted(**changes: object) -> wire.Admitted:
    values = {
        "genesis": ROOM.to_bytes().decode(),
        "addresses": {},
        "head_round": 0,
        "head": ROOM.id,
        **changes,
    }
    return wire.Admitted.model_validate(values)


def admits(answer: bytes) -> Play:
    """A lobby that does all it should and then answers this."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proofs = await challenge(reader, writer)
        writer.write(wire.frame(wire.Welcome(mac=proofs.inviter)))
        await wire.read_frame(reader, 1 << 20)
        writer.write(answer)

    return play


def says(data: bytes) -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.read_frame(reader, 1 << 20)
        writer.write(data)

    return play


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\xff" * 64,
        framed(b"{"),
        framed(b'{"say":"refused","reason":"because","clock_ms":0}'),
        framed(b'{"say":"refused","reason":"expired","clock_ms":-1}'),
        framed(b'{"say":["refused"]}'),
        framed(b'{"say":"admitted"}'),
        framed(b"[" * 5000),
        framed(b'{"say":"challenge","version":1,"room":"x","nonce":"y"}'),
        struct.pack(">I", wire.MAX_ADMITTED_BYTES + 1),
    ],
)
async def test_nonsense_ends_in_an_error_of_the_family(data: bytes) -> None:
    assert isinstance(await error_of(says(data)), NetworkError | ProtocolError | TrustError)


async def test_a_lobby_that_does_not_know_the_secret_gets_no_record() -> None:
    """It has the inviter's key, stolen say, and lets everybody pass."""
    got: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proofs = await challenge(reader, writer, secret=bytes(16))
        writer.write(wire.frame(wire.Welcome(mac=proofs.inviter)))
        got.append(await wire.read_frame(reader, 1 << 20))

    error = await error_of(play)
    assert "does not know the invite" in error.cause
    assert got == []


@pytest.mark.parametrize(
    "answer",
    [
        admitted(genesis=genesis_of(INVITER, nonce="1" * 32).to_bytes().decode()),
        admitted(genesis="{}"),
        admitted(addresses={identity(1).peer_id: ("example.org:1",)}),
        admitted(addresses={identity(1).peer_id: ("0.0.0.0:1",)}),
    ],
    ids=["another room", "no genesis", "a host name", "no machine"],
)
async def test_an_admission_to_something_else_is_none(answer: wire.Admitted) -> None:
    assert isinstance(await error_of(admits(wire.frame(answer))), ProtocolError | TrustError)


async def test_a_right_admission_is_taken() -> None:
    """The scripts above are wrong in one thing each, and not in everything."""
    async with false_lobby(admits(wire.frame(admitted()))) as link:
        assert (await joiner(2).by_link(link)).room == ROOM.id


async def test_a_lobby_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner_module, "LOBBY_PROOF_TIMEOUT", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    assert isinstance(await error_of(silent), NetworkError)


async def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner_module, "LOBBY_APPROVAL_TIMEOUT", 0.2)
    monkeypatch.setattr(joiner_module, "LOBBY_ADMIT_TIMEOUT", 0.1)

    async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await admits(b"")(reader, writer)
        while True:
            writer.write(wire.frame(wire.Waiting()))
            await asyncio.sleep(0.02)

    assert isinstance(await error_of(forever), NetworkError)


@given(st.binary(min_size=1), st.binary(), st.binary(), st.integers(0, 2), st.data())
def test_the_transcript_covers_every_part(
    certificate: bytes, hello: bytes, said: bytes, which: int, data: st.DataObject
) -> None:
    parts = [certificate, hello, said]
    other = data.draw(st.binary().filter(lambda b: b != parts[which]))
    changed = [other if i == which else part for i, part in enumerate(parts)]
    assert transcript(*parts) != transcript(*changed)


def test_where_one_part_ends_and_the_next_begins_matters() -> None:
    assert transcript(b"ab", b"c", b"") != transcript(b"a", b"bc", b"")
