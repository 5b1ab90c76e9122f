"""Strangers at the lobby, with raw sockets: bounded, refused, and no trouble for anybody else."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lobby_rig import QUICK, Open, joiner, open_lobby
from member_rig import LOOPBACK, PATIENCE, RawConnection, Room, eventually, identity

from p2p.accepting import HandshakeLimits
from p2p.envelope import open_envelope, seal
from p2p.errors import ProtocolError
from p2p.joining import wire
from p2p.joining.door import visitor_context
from p2p.joining.handshake import Proofs, invite_id, inviter_side, transcript
from p2p.joining.link import InviteLink
from p2p.limits import LOBBY_NOTE_BURST, MAX_LOBBY_FRAME_BYTES
from p2p.room import Member


@pytest.fixture
async def open_(tmp_path: Path) -> AsyncIterator[Open]:
    async with open_lobby(tmp_path) as lobby:
        yield lobby


async def dial(open_: Open) -> RawConnection:
    return await RawConnection.open(open_.address, visitor_context(lambda _: True))


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def answers(data: bytes) -> list[dict[str, object]]:
    """The lobby's frames."""
    found = []
    while data:
        (size,) = struct.unpack_from(">I", data)
        found.append(json.loads(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


async def reply_to(open_: Open, data: bytes) -> list[dict[str, object]]:
    connection = await dial(open_)
    await connection.send(data)
    said = answers(await connection.read_all())
    await connection.close()
    return said


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x00" * 64,
    b"\xff" * 64,
    framed(b"{"),
    framed(b"[" * 4000),
    framed(b'{"say":"hello","say":"hello"}'),
    framed(b'{"say":"admitted"}'),
    framed(b"1" * 5000),
    framed(b'"' + "\ud7ff".encode() * 100 + b'"'),
    framed(os.urandom(500)),
    framed(b"null"),
    framed(b'{"say":"hello","oldest":1e9}'),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_answered_with_a_word_or_not_at_all(open_: Open, garbage: bytes) -> None:
    link = await open_.link()
    said = await reply_to(open_, garbage)
    assert [(a["say"], a["reason"]) for a in said] in ([("refused", "malformed")], [])
    await joiner(2).by_link(link)


async def test_an_oversize_frame_is_refused_by_its_announced_length(open_: Open) -> None:
    await open_.link()
    said = await reply_to(open_, struct.pack(">I", MAX_LOBBY_FRAME_BYTES + 1))
    assert said[0]["reason"] == "malformed"


async def test_plain_text_and_old_tls_get_no_further_than_the_handshake(open_: Open) -> None:
    link = await open_.link()
    plain = await RawConnection.open(open_.address, None)
    await plain.send(b"GET / HTTP/1.1\r\n\r\n")
    said = await plain.read_all()
    assert b"HTTP" not in said
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await RawConnection.open(open_.address, old)
    await joiner(2).by_link(link)


async def test_the_lobby_gives_no_session_to_resume(open_: Open) -> None:
    await open_.link()

    def handshake() -> bool:
        with socket.create_connection((LOOPBACK, open_.address.port)) as plain:
            session = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            session.check_hostname, session.verify_mode = False, ssl.CERT_NONE
            with session.wrap_socket(plain) as tls:
                tls.settimeout(0.3)
                with suppress(OSError):
                    tls.recv(1)
                return bool(tls.session and tls.session.has_ticket)

    assert not await asyncio.to_thread(handshake)


async def test_silent_and_slow_visitors_are_cut_off(tmp_path: Path) -> None:
    async with open_lobby(tmp_path, limits=replace(QUICK, proof=0.3)) as open_:
        await open_.link()
        silent, slow = await dial(open_), await dial(open_)
        await slow.send(b"\x00\x00\x01")
        assert await silent.read_all() == b""
        assert await slow.read_all() == b""


async def test_a_thousand_at_once_are_bounded_and_leave_room_for_members(
    tmp_path: Path, room: Room
) -> None:
    """The lobby under attack; beside it two members in the same process talk to each other."""
    first, second = await room.add(), await room.add()
    process = psutil.Process()
    limits = replace(QUICK, proof=1.0, handshakes=HandshakeLimits(timeout=1.0))
    async with open_lobby(tmp_path, limits=limits) as open_:
        link = await open_.link(lifetime=600)
        before = process.memory_info().rss

        async def attack() -> None:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection(LOOPBACK, open_.address.port)
                    writer.write(b"\x16\x03\x01")
                    await reader.read(1)
                    writer.close()

        attackers = [asyncio.create_task(attack()) for _ in range(1000)]
        for _ in range(5):
            await first.client.hello(second.id, b"still there?")
            assert len(open_.lobby._owner) <= QUICK.sessions + 1
        await asyncio.gather(*attackers)
        assert process.memory_info().rss - before < 64 << 20
        await joiner(2).by_link(link)


async def test_only_so_many_talk_at_once_and_the_rest_is_told(tmp_path: Path) -> None:
    async with open_lobby(tmp_path, limits=replace(QUICK, sessions=3)) as open_:
        link = await open_.link()
        waiting = [await dial(open_) for _ in range(3)]
        await eventually(lambda: open_.lobby._sessions.total() == 3)
        said = answers(await (await dial(open_)).read_all())
        assert said[0]["reason"] == "busy"
        for connection in waiting:
            await connection.close()
        await eventually(lambda: open_.lobby._sessions.total() == 0)
        await joiner(2).by_link(link)


async def test_strangers_cannot_fill_the_log(open_: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "p2p.joining")
    await open_.link()
    for _ in range(3 * LOBBY_NOTE_BURST):
        await reply_to(open_, framed(b"{"))
    lines = [record for record in caplog.records if "not understood" in record.getMessage()]
    assert 0 < len(lines) <= 2 * LOBBY_NOTE_BURST


# --- replay and mixing ------------------------------------------------------------------------
class Conversation:
    """A joiner by hand, so that each part can be another's."""

    def __init__(self, open_: Open, link: InviteLink, number: int) -> None:
        self.me = identity(number)
        self.open_ = open_
        self.link = link

    def hello(self, nonce: str = "0" * 32) -> bytes:
        return wire.Hello(
            oldest=1,
            newest=1,
            peer=self.me.peer_id,
            nonce=nonce,
            invite=invite_id(self.link.secret),
            room=self.link.room,
        ).to_bytes()

    async def prove(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Up to the lobby's welcome; returns the transcript too."""
        reader, writer = await asyncio.open_connection(
            LOOPBACK,
            self.open_.address.port,
            ssl=visitor_context(lambda _: True),
            server_hostname="x",
        )
        hello = self.hello()
        writer.write(framed(hello))
        challenge = await wire.read_frame(reader, 1 << 20)
        seen = transcript(self.open_.inviter.certificate_der(), hello, challenge)
        proofs = Proofs.of(self.link.secret, seen)
        writer.write(wire.frame(wire.Proof(mac=proofs.joiner)))
        assert wire.read(wire.Welcome, await wire.read_frame(reader, 1 << 20)).mac == proofs.inviter
        return reader, writer, seen

    def request(self, seen: bytes, *, signer: int = 0, member: int = 0, room: str = "") -> bytes:
        who = identity(member) if member else self.me
        asking = wire.Asking(transcript=seen.hex(), member=Member.of(who, "Mallory"))
        key = identity(signer) if signer else self.me
        envelope = seal(key, room or self.link.room, wire.REQUEST_TYPE, asking.to_bytes())
        return wire.frame(wire.Request(envelope=envelope.to_bytes().decode()))


@pytest.mark.parametrize(
    "forged",
    [{"signer": 3}, {"member": 3}, {"member": 3, "signer": 3}, {"room": "0" * 64}],
    ids=["signed by another", "record of another", "all of another", "for another room"],
)
async def test_a_request_that_is_not_the_visitors_own_admits_nobody(
    open_: Open, forged: dict[str, object]
) -> None:
    talk = Conversation(open_, await open_.link(), 2)
    reader, writer, seen = await talk.prove()
    writer.write(talk.request(seen, **forged))
    refused = wire.read(wire.Refused, await wire.read_frame(reader, 1 << 20))
    assert refused.reason == "malformed"
    assert not open_.room.members
    writer.close()


async def test_a_request_replayed_into_another_conversation_admits_nobody(open_: Open) -> None:
    talk = Conversation(open_, await open_.link(uses=2), 2)
    _, first, seen = await talk.prove()
    recorded = talk.request(seen)
    first.close()
    reader, writer, other = await talk.prove()
    assert other != seen
    writer.write(recorded)
    refused = wire.read(wire.Refused, await wire.read_frame(reader, 1 << 20))
    assert refused.reason == "malformed"
    assert not open_.room.members
    writer.close()


async def test_a_recorded_conversation_replayed_whole_admits_nobody(open_: Open) -> None:
    """The lobby's nonce is new, so the old proof does not fit."""
    link = await open_.link(uses=2)
    talk = Conversation(open_, link, 2)
    old = Proofs.of(link.secret, transcript(b"", talk.hello(), b"")).joiner
    said = await reply_to(open_, framed(talk.hello()) + wire.frame(wire.Proof(mac=old)))
    assert [answer["say"] for answer in said] == ["challenge", "refused"]
    assert not open_.room.members


async def test_the_signature_of_a_request_is_good_for_nothing_else(open_: Open) -> None:
    talk = Conversation(open_, await open_.link(), 2)
    _, writer, seen = await talk.prove()
    request = wire.read(wire.Request, talk.request(seen)[4:])
    with pytest.raises(ProtocolError):
        open_envelope(request.envelope.encode(), talk.link.room, type_="member-add")
    writer.close()


@given(
    st.binary(max_size=400), st.sampled_from([wire.Hello, wire.Proof, wire.Request, wire.Asking])
)
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes, kind: type[wire.Hello]) -> None:
    with suppress(ProtocolError):
        wire.read(kind, data)


@given(st.binary(min_size=33, max_size=33) | st.binary(max_size=80))
def test_any_bytes_are_a_spake2_element_or_a_protocol_error(data: bytes) -> None:
    side = inviter_side(b"x", identity(2).peer_id, identity(1).peer_id, b"")
    side.start()
    with suppress(ProtocolError):
        side.finish(data)


async def test_ill_formed_elements_cost_a_guess_and_break_nothing(open_: Open) -> None:
    invite = await open_.opened(open_.book.create_code(lifetime=600))
    await open_.link()
    for element in ("AAAA", "A" * 44, "_" * 44):
        hello = wire.Hello(
            oldest=1, newest=1, peer=identity(2).peer_id, nonce="0" * 32,
            nameplate=invite.nameplate, element=element,
        )  # fmt: skip
        assert (await reply_to(open_, wire.frame(hello)))[0]["reason"] == "malformed"
    assert open_.invite(invite.id).state(open_.clock.now) == "burnt"
