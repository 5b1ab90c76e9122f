"""The member port: a small HTTP server that only members reach.

Routes:

- ``POST /v1/messages``: the body is one envelope. 204 when taken, 400 when refused.
- ``POST /v1/hello``: the body is a gossip packet; answers with ours.
- ``POST /v1/probe/{peer}``: probes a member for the caller; answers with the Hello it gave, or 504.
- ``POST /v1/via/{peer}``: the body goes to that member's port, the answer is what it says.
- ``GET /v1/blobs/{sha256}``: bytes of a blob, with ``Range``. 404 when any of them is not here,
  503 when enough is being sent already. The header ``Holdings`` says which chunks are here.
- ``GET /v1/blobs/{sha256}/chunks``: a bit mask of the chunks that are here, then the SHA-256 of
  every chunk.
- ``GET /v1/exhibits/{round}``: pictures drawn after a round, as the workload packs them. 403 for
  members that may not see previews, 404 where there are none or their owner does not share, 503
  when enough is being sent already.
- ``GET /v1/ledger?from=N``: ledger entries from round N on, each behind its length (u32, big
  endian); as many as fit, the caller asks again for the rest. 503 while two answers to the caller
  are under way.

Who calls is read from the TLS certificate and from nowhere else. Bodies are raw bytes: no forms,
no compression, no framework features that parse more than we need.
"""

from __future__ import annotations

import asyncio
import logging
import re
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, cast

from aiohttp import http_parser, web
from aiohttp.http_exceptions import HttpProcessingError

from p2p.accepting import ANY_IPV4, ANY_IPV6, Acceptor, HandshakeLimits
from p2p.blobs.store import Offer
from p2p.blobs.swarm import from_mask
from p2p.blobs.uploads import Upload, Uploads
from p2p.bodies import (
    TooLarge,
    admitted,
    byte_range,
    file_slices,
    read_body,
    slices,
    write_body,
)
from p2p.client import HOLDINGS_HEADER
from p2p.errors import (
    BlobUnavailable,
    LimitError,
    NetworkError,
    Overloaded,
    P2PError,
    ProtocolError,
    StorageError,
    TrustError,
)
from p2p.limits import (
    CHUNK_BYTES,
    FIRST_REQUEST_TIMEOUT,
    GOSSIP_BURST,
    GOSSIP_RATE,
    GRAYLIST_BURST,
    GRAYLIST_RATE,
    KEEPALIVE_TIMEOUT,
    LINGERING_TIME,
    MAX_CONNECTIONS_PER_PEER,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_LARGE_MESSAGE_BYTES,
    MAX_LEDGER_REPLY_BYTES,
    MAX_LEDGER_REPLY_ENTRIES,
    MAX_LEDGERS_PER_PEER,
    MAX_MESSAGE_BYTES,
    MAX_REQUEST_LINE_BYTES,
    MAX_TRANSFERS_PER_PEER,
    MIN_TRANSFER_RATE,
    REQUEST_BURST,
    REQUEST_RATE,
    SHUTDOWN_TIMEOUT,
    TRANSFER_GRACE,
    WATCHDOG_INTERVAL,
)
from p2p.pacing import Line, TokenBucket, TransferPace
from p2p.relay import Relay
from p2p.scores import Scores
from p2p.tasks import TaskOwner
from p2p.tls import MemberTLS

_ROUND = re.compile(r"[0-9]{1,15}")
_LENGTH: Final = struct.Struct(">I")
_GOSSIP_PATHS: Final = ("/v1/hello", "/v1/probe/")
_BYTES: Final = "application/octet-stream"
_Kind = Literal["request", "gossip", "graylisted"]
_SENDER: Final = web.RequestKey("sender", str)


class RoomHandler(Protocol):
    """What a member server asks of the node behind it. Calls come from the event loop.

    ``sender`` is the authenticated peer id, always a current member. Methods return quickly:
    what takes longer belongs into a queue with a size.
    """

    def on_message(self, sender: str, data: bytes) -> None:
        """Takes one envelope. Raises ProtocolError (400) or LimitError (429) to refuse it,
        Overloaded (503) to have it brought again."""
        ...

    def on_hello(self, sender: str, data: bytes, host: str) -> bytes:
        """Takes the gossip packet of ``sender``, connected from ``host``; returns ours."""
        ...

    async def on_probe(self, sender: str, peer_id: str) -> bytes:
        """Probes a member for ``sender``; returns its Hello. Raises NetworkError (504)."""
        ...

    async def exhibit(self, sender: str, round_number: int) -> bytes:
        """Pictures of a round for ``sender``. Raises TrustError (403) when it may not have them,
        BlobUnavailable (404) when there are none to give."""
        ...

    def ledger_entries(self, first_round: int) -> Iterable[bytes]:
        """Verbatim ledger entries from a round on, in order, read as far as they are wanted."""
        ...


class BlobSource(Protocol):
    """Where blobs come from; :class:`p2p.blobs.BlobStore` is one."""

    async def offer(self, sha256: str) -> Offer:
        """What is here of the blob with this name. Raises BlobUnavailable."""
        ...


@dataclass(frozen=True)
class ServerLimits:
    """Budgets of one member server; seconds, counts, bytes and rates as in p2p.limits."""

    handshakes: HandshakeLimits = field(default_factory=HandshakeLimits)
    first_request: float = FIRST_REQUEST_TIMEOUT
    transfer_grace: float = TRANSFER_GRACE
    min_transfer_rate: float = MIN_TRANSFER_RATE
    watchdog_interval: float = WATCHDOG_INTERVAL
    connections_per_peer: int = MAX_CONNECTIONS_PER_PEER
    transfers_per_peer: int = MAX_TRANSFERS_PER_PEER
    request_rate: float = REQUEST_RATE
    request_burst: float = REQUEST_BURST
    gossip_rate: float = GOSSIP_RATE
    gossip_burst: float = GOSSIP_BURST


@dataclass(eq=False)
class _Connection:
    peer_id: str
    transport: asyncio.Transport
    opened: float
    requests: int = 0


class MemberServer:
    """Serves one room's members. ``upload_rate`` limits blobs, in bytes per second (0: not).

    ``set_members`` is the one place that changes who may connect: it swaps the TLS contexts and
    closes the connections of everybody who is no longer a member.
    """

    def __init__(
        self,
        tls: MemberTLS,
        handler: RoomHandler,
        blobs: BlobSource,
        *,
        relay: Relay | None = None,
        scores: Scores | None = None,
        limits: ServerLimits | None = None,
        upload_rate: int = 0,
    ) -> None:
        _require_safe_parser()
        self._relay = relay
        self._tls = tls
        self._handler = handler
        self._blobs = blobs
        self._limits = limits or ServerLimits()
        self._connections: dict[asyncio.BaseTransport, _Connection] = {}
        self._scores = scores or Scores()
        self._buckets: dict[tuple[str, _Kind], TokenBucket] = {}
        self._ledgers: Counter[str] = Counter()
        self._uplink = Line(upload_rate)
        self.sent: Counter[str] = Counter()
        """Bytes of blobs and pictures that went to each member, for showing only."""
        self._uploads = Uploads(per_peer=self._limits.transfers_per_peer, rate=upload_rate)
        self._tasks = TaskOwner("member server")
        self._runner: web.AppRunner | None = None
        self._acceptor: Acceptor | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The TCP port we listen on; 0 before :meth:`start`."""
        return self._port

    async def start(self, hosts: Sequence[str] = (ANY_IPV4, ANY_IPV6), port: int = 0) -> None:
        """Opens the member port on every host.

        Raises:
            NetworkError: the port is taken or a host is not ours.
        """
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=_quiet_logger(),
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_TIMEOUT,
            auto_decompress=False,
            max_line_size=MAX_REQUEST_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=LINGERING_TIME,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        await runner.setup()
        assert runner.server is not None
        acceptor = Acceptor(
            self._tls.listening_context, runner.server, self._connected, self._limits.handshakes
        )
        try:
            self._port = await acceptor.start(hosts, port)
        except NetworkError:
            await runner.cleanup()
            raise
        self._runner, self._acceptor = runner, acceptor
        self._tasks.spawn(self._watch(), "watchdog")

    async def stop(self) -> None:
        """Closes the port, then every connection; running handlers get a moment to end."""
        if self._acceptor is not None:
            await self._acceptor.stop()
        await self._tasks.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
        for transport in list(self._connections):
            self._drop(transport)
        self._acceptor = self._runner = None

    def set_members(self, certificates: Mapping[str, bytes]) -> None:
        """Replaces the membership: peer id -> certificate (DER).

        Raises:
            TrustError: a certificate does not fit its peer id; nothing has changed then.
        """
        self._tls.set_members(certificates)
        for transport, connection in list(self._connections.items()):
            if connection.peer_id not in certificates:
                self._drop(transport)
        self._buckets = {key: b for key, b in self._buckets.items() if key[0] in certificates}
        self._scores.keep_only(certificates)

    def connected_peers(self) -> frozenset[str]:
        """Members with an open connection to us."""
        return frozenset(c.peer_id for t, c in self._connections.items() if not t.is_closing())

    # --- connections ------------------------------------------------------------------------
    def _connected(self, transport: asyncio.BaseTransport) -> None:
        self._admit(transport)

    def _admit(self, transport: asyncio.BaseTransport) -> _Connection | None:
        """The record of a member's connection; anything else is aborted and gives None.

        A request that came with the last packet of the handshake may get here first.
        """
        known = self._connections.get(transport)
        peer_id = self._tls.peer_of(transport.get_extra_info("ssl_object"))
        if known is not None and peer_id is not None:
            return known
        self._forget_closed()
        open_now = sum(c.peer_id == peer_id for c in self._connections.values())
        connection = cast(asyncio.Transport, transport)
        if peer_id is None or open_now >= self._limits.connections_per_peer:
            self._connections.pop(transport, None)
            connection.abort()
            return None
        now = asyncio.get_running_loop().time()
        self._connections[transport] = _Connection(peer_id, connection, now)
        return self._connections[transport]

    def _forget_closed(self) -> None:
        for transport in [t for t in self._connections if t.is_closing()]:
            del self._connections[transport]

    def _drop(self, transport: asyncio.BaseTransport) -> None:
        connection = self._connections.pop(transport, None)
        if connection is not None:
            connection.transport.abort()

    async def _watch(self) -> None:
        """aiohttp bounds idle connections only after their first request; this bounds the first."""
        while True:
            await asyncio.sleep(self._limits.watchdog_interval)
            self._forget_closed()
            oldest = asyncio.get_running_loop().time() - self._limits.first_request
            for transport, connection in list(self._connections.items()):
                if not connection.requests and connection.opened < oldest:
                    self._drop(transport)

    # --- requests ---------------------------------------------------------------------------
    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_MESSAGE_BYTES)
        app.router.add_post("/v1/messages", self._post_message)
        app.router.add_post("/v1/hello", self._post_hello)
        app.router.add_post("/v1/probe/{peer:[a-z2-7]{52}}", self._post_probe)
        app.router.add_post("/v1/via/{peer:[a-z2-7]{52}}", self._post_via)
        app.router.add_get("/v1/blobs/{sha256:[0-9a-f]{64}}", self._get_blob, allow_head=False)
        app.router.add_get(
            "/v1/blobs/{sha256:[0-9a-f]{64}}/chunks", self._get_chunks, allow_head=False
        )
        app.router.add_get("/v1/exhibits/{round:[0-9]{1,6}}", self._get_exhibit, allow_head=False)
        app.router.add_get("/v1/ledger", self._get_ledger, allow_head=False)
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """The last line in front of every route: identity, rate, encoding, errors."""
        connection = self._admit(request.transport) if request.transport else None
        if connection is None:
            raise ConnectionResetError("the connection is not a member's")
        connection.requests += 1
        sender, now = connection.peer_id, asyncio.get_running_loop().time()
        is_gossip = request.path.startswith(_GOSSIP_PATHS)
        graylisted = self._scores.is_graylisted(sender)
        if graylisted and not is_gossip:
            return _refusal(403, "too many faults: nothing is taken from this member for a while")
        kind: _Kind = "graylisted" if graylisted else "gossip" if is_gossip else "request"
        if not self._bucket(sender, kind).take(now):
            self._scores.flood(sender)
            return _refusal(429, "too many requests")
        if "Content-Encoding" in request.headers:
            return _refusal(415, "compressed bodies are not accepted")
        request[_SENDER] = sender
        try:
            return await handler(request)
        except P2PError as error:
            if isinstance(error, LimitError):
                self._scores.flood(sender)
            elif isinstance(error, ProtocolError):
                self._scores.invalid(sender)
            return _refusal(_status_of(error), error.cause)

    def _bucket(self, peer_id: str, kind: _Kind = "request") -> TokenBucket:
        bucket = self._buckets.get((peer_id, kind))
        if bucket is None:
            limits = self._limits
            rate, burst = {
                "request": (limits.request_rate, limits.request_burst),
                "gossip": (limits.gossip_rate, limits.gossip_burst),
                "graylisted": (GRAYLIST_RATE, GRAYLIST_BURST),
            }[kind]
            bucket = TokenBucket(rate, burst, asyncio.get_running_loop().time())
            self._buckets[peer_id, kind] = bucket
        return bucket

    async def _post_message(self, request: web.Request) -> web.StreamResponse:
        data = await read_body(request, MAX_LARGE_MESSAGE_BYTES, self._pace())
        self._handler.on_message(request[_SENDER], data)
        return web.Response(status=204)

    async def _post_hello(self, request: web.Request) -> web.StreamResponse:
        data = await read_body(request, MAX_MESSAGE_BYTES, self._pace())
        reply = self._handler.on_hello(request[_SENDER], data, request.remote or "")
        return web.Response(body=reply, content_type=_BYTES)

    async def _post_probe(self, request: web.Request) -> web.StreamResponse:
        reply = await self._handler.on_probe(request[_SENDER], request.match_info["peer"])
        return web.Response(body=reply, content_type=_BYTES)

    async def _post_via(self, request: web.Request) -> web.StreamResponse:
        sender, peer_id = request[_SENDER], request.match_info["peer"]
        if self._relay is None or peer_id == sender or peer_id not in self._tls.members:
            return _refusal(404, "there is no way to that member here")
        return await self._relay.serve(request, sender, peer_id)

    async def _get_exhibit(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["round"])
        sender = request[_SENDER]
        data = await self._handler.exhibit(sender, number)
        response = web.StreamResponse(headers={"Content-Type": _BYTES})
        response.content_length = len(data)
        upload = self._uploads.begin(sender, len(data), asyncio.get_running_loop().time())
        if upload is None:
            return _refusal(503, "too much is being sent already")
        try:
            await self._stream(request, response, admitted(data, self._uplink), upload)
        finally:
            self._uploads.end(upload)
        return response

    async def _get_ledger(self, request: web.Request) -> web.StreamResponse:
        first = request.query.get("from", "")
        if not _ROUND.fullmatch(first):
            return _refusal(400, "from is a round number")
        sender = request[_SENDER]
        if self._ledgers[sender] >= MAX_LEDGERS_PER_PEER:
            raise Overloaded("this member is being sent the ledger already")
        self._ledgers[sender] += 1
        try:
            reply = self._entries_from(int(first))
            response = web.StreamResponse(headers={"Content-Type": _BYTES})
            response.content_length = len(reply)
            await write_body(request, response, slices(reply), self._pace())
        finally:
            self._ledgers[sender] -= 1
            self._ledgers += Counter()  # Drops what is at zero.
        return response

    def _entries_from(self, first: int) -> bytearray:
        """As many ledger entries as fit into one answer, at least one."""
        reply = bytearray()
        for count, entry in enumerate(self._handler.ledger_entries(first)):
            full = len(reply) + _LENGTH.size + len(entry) > MAX_LEDGER_REPLY_BYTES
            if count == MAX_LEDGER_REPLY_ENTRIES or (full and count):
                break
            reply += _LENGTH.pack(len(entry)) + entry
        return reply

    async def _get_chunks(self, request: web.Request) -> web.StreamResponse:
        offer = await self._blobs.offer(request.match_info["sha256"])
        mask = from_mask(offer.have, len(offer.chunks.digests))
        return web.Response(body=mask + offer.chunks.to_bytes(), content_type=_BYTES)

    async def _get_blob(self, request: web.Request) -> web.StreamResponse:
        offer = await self._blobs.offer(request.match_info["sha256"])
        wanted = byte_range(request.headers.get("Range"), offer.size)
        if wanted is None:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{offer.size}"})
        if not offer.holds(wanted):
            raise BlobUnavailable("these bytes have not arrived here yet")
        response = web.StreamResponse(
            status=206 if "Range" in request.headers else 200, headers={"Content-Type": _BYTES}
        )
        response.content_length = len(wanted)
        if response.status == 206:
            last = wanted.stop - 1
            response.headers["Content-Range"] = f"bytes {wanted.start}-{last}/{offer.size}"
        mask = from_mask(offer.have, len(offer.chunks.digests))
        response.headers[HOLDINGS_HEADER] = mask.hex()
        sender, now = request[_SENDER], asyncio.get_running_loop().time()
        upload = self._uploads.begin(sender, len(wanted), now)
        if upload is None:
            return _refusal(503, "too much is being sent already")
        try:
            parts = file_slices(offer.path, wanted, self._uplink)
            await self._stream(request, response, parts, upload)
            # The limit on requests is about small ones; these are limited by the bytes under way.
            self._bucket(sender).give_back(min(1.0, len(wanted) / CHUNK_BYTES))
        finally:
            self._uploads.end(upload)
        return response

    async def _stream(
        self,
        request: web.Request,
        response: web.StreamResponse,
        parts: AsyncIterator[memoryview],
        upload: Upload,
    ) -> None:
        """Writes a response that counts as an upload. Raises as :func:`write_body`."""

        def moved(size: int, now: float) -> None:
            self.sent[upload.peer] += size
            self._uploads.moved(upload, size, now)

        await write_body(request, response, parts, self._pace(), moved)

    def _pace(self) -> TransferPace:
        now = asyncio.get_running_loop().time()
        return TransferPace(now, self._limits.transfer_grace, self._limits.min_transfer_rate)


def _status_of(error: P2PError) -> int:
    match error:
        case TooLarge():
            return 413
        case LimitError():
            return 429
        case Overloaded():
            return 503
        case BlobUnavailable():
            return 404
        case TrustError():
            return 403
        case StorageError():
            return 507
        case NetworkError():
            return 504
        case _:
            return 400


def _refusal(status: int, reason: str) -> web.Response:
    return web.Response(status=status, text=reason)


class _OnlyOwnFaults(logging.Filter):
    """Drops what aiohttp logs about malformed requests and readers that hang up: a member could
    fill the disk with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, (HttpProcessingError, ConnectionError))


def _quiet_logger() -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.http")
    if not logger.filters:
        logger.addFilter(_OnlyOwnFaults())
    return logger


def _require_safe_parser() -> None:
    """aiohttp's pure-Python parser has a history of request smuggling; ours must be the C one."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise NetworkError(
            "aiohttp runs without its C extension, whose parser is the only one we expose",
            remedy="Install aiohttp from a binary wheel and unset AIOHTTP_NO_EXTENSIONS.",
        )
