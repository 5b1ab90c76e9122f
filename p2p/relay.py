"""A way around client isolation: bytes piped through a member that reaches both sides.

The relay copies bytes between its caller and another member's port. What goes through is the TLS
connection of those two, so the relay learns who talks to whom, how much and when, and nothing
else; and the far end sees the certificate of the real caller, never the relay's rights.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import ClientError, ClientResponse, web

from p2p.addresses import AddressBook
from p2p.dialing import first_success
from p2p.errors import LimitError, NetworkError, P2PError
from p2p.limits import (
    CONNECT_TIMEOUT,
    MAX_RELAYED,
    MAX_RELAYED_PER_PEER,
    RELAY_IDLE,
    RELAY_RATE,
)
from p2p.pacing import Throttle
from p2p.reading import next_part
from p2p.tasks import TaskOwner

_log = logging.getLogger(__name__)

_READ_BYTES: Final = 64 << 10

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class RelayLimits:
    """Budgets of one relay: pipes, pipes per caller, bytes per second of one caller (both
    directions together), seconds without a byte."""

    pipes: int = MAX_RELAYED
    per_peer: int = MAX_RELAYED_PER_PEER
    rate: float = RELAY_RATE
    idle: float = RELAY_IDLE


class Relay:
    """The serving side: pipes of other members through this node."""

    def __init__(self, addresses: AddressBook, limits: RelayLimits | None = None) -> None:
        self._addresses = addresses
        self._limits = limits or RelayLimits()
        self._open: Counter[str] = Counter()
        self._throttles: dict[str, Throttle] = {}

    async def serve(self, request: web.Request, sender: str, peer_id: str) -> web.StreamResponse:
        """Answers ``POST /v1/via/<peer>``: the request's body goes to the member, what it says
        is the body of the response.

        Raises:
            LimitError: too many pipes.
            NetworkError: the member cannot be reached directly from here.
        """
        full = self._open.total() >= self._limits.pipes
        if full or self._open[sender] >= self._limits.per_peer:
            raise LimitError("too many connections are relayed already")
        self._open[sender] += 1
        try:
            reader, writer = await self._connect(peer_id)
            response = web.StreamResponse()
            try:
                await response.prepare(request)
                await self._pump(sender, request, response, reader, writer)
            finally:
                writer.transport.abort()
            return response
        finally:
            self._open[sender] -= 1
            if not self._open[sender]:
                del self._open[sender]
                self._throttles.pop(sender, None)

    async def _connect(self, peer_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # Hints do not count: two members could make us connect to anything that we reach.
        known = self._addresses.proved(peer_id)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await first_success(
                    [partial(asyncio.open_connection, a.host, a.port) for a in known],
                    lambda streams: streams[1].transport.abort(),
                )
        except OSError as error:  # TimeoutError is one.
            raise NetworkError(f"{peer_id} cannot be reached from the relay") from error

    async def _pump(
        self,
        sender: str,
        request: web.Request,
        response: web.StreamResponse,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        clock = asyncio.get_running_loop().time
        throttle = self._throttles.setdefault(sender, Throttle(self._limits.rate, clock()))
        last = clock()

        async def copy(read: Callable[[], Awaitable[bytes]], send: Send) -> None:
            nonlocal last
            while data := await read():
                last = clock()
                await asyncio.sleep(throttle.delay(len(data), last))
                await send(data)

        async def onward(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        async def idle() -> None:
            """Ends when neither side has said anything for long."""
            while (left := last + self._limits.idle - clock()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(left)

        work = [
            asyncio.ensure_future(copy(request.content.readany, onward)),
            asyncio.ensure_future(copy(lambda: reader.read(_READ_BYTES), response.write)),
            asyncio.ensure_future(idle()),
        ]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


Post = Callable[[AsyncIterator[bytes]], AbstractAsyncContextManager[ClientResponse]]
"""Sends a body to the relay and gives its response."""


class Pipes:
    """The calling side: sockets whose other end is a member's port, seen through a relay."""

    def __init__(self) -> None:
        self._tasks = TaskOwner("relayed connections")

    async def stop(self) -> None:
        await self._tasks.cancel()

    def open(self, post: Post) -> socket.socket:
        """A connected socket, ready for TLS with the member; it is closed when the relay refuses
        or does not reach the member."""
        far, near = socket.socketpair()
        far.setblocking(False)
        self._tasks.spawn(_pipe(near, post), "pipe")
        return far


async def _pipe(near: socket.socket, post: Post) -> None:
    reader, writer = await asyncio.open_connection(sock=near)

    async def outgoing() -> AsyncIterator[bytes]:
        while data := await reader.read(_READ_BYTES):
            yield data
        # An end of the body would be sent down a connection that is closing, which aiohttp does
        # in a task of its own whose failure nobody sees.
        raise ConnectionAbortedError("the caller hung up")

    try:
        # The request leaves with its first bytes, so nobody may wait for the response before.
        async with post(outgoing()) as response:
            while data := await next_part(response.content):
                writer.write(data)
                await writer.drain()
    except (P2PError, OSError, ClientError) as error:
        _log.debug("a relayed connection ended: %s", error)
    finally:
        writer.transport.abort()
