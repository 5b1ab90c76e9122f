"""Uninvited machines cannot join, and strangers never reach our HTTP parser.

Every test connects a raw socket with some wrong credential and looks whether a single byte of an
HTTP answer comes back, and whether the parser ever saw a byte of ours.
"""

from __future__ import annotations

import asyncio
import datetime
import errno
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import http_parser, web_protocol
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from member_rig import (
    LOOPBACK,
    PATIENCE,
    Member,
    RawConnection,
    Room,
    eventually,
    identity,
    request,
)

from p2p import accepting
from p2p.accepting import HandshakeLimits
from p2p.errors import NetworkError, P2PError, TrustError
from p2p.server import MemberServer, ServerLimits
from p2p.tls import MemberTLS, PinnedContext

STRANGER = identity(200)
HELLO = request("POST", "/v1/hello", b"x")


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Everything that any HTTP server of this process was given to parse."""
    seen: list[bytes] = []
    original = web_protocol.RequestHandler.data_received

    def record(self: web_protocol.RequestHandler, data: bytes) -> None:
        seen.append(data)
        original(self, data)

    monkeypatch.setattr(web_protocol.RequestHandler, "data_received", record)
    return seen


def client_context(
    certificate: Path | None = None, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """A careless client that believes any server and shows ``certificate`` if it has one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def write_pem(path: Path, key: Ed25519PrivateKey | rsa.RSAPrivateKey, *ders: bytes) -> Path:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + b"".join(ssl.DER_cert_to_PEM_cert(d).encode() for d in ders))
    return path


def issue(
    subject_key: Ed25519PrivateKey | rsa.RSAPrivateKey,
    issuer_key: Ed25519PrivateKey | rsa.RSAPrivateKey,
    *,
    subject: str,
    issuer: str,
    ca: bool,
    until: int = 9999,
) -> bytes:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    algorithm = hashes.SHA256() if isinstance(issuer_key, rsa.RSAPrivateKey) else None
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(subject_key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(1970, 1, 1))
        .not_valid_after(datetime.datetime(until, 12, 31))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer_key, algorithm)
        .public_bytes(Encoding.DER)
    )


async def knock(member: Member, context: ssl.SSLContext | None) -> bytes:
    """Connects, sends a request if the handshake lets us, and returns what came back."""
    try:
        connection = await RawConnection.open(member.address, context)
    except (ssl.SSLError, ConnectionError):
        return b""
    try:
        await connection.send(HELLO)
    except (ssl.SSLError, ConnectionError):
        return b""
    answer = await connection.read_all()
    await connection.close()
    return answer


def is_tls_alert_only(answer: bytes) -> bool:
    return b"HTTP" not in answer


async def test_a_member_is_answered(room: Room, parsed: list[bytes], tmp_path: Path) -> None:
    """The other tests prove something only because this one succeeds with the same means."""
    ada, bob = await room.add(), await room.add()
    key = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32)
    pem = write_pem(tmp_path / "bob.pem", key, bob.identity.certificate_der())
    connection = await RawConnection.open(ada.address, client_context(pem))
    assert await connection.ask(HELLO) == 200
    await connection.close()
    assert b"".join(parsed) == HELLO


async def test_plain_text_reaches_no_parser(room: Room, parsed: list[bytes]) -> None:
    ada = await room.add()
    assert is_tls_alert_only(await knock(ada, None))
    assert parsed == []


async def test_a_client_without_certificate_reaches_no_parser(
    room: Room, parsed: list[bytes]
) -> None:
    ada = await room.add()
    await room.add()
    assert await knock(ada, client_context()) == b""
    assert parsed == []


@pytest.mark.parametrize(
    "credential", ["stranger", "expired", "rsa", "ca", "lookalike", "issued by member"]
)
async def test_a_wrong_certificate_reaches_no_parser(
    room: Room, parsed: list[bytes], tmp_path: Path, credential: str
) -> None:
    ada, bob = await room.add(), await room.add()
    stranger = Ed25519PrivateKey.from_private_bytes(bytes([200]) * 32)
    bob_key = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32)
    key: Ed25519PrivateKey | rsa.RSAPrivateKey = stranger
    match credential:
        case "stranger":
            chain = [STRANGER.certificate_der()]
        case "expired":
            me = STRANGER.peer_id
            chain = [issue(stranger, stranger, subject=me, issuer=me, ca=False, until=1999)]
        case "rsa":
            key = rsa.generate_private_key(65537, 2048)
            chain = [issue(key, key, subject=bob.id, issuer=bob.id, ca=False)]
        case "ca":
            chain = [issue(stranger, stranger, subject="root", issuer="root", ca=True)]
        case "lookalike":
            chain = [issue(stranger, stranger, subject=bob.id, issuer=bob.id, ca=False)]
        case _:
            leaf = issue(stranger, bob_key, subject=STRANGER.peer_id, issuer=bob.id, ca=False)
            chain = [leaf, bob.identity.certificate_der()]
    context = client_context(write_pem(tmp_path / "wrong.pem", key, *chain))
    assert await knock(ada, context) == b""
    assert parsed == []


async def test_a_ca_certificate_cannot_be_enrolled() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32)
    bob = identity(2)
    der = issue(key, key, subject=bob.peer_id, issuer=bob.peer_id, ca=True)
    tls = MemberTLS(identity(1))
    with pytest.raises(TrustError):
        tls.set_members({bob.peer_id: der})
    assert tls.members == frozenset()


async def test_what_a_ca_member_issued_is_stopped_by_the_pin(
    parsed: list[bytes], room: Room, tmp_path: Path
) -> None:
    """Even if a CA certificate got among the anchors, what it issues is not a member."""
    ada = await room.add()
    await room.add()
    ca_key = Ed25519PrivateKey.generate()
    ca = issue(ca_key, ca_key, subject="ca", issuer="ca", ca=True)
    ada.tls._server.load_verify_locations(cadata=ca)
    stranger = Ed25519PrivateKey.from_private_bytes(bytes([200]) * 32)
    leaf = issue(stranger, ca_key, subject=STRANGER.peer_id, issuer="ca", ca=False)
    context = client_context(write_pem(tmp_path / "issued.pem", stranger, leaf, ca))
    assert await knock(ada, context) == b""
    assert parsed == []


async def test_tls_1_2_is_refused(room: Room, parsed: list[bytes], tmp_path: Path) -> None:
    ada, bob = await room.add(), await room.add()
    key = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32)
    pem = write_pem(tmp_path / "bob.pem", key, bob.identity.certificate_der())
    context = client_context(pem, version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await RawConnection.open(ada.address, context)
    assert parsed == []


async def test_a_member_cannot_pass_for_another_as_server(room: Room) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    ada.addresses.forget(bob.id)
    ada.addresses.hint(bob.id, [eve.address])
    with pytest.raises(NetworkError):
        await ada.client.hello(bob.id, b"secret")
    assert eve.handler.hellos == []
    assert ada.addresses.of(bob.id) == (eve.address,), "it did not count as having worked"


async def test_the_right_server_is_found_behind_an_impostor(room: Room) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    ada.addresses.forget(bob.id)
    ada.addresses.hint(bob.id, [bob.address])
    ada.addresses.hint(bob.id, [eve.address])
    ada.addresses.worked(bob.id, eve.address)
    assert await ada.client.hello(bob.id, b"x") == b"answer to x"
    assert ada.addresses.of(bob.id)[0] == bob.address


async def test_a_removed_member_is_cut_off_and_cannot_come_back(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    await bob.client.hello(ada.id, b"before")
    assert ada.server.connected_peers() == {bob.id}
    room.remove(bob)
    assert ada.server.connected_peers() == frozenset()
    with pytest.raises(NetworkError):
        await bob.client.hello(ada.id, b"after")
    with pytest.raises(TrustError):
        await ada.client.hello(bob.id, b"after")
    assert [data for _, data, _ in ada.handler.hellos] == [b"before"]


async def test_a_removed_member_cannot_resume_its_session(
    room: Room, parsed: list[bytes], tmp_path: Path
) -> None:
    ada, bob = await room.add(), await room.add()
    key = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32)
    context = client_context(write_pem(tmp_path / "bob.pem", key, bob.identity.certificate_der()))
    session = await asyncio.to_thread(_session_after_request, ada, context)
    room.remove(bob)
    parsed.clear()
    answer = await asyncio.to_thread(_resume, ada, context, session)
    assert b"HTTP" not in answer
    assert parsed == []
    assert session is None or not session.has_ticket, "no ticket may be handed out"


def _session_after_request(member: Member, context: ssl.SSLContext) -> ssl.SSLSession | None:
    with (
        socket.create_connection((LOOPBACK, member.server.port)) as plain,
        context.wrap_socket(plain) as tls,
    ):
        tls.sendall(HELLO)
        assert b"200" in tls.recv(1000)
        return tls.session


def _resume(member: Member, context: ssl.SSLContext, session: ssl.SSLSession | None) -> bytes:
    try:
        with (
            socket.create_connection((LOOPBACK, member.server.port)) as plain,
            context.wrap_socket(plain, session=session) as tls,
        ):
            tls.sendall(HELLO)
            return tls.recv(1000)
    except OSError:
        return b""


async def test_a_removal_during_a_handshake_takes_effect(room: Room) -> None:
    """The context of a handshake under way is the old one; its pin must know the new members."""
    ada, bob = await room.add(), await room.add()
    before = ada.tls._server
    assert before.pin(bob.identity.certificate_der())
    room.remove(bob)
    assert not before.pin(bob.identity.certificate_der())


async def test_an_admitted_member_gets_in_without_a_restart(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    room.remove(bob)
    with pytest.raises(NetworkError):
        await bob.client.hello(ada.id, b"x")
    room.admit_all()
    assert await bob.client.hello(ada.id, b"x") == b"answer to x"


def test_every_server_context_requires_a_known_certificate() -> None:
    tls = MemberTLS(identity(1), {identity(2).peer_id: identity(2).certificate_der()})
    for context in (tls.listening_context, tls._server, tls.client_context(identity(2).peer_id)):
        assert isinstance(context, PinnedContext)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert not context.pin(STRANGER.certificate_der())
    assert tls.listening_context.num_tickets == 0
    assert tls._server.num_tickets == 0


# --- sockets that never authenticate --------------------------------------------------------
async def test_silent_strangers_cannot_keep_members_out(room: Room) -> None:
    limits = ServerLimits(handshakes=HandshakeLimits(total=4, per_host=4, timeout=0.3))
    ada, bob = await room.add(server=limits), await room.add()
    silent = [socket.create_connection((LOOPBACK, ada.server.port)) for _ in range(12)]
    try:
        answered = False

        async def try_hello() -> bool:
            try:
                return await bob.client.hello(ada.id, b"x") == b"answer to x"
            except NetworkError:
                return False

        async with asyncio.timeout(PATIENCE):
            while not answered:
                answered = await try_hello()
    finally:
        for connection in silent:
            connection.close()
    assert answered


async def test_a_stranger_is_hung_up_on_after_the_handshake_timeout(room: Room) -> None:
    limits = ServerLimits(handshakes=HandshakeLimits(timeout=0.2))
    ada = await room.add(server=limits)
    connection = await RawConnection.open(ada.address, None)
    assert await connection.read_all() == b""
    await connection.close()


async def test_more_handshakes_than_allowed_are_closed_at_once(room: Room) -> None:
    limits = HandshakeLimits(total=2, per_host=2, timeout=60, grace=60)
    ada = await room.add(server=ServerLimits(handshakes=limits))
    waiting = [await RawConnection.open(ada.address, None) for _ in range(2)]
    for connection in waiting:
        await connection.send(b"\x16\x03\x01")
    await eventually(lambda: len(ada.server._acceptor._tasks) == 3)
    await eventually(lambda: not any(p.is_silent for p in ada.server._acceptor._places))
    third = await RawConnection.open(ada.address, None)
    assert await third.read_all() == b""
    for connection in [*waiting, third]:
        await connection.close()


async def test_the_longest_silence_gives_way_when_all_places_are_taken(room: Room) -> None:
    limits = ServerLimits(handshakes=HandshakeLimits(total=2, per_host=2, timeout=60))
    ada, bob = await room.add(server=limits), await room.add()
    first, second = [await RawConnection.open(ada.address, None) for _ in range(2)]
    await eventually(lambda: len(ada.server._acceptor._places) == 2)
    assert await bob.client.hello(ada.id, b"x") == b"answer to x"
    assert await first.read_all() == b""
    assert ada.server._acceptor._gate._hosts == {LOOPBACK: 1}, "the second one still waits"
    for connection in (first, second):
        await connection.close()
    await eventually(lambda: not ada.server._acceptor._gate._hosts)


async def test_handshakes_that_never_end_cannot_keep_members_out(room: Room) -> None:
    limits = HandshakeLimits(total=2, per_host=2, timeout=60, grace=0)
    ada, bob = await room.add(server=ServerLimits(handshakes=limits)), await room.add()
    begun = [await RawConnection.open(ada.address, None) for _ in range(2)]
    for connection in begun:
        await connection.send(b"\x16")
    places = ada.server._acceptor._places
    await eventually(lambda: [p.is_silent for p in places] == [False, False])
    assert await bob.client.hello(ada.id, b"x") == b"answer to x"
    assert await begun[0].read_all() == b""
    for connection in begun:
        await connection.close()


def doorway(total: int, per_host: int) -> accepting.Acceptor:
    """Of a server that nobody has connected to yet."""
    limits = HandshakeLimits(total=total, per_host=per_host, grace=60)
    tls = MemberTLS(identity(1)).listening_context
    return accepting.Acceptor(tls, asyncio.Protocol, lambda _: None, limits)


async def test_one_ipv6_network_gives_way_to_others_however_many_addresses_it_has() -> None:
    door = doorway(total=4, per_host=1)
    other = door._place_for("192.0.2.1")
    crowd = [door._place_for(f"2001:db8::{number}") for number in range(1, 4)]
    assert door._place_for("192.0.2.2") is not None
    assert other is not None
    assert not other.given_up
    assert [place is not None and place.given_up for place in crowd] == [True, False, False]


async def test_who_is_refused_for_its_host_takes_nobodys_place() -> None:
    door = doorway(total=3, per_host=2)
    innocent = door._place_for("192.0.2.9")
    for _ in range(2):
        place = door._place_for("192.0.2.1")
        assert place is not None
        place.is_silent = False
    assert door._place_for("192.0.2.1") is None
    assert innocent is not None
    assert not innocent.given_up


# --- starting -------------------------------------------------------------------------------
async def test_a_port_in_use_is_a_clear_error(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    second = MemberServer(bob.tls, bob.handler, bob.store)
    with pytest.raises(NetworkError, match=str(ada.server.port)) as caught:
        await second.start([LOOPBACK], ada.server.port)
    assert "another port" in caught.value.remedy
    await second.stop()


async def test_a_machine_without_ipv6_can_start(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_listen = accepting._listen

    def listen(host: str, port: int) -> socket.socket:
        if ":" in host:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return real_listen(LOOPBACK, port)

    monkeypatch.setattr(accepting, "_listen", listen)
    ada = await room.add()
    server = MemberServer(ada.tls, ada.handler, ada.store)
    await server.start()
    assert server.port
    await server.stop()
    with pytest.raises(NetworkError):
        await server.start(["::1"])


async def test_the_pure_python_parser_is_refused(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await room.add()
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(NetworkError, match="C extension"):
        MemberServer(ada.tls, ada.handler, ada.store)


def test_an_unsafe_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11, 4))
    with pytest.raises(P2PError, match="CVE-2023-40217"):
        MemberTLS(identity(1))


async def test_stopping_leaves_nothing_behind(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    before = asyncio.all_tasks()
    await bob.client.hello(ada.id, b"x")
    bob.client.send(ada.id, b"y")
    await eventually(lambda: bool(ada.handler.messages))
    idle = await RawConnection.open(ada.address, None)
    await room.close()
    await idle.close()
    await eventually(lambda: asyncio.all_tasks() <= before)
    with pytest.raises(ConnectionRefusedError):
        await RawConnection.open(ada.address, None)
    room.members.clear()
