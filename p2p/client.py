"""Requests to other members: bounded in size, time and number, and never fatal.

Members that do not answer at any of their addresses are reached through a relay, once somebody
showed that it reaches them; see :mod:`p2p.relay`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import aiohttp

from p2p.addresses import Address, AddressBook
from p2p.blobs.chunks import DIGEST_BYTES, BlobRef
from p2p.blobs.swarm import from_mask, to_mask
from p2p.blobs.transfer import Holdings, Received
from p2p.dialing import (
    DIRECT,
    RELAYED,
    SERVER_NAME,
    MemberConnector,
    first_success,
    remote_address,
)
from p2p.errors import BlobUnavailable, NetworkError, PeerBusy, ProtocolError, TrustError
from p2p.limits import (
    CLIENT_KEEPALIVE,
    CONNECT_TIMEOUT,
    EXHIBIT_TIMEOUT,
    MAX_CLIENT_CONNECTIONS,
    MAX_CLIENT_CONNECTIONS_PER_PEER,
    MAX_EXHIBIT_BYTES,
    MAX_HEADER_BYTES,
    MAX_LARGE_MESSAGE_BYTES,
    MAX_LEDGER_REPLY_BYTES,
    MAX_LEDGER_REPLY_ENTRIES,
    MAX_MESSAGE_BYTES,
    MAX_QUEUE_AGE,
    MAX_REQUEST_LINE_BYTES,
    MAX_TRANSFERS_PER_PEER,
    PROBE_TIMEOUT,
    REQUEST_TIMEOUT,
    SEND_BACKOFF_MAX,
    SEND_BACKOFF_MIN,
    STREAM_CHUNK_BYTES,
)
from p2p.outbox import Outbox, Queued
from p2p.pacing import Line, TransferPace, fed_by
from p2p.reading import LowWater, next_part
from p2p.relay import Pipes
from p2p.tasks import TaskOwner
from p2p.tls import MemberTLS

_log = logging.getLogger(__name__)

_LENGTH: Final = struct.Struct(">I")
HOLDINGS_HEADER: Final = "Holdings"
"""Which chunks of a blob the sender of one has, a mask in hex."""
Sink = Callable[[bytes], Awaitable[None]]
"""Takes the next bytes of an answer."""
_RETRY_STATUSES: Final = frozenset({429, 500, 503, 504, 507})


@dataclass(frozen=True)
class ClientLimits:
    """Timeouts of our requests, in seconds."""

    connect: float = CONNECT_TIMEOUT
    request: float = REQUEST_TIMEOUT
    hello: float = PROBE_TIMEOUT
    queue_age: float = MAX_QUEUE_AGE
    backoff_min: float = SEND_BACKOFF_MIN
    backoff_max: float = SEND_BACKOFF_MAX


class PeerRefused(NetworkError):
    """A peer answered with an error status."""

    title = "A peer refused a request"

    def __init__(self, peer_id: str, status: int) -> None:
        super().__init__(f"{peer_id} answered with status {status}")
        self.status = status


class PeerClient:
    """Talks to the members of one room. ``download_rate`` limits blobs, in bytes per second.

    :meth:`send` queues and returns at once; a peer that is down loses its oldest messages and
    delays nobody. Everything else raises NetworkError when the peer is unreachable, slow, removed
    from the room, or answers with nonsense.
    """

    def __init__(
        self,
        tls: MemberTLS,
        addresses: AddressBook,
        *,
        limits: ClientLimits | None = None,
        download_rate: int = 0,
    ) -> None:
        self._tls = tls
        self._addresses = addresses
        self._limits = limits or ClientLimits()
        self._downlink = Line(download_rate)
        places = fed_by(download_rate) if download_rate else MAX_CLIENT_CONNECTIONS
        self._downloads = asyncio.Semaphore(places)
        self._session: aiohttp.ClientSession | None = None
        self._outboxes: dict[str, Outbox] = {}
        self._transfers: dict[str, asyncio.Semaphore] = {}
        self._relays: dict[str, str] = {}
        self._trying: set[str] = set()
        self.received: Counter[str] = Counter()
        """Bytes of blobs and pictures that came from each member, for showing only."""
        self._pipes = Pipes()
        self._tasks = TaskOwner("peer client")

    async def start(self) -> None:
        self._session = self._new_session()

    async def reset(self) -> None:
        """Closes every connection, for example after this machine slept; queues are kept."""
        if self._session is not None:
            before, self._session = self._session, self._new_session()
            # Closing a session tells nobody who reads from one of its connections.
            await self._pipes.stop()
            await before.close()

    def _new_session(self) -> aiohttp.ClientSession:
        connector = MemberConnector(
            self._addresses,
            self._open_pipe,
            limit=MAX_CLIENT_CONNECTIONS,
            limit_per_host=MAX_CLIENT_CONNECTIONS_PER_PEER,
            keepalive_timeout=CLIENT_KEEPALIVE,
        )
        return aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            max_line_size=MAX_REQUEST_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            read_bufsize=STREAM_CHUNK_BYTES,
        )

    async def stop(self) -> None:
        """Drops what is queued and closes every connection."""
        await self._tasks.cancel()
        self._outboxes.clear()
        await self._pipes.stop()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- messages ---------------------------------------------------------------------------
    def send(self, peer_id: str, data: bytes, *, kind: str | None = None) -> None:
        """Queues one envelope for a member; delivered at most a few times, or never.

        A queued message of the same ``kind`` is replaced, for things of which only the newest
        counts. When the queue is full the oldest goes. Unknown peers are ignored.
        """
        if peer_id not in self._tls.members or self._session is None:
            return
        outbox = self._outboxes.get(peer_id)
        if outbox is None:
            outbox = self._outboxes[peer_id] = Outbox()
            work = self._deliver_forever(peer_id, outbox)
            outbox.task = self._tasks.spawn(work, f"to {peer_id[:8]}")
        outbox.put(Queued(data, kind, asyncio.get_running_loop().time()))

    def wake(self, peer_id: str) -> None:
        """Ends the pause before the next try: the peer has just been heard of."""
        if outbox := self._outboxes.get(peer_id):
            outbox.woken.set()

    def forget(self, peer_id: str) -> None:
        """Drops everything queued for a peer, for example a removed member."""
        self._transfers.pop(peer_id, None)
        self._relays.pop(peer_id, None)
        if (outbox := self._outboxes.pop(peer_id, None)) and outbox.task:
            outbox.task.cancel()

    async def _deliver_forever(self, peer_id: str, outbox: Outbox) -> None:
        clock = asyncio.get_running_loop().time
        backoff = self._limits.backoff_min
        while True:
            message = await outbox.get()
            if message.queued < clock() - self._limits.queue_age:
                continue
            try:
                await self._post(peer_id, "/v1/messages", message.data, 0, self._limits.request)
            except PeerRefused as error:
                if error.status in _RETRY_STATUSES:
                    outbox.put_back(message)
                else:
                    _log.info("%s", error)
                    continue
            except TrustError:
                outbox.clear()
                continue
            except NetworkError:
                outbox.put_back(message)
            else:
                backoff = self._limits.backoff_min
                continue
            await outbox.pause(backoff)
            backoff = min(backoff * 2, self._limits.backoff_max)

    async def tell_former(self, peer_id: str, certificate: bytes, data: bytes) -> None:
        """Brings one envelope to somebody who is no member any more, and may not know it.

        Raises:
            NetworkError: it is not reached, or refuses.
            TrustError: the certificate does not fit the key.
        """
        context = self._tls.former_context(peer_id, certificate)
        async with self._request(
            "POST", peer_id, "/v1/messages", data=data, timeout=self._limits.request,
            directly=True, context=context,
        ):  # fmt: skip
            return

    # --- requests ---------------------------------------------------------------------------
    async def hello(
        self,
        peer_id: str,
        data: bytes,
        timeout: float | None = None,
        *,
        directly: bool = False,
    ) -> bytes:
        """Sends a gossip packet and returns the peer's; ``directly``: never through a relay.

        Raises:
            NetworkError: no answer within ``timeout`` seconds (those of the limits), or a useless
                one.
            TrustError: not a member.
        """
        patience = self._limits.hello if timeout is None else timeout
        path = "/v1/hello"
        return await self._post(peer_id, path, data, MAX_MESSAGE_BYTES, patience, directly=directly)

    async def probe_through(self, helper: str, peer_id: str, timeout: float) -> bytes:
        """Asks ``helper`` to probe a member; returns the Hello it got, as the member signed it.

        Raises:
            PeerRefused: the helper is there and got no answer either.
            NetworkError, TrustError: as :meth:`hello`.
        """
        path = f"/v1/probe/{peer_id}"
        return await self._post(helper, path, b"", MAX_MESSAGE_BYTES, timeout)

    async def identify(self, host: str, port: int) -> tuple[str, Address]:
        """Which member answers at a host name or address, by its certificate, and where.

        Raises:
            NetworkError: nobody answers there, or no member of this room.
        """
        try:
            async with asyncio.timeout(self._limits.connect):
                peer_id, address = await self._who_is_at(host, port)
        except ssl.SSLError as error:
            raise NetworkError(
                f"who answers at {host} port {port} is no member of this room",
                remedy="Check the address, and whether that node has joined the room.",
            ) from error
        except (OSError, ValueError) as error:  # A name no machine can have is a ValueError.
            raise NetworkError(
                f"nobody answers at {host} port {port} ({error or type(error).__name__})",
                remedy="Check the address, that fedtui runs there, and its firewall.",
            ) from error
        self._addresses.worked(peer_id, address)
        return peer_id, address

    async def _who_is_at(self, host: str, port: int) -> tuple[str, Address]:
        """The member at the other end and its address. Raises OSError."""
        _, writer = await asyncio.open_connection(
            host, port, ssl=self._tls.any_member_context(), server_hostname=SERVER_NAME
        )
        peer_id = self._tls.peer_of(writer.get_extra_info("ssl_object"))
        try:
            remote = remote_address(writer.transport)
        finally:
            writer.transport.abort()
        if peer_id is None:
            raise ssl.SSLError("it has just been removed from the room")
        return peer_id, remote

    # --- relays -----------------------------------------------------------------------------
    def relay_through(self, peer_id: str, helper: str) -> None:
        """From now on a member that we cannot reach is reached through ``helper``."""
        if peer_id != helper and helper not in self._relays:
            self._relays[peer_id] = helper
            self.wake(peer_id)

    def relay_of(self, peer_id: str) -> str | None:
        """Through whom a member is reached; None: directly, or not at all."""
        return self._relays.get(peer_id)

    async def try_directly(self, peer_id: str) -> None:
        """Ends the relaying of a member that can be reached at an address of its own; leaves it
        to the try that is under way, if there is one."""
        if peer_id in self._trying:
            return

        async def attempt(address: Address) -> Address:
            found, reached = await self._who_is_at(address.host, address.port)
            if found != peer_id:
                raise ConnectionRefusedError(f"{address} belongs to another member")
            return reached

        known = self._addresses.of(peer_id)
        self._trying.add(peer_id)
        try:
            async with asyncio.timeout(self._limits.connect):
                reached = await first_success(
                    [partial(attempt, address) for address in known], lambda _: None
                )
            self._addresses.worked(peer_id, reached)
            self._relays.pop(peer_id, None)
        except OSError as error:
            _log.debug("%s is not reached directly: %s", peer_id, error)
        finally:
            self._trying.discard(peer_id)

    async def _open_pipe(self, peer_id: str) -> socket.socket:
        helper = self._relays.get(peer_id)
        if helper is None:
            raise OSError(None, "the relay is gone")
        path = f"/v1/via/{peer_id}"
        return self._pipes.open(
            lambda body: self._request(
                "POST", helper, path, data=body, timeout=None, directly=True, is_pipe=True
            )
        )

    async def fetch_ledger(self, peer_id: str, from_round: int) -> list[bytes]:
        """Ledger entries from a round on, as many as the peer puts into one answer.

        Raises:
            NetworkError, TrustError: as :meth:`hello`.
            ProtocolError: what it sent are no entries.
        """
        path = f"/v1/ledger?from={from_round}"
        most = MAX_LEDGER_REPLY_BYTES + MAX_LARGE_MESSAGE_BYTES
        async with self._request("GET", peer_id, path, timeout=None) as response:
            data = bytearray()
            await _receive(response, _into(data), most)
        return _split_entries(bytes(data))

    async def exhibit(self, peer_id: str, round_number: int) -> bytes:
        """The pictures of a round that a member gives.

        Raises:
            NetworkError: it has none, does not share them with us, or is not reached.
            TrustError: not a member.
        """
        data = bytearray()
        path = f"/v1/exhibits/{round_number}"
        async with self._request("GET", peer_id, path, timeout=EXHIBIT_TIMEOUT) as response:
            self.received[peer_id] += await _receive(response, _into(data), MAX_EXHIBIT_BYTES)
        return bytes(data)

    async def holdings(self, peer_id: str, ref: BlobRef) -> Holdings:
        """What a peer holds of a blob, with its list of chunks, both unverified.

        Raises:
            BlobUnavailable: nothing.
            NetworkError, TrustError: as :meth:`hello`.
        """
        mask_bytes = len(from_mask(0, ref.count))
        reply = bytearray()
        with _blob_errors(peer_id, ref):
            async with self._request(
                "GET", peer_id, f"/v1/blobs/{ref.sha256}/chunks", timeout=self._limits.request
            ) as response:
                await _receive(response, _into(reply), mask_bytes + ref.count * DIGEST_BYTES)
        return Holdings(to_mask(reply[:mask_bytes]), bytes(reply[mask_bytes:]))

    async def fetch_chunk(self, peer_id: str, ref: BlobRef, index: int) -> Received:
        """The bytes of one chunk of a blob, unverified.

        Raises:
            BlobUnavailable: the peer does not have it, or the blob has another size there.
            PeerBusy: it sends enough to others or to us already.
            NetworkError, TrustError: as :meth:`hello`.
        """
        span = ref.span(index)
        headers = {"Range": f"bytes={span.start}-{span.stop - 1}"}
        transfers = self._transfers.setdefault(peer_id, asyncio.Semaphore(MAX_TRANSFERS_PER_PEER))
        data = bytearray(len(span))
        with _blob_errors(peer_id, ref):
            async with (
                transfers,
                self._downloads,
                self._request(
                    "GET", peer_id, f"/v1/blobs/{ref.sha256}", headers=headers, timeout=None
                ) as response,
            ):
                if response.content_length != len(span):
                    raise BlobUnavailable(f"{peer_id} has another size of {ref.sha256}")
                received = await _receive(response, self._throttled(peer_id, data), len(span))
        if received != len(span):
            raise NetworkError(f"{peer_id} stopped in the middle of {ref.sha256}")
        return Received(data, _holdings_header(response))

    def _throttled(self, peer_id: str, buffer: bytearray) -> Sink:
        filled = 0

        async def collect(part: bytes) -> None:
            nonlocal filled
            buffer[filled : filled + len(part)] = part
            filled += len(part)
            self.received[peer_id] += len(part)
            await self._downlink.admit(len(part))

        return collect

    async def _post(
        self,
        peer_id: str,
        path: str,
        data: bytes,
        max_reply: int,
        timeout: float,
        *,
        directly: bool = False,
    ) -> bytes:
        async with self._request(
            "POST", peer_id, path, data=data, timeout=timeout, directly=directly
        ) as response:
            reply = bytearray()
            await _receive(response, _into(reply), max_reply)
        return bytes(reply)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        peer_id: str,
        path: str,
        *,
        timeout: float | None,
        data: bytes | AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
        directly: bool = False,
        is_pipe: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request; whatever goes wrong in it or in its body becomes a NetworkError.

        In a pipe the peer may be silent for as long as it likes.
        """
        relayed = peer_id in self._relays and not directly
        if self._session is None:
            raise NetworkError("the node is stopping")
        context = context or self._tls.client_context(peer_id)
        limits = aiohttp.ClientTimeout(
            total=timeout,
            connect=self._limits.connect,
            sock_read=None if is_pipe else self._limits.request,
        )
        try:
            async with self._session.request(
                method,
                f"https://{peer_id}{RELAYED if relayed else DIRECT}{path}",
                data=data,
                headers=headers,
                ssl=context,
                server_hostname=SERVER_NAME,
                allow_redirects=False,
                timeout=limits,
            ) as response:
                if response.status not in {200, 204, 206}:
                    raise PeerRefused(peer_id, response.status)
                if "Content-Encoding" in response.headers:
                    raise NetworkError(f"{peer_id} compressed its answer")
                yield response
        except asyncio.CancelledError as error:
            # Closing the pool cancels the futures of whoever waits for a place in it.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise NetworkError("every connection is being closed") from error
        except (aiohttp.ClientError, OSError) as error:
            if relayed:
                self._relays.pop(peer_id, None)
            # A removed member sees the refusal only now: with TLS 1.3 its handshake "succeeds".
            raise NetworkError(
                f"{peer_id} refuses us or cannot be reached ({type(error).__name__})"
            ) from error


async def _receive(response: aiohttp.ClientResponse, sink: Sink, max_bytes: int) -> int:
    """Moves a response body into ``sink``; returns its length.

    Raises:
        NetworkError: more than ``max_bytes``, or the connection is gone.
        TimeoutError: slower than the least acceptable rate.
    """
    clock = asyncio.get_running_loop().time
    pace = TransferPace(clock())
    received, length = 0, response.content_length or 0
    low_water = LowWater(response)
    low_water.expect(length)
    try:
        while True:
            async with asyncio.timeout_at(pace.deadline):
                part = await next_part(response.content)
            if not part:
                return received
            received += len(part)
            low_water.expect(length - received)
            if received > max_bytes:
                raise NetworkError("a peer sent more than was asked for")
            await sink(part)
            pace.advance(len(part), clock())
    finally:
        low_water.clear()


def _into(buffer: bytearray) -> Sink:
    async def collect(part: bytes) -> None:
        buffer.extend(part)

    return collect


@contextmanager
def _blob_errors(peer_id: str, ref: BlobRef) -> Iterator[None]:
    try:
        yield
    except PeerRefused as error:
        if error.status in {404, 416}:
            raise BlobUnavailable(f"{peer_id} does not have {ref.sha256}") from error
        if error.status in {429, 503}:
            raise PeerBusy(f"{peer_id} has no room for one more transfer") from error
        raise


def _holdings_header(response: aiohttp.ClientResponse) -> int | None:
    """The mask a peer sent along with a chunk; None when it sent none, or nonsense."""
    try:
        return to_mask(bytes.fromhex(response.headers[HOLDINGS_HEADER]))
    except (KeyError, ValueError):
        return None


def _split_entries(data: bytes) -> list[bytes]:
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        if len(data) - at < _LENGTH.size:
            raise ProtocolError("a ledger reply ends within a length")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if size > len(data) - at:
            raise ProtocolError("a ledger reply ends within an entry")
        if not size or len(entries) == MAX_LEDGER_REPLY_ENTRIES:
            raise ProtocolError("a ledger reply has empty entries, or too many")
        entries.append(data[at : at + size])
        at += size
    return entries
