"""Real members on loopback: keys, TLS, servers, clients and stores, without rounds."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from p2p.addresses import Address, AddressBook
from p2p.blobs.store import BlobStore
from p2p.client import ClientLimits, PeerClient
from p2p.errors import LimitError, NetworkError, ProtocolError, TrustError
from p2p.identity import Identity
from p2p.relay import Relay, RelayLimits
from p2p.server import MemberServer, ServerLimits
from p2p.tls import MemberTLS

LOOPBACK = "127.0.0.1"
PATIENCE = 120.0


def identity(number: int) -> Identity:
    return Identity.from_seed(bytes([number]) * 32)


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits for a condition, with a generous limit."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, of parts under test
            await asyncio.sleep(0.01)


@contextmanager
def held_port() -> Iterator[int]:
    """A loopback port that no other process gets, for servers that stop and come back to it.

    It is bound but not listened on: the system gives it to nobody who takes any free port, and a
    server that sets ``SO_REUSEADDR``, as all of ours do, may listen on it.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((LOOPBACK, 0))
        yield int(holder.getsockname()[1])


@dataclass
class Handler:
    """Remembers what a member server hands over; refuses what tests ask it to."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    hellos: list[tuple[str, bytes, str]] = field(default_factory=list)
    entries: Sequence[bytes] = ()

    def on_message(self, sender: str, data: bytes) -> None:
        if data == b"refuse":
            raise ProtocolError("refused on request")
        if data == b"later":
            raise LimitError("too many on request")
        self.messages.append((sender, data))

    def on_hello(self, sender: str, data: bytes, host: str) -> bytes:
        self.hellos.append((sender, data, host))
        return b"answer to " + data

    async def on_probe(self, sender: str, peer_id: str) -> bytes:
        raise NetworkError("nobody was probed")

    async def exhibit(self, sender: str, round_number: int) -> bytes:
        raise TrustError("nobody sees anything")

    def ledger_entries(self, first_round: int) -> Sequence[bytes]:
        return self.entries[first_round:]


@dataclass
class Member:
    identity: Identity
    tls: MemberTLS
    handler: Handler
    store: BlobStore
    server: MemberServer
    addresses: AddressBook
    client: PeerClient

    @property
    def id(self) -> str:
        return self.identity.peer_id

    @property
    def address(self) -> Address:
        return Address(LOOPBACK, self.server.port)


class Room:
    """Members that know one another's certificates and addresses; a stopped one keeps its port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = ExitStack()
        self.members: list[Member] = []

    async def add(
        self,
        *,
        server: ServerLimits | None = None,
        client: ClientLimits | None = None,
        relay: RelayLimits | None = None,
    ) -> Member:
        """Starts one more member and introduces it to all others."""
        number = len(self.members) + 1
        me, handler = identity(number), Handler()
        tls, book = MemberTLS(me), AddressBook()
        store = BlobStore(self._directory / f"member{number}")
        member = Member(
            me,
            tls,
            handler,
            store,
            MemberServer(tls, handler, store, relay=Relay(book, relay), limits=server),
            book,
            PeerClient(tls, book, limits=client),
        )
        await member.server.start([LOOPBACK], self._ports.enter_context(held_port()))
        await member.client.start()
        self.members.append(member)
        self.admit_all()
        return member

    def admit_all(self) -> None:
        certificates = {m.id: m.identity.certificate_der() for m in self.members}
        for member in self.members:
            member.server.set_members(certificates)
            for other in self.members:
                member.addresses.hint(other.id, [other.address])

    def remove(self, gone: Member) -> None:
        """The others no longer count ``gone`` as a member; it has not heard of that."""
        remaining = {m.id: m.identity.certificate_der() for m in self.members if m is not gone}
        for member in self.members:
            if member is not gone:
                member.server.set_members(remaining)

    async def close(self) -> None:
        for member in self.members:
            await member.client.stop()
            await member.server.stop()
        self._ports.close()


class RawConnection:
    """A TLS (or plain) connection that sends bytes of our choice: no client library in between."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: Address, context: ssl.SSLContext | None) -> RawConnection:
        name = "fedtui" if context else None
        return cls(
            *await asyncio.open_connection(
                address.host, address.port, ssl=context, server_hostname=name
            )
        )

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def read_all(self) -> bytes:
        """Everything until the other side closes; an abort counts as closing."""
        received = bytearray()
        try:
            async with asyncio.timeout(PATIENCE):
                while part := await self._reader.read(1 << 16):
                    received += part
        except (ConnectionError, ssl.SSLError):
            pass
        return bytes(received)

    async def ask(self, data: bytes) -> int:
        """Sends one request and returns the status of the answer; 0 when closed without one."""
        with suppress(ConnectionError, ssl.SSLError):  # An early answer may be waiting.
            await self.send(data)
        try:
            async with asyncio.timeout(PATIENCE):
                line = await self._reader.readline()
        except (ConnectionError, ssl.SSLError):
            return 0
        return int(line.split()[1]) if line else 0

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of an HTTP request; ``_`` in header names stands for ``-``."""
    lines = [f"{method} {path} HTTP/1.1", "Host: member"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body and "Transfer_Encoding" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
