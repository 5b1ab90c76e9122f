"""Connecting to a member: every address we know of it, until one proves to be it.

Addresses are tried 250 ms apart in parallel (RFC 8305), and what counts is the TLS handshake, not
the TCP connection: an old address that another machine has by now must not hide the right one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import aiohttp
from aiohttp.client_proto import ResponseHandler

from p2p.addresses import Address, AddressBook
from p2p.limits import DIAL_STAGGER, DIAL_TIMEOUT, TLS_SHUTDOWN_TIMEOUT
from p2p.reading import Buffered, ReadBuffer

T = TypeVar("T")

DIRECT: Final = ".member"
RELAYED: Final = ".relayed"
"""Ends of the host names in our URLs: connections of the two kinds are pooled apart."""
SERVER_NAME: Final = "fedtui"
"""Sent in the clear by TLS, so it must not name the peer."""

_Connection = tuple[asyncio.Transport, ResponseHandler]
OpenPipe = Callable[[str], Awaitable[socket.socket]]
"""Gives a connected socket whose other end is a member's port, through somebody else."""


async def first_success(
    attempts: Sequence[Callable[[], Awaitable[T]]],
    discard: Callable[[T], None],
    stagger: float = DIAL_STAGGER,
) -> T:
    """The result of the first attempt that succeeds; they start ``stagger`` seconds apart, or as
    soon as one before has failed. Later successes go to ``discard``.

    Raises:
        OSError: all failed (the error of the last one), or there is nothing to try.
    """
    running: set[asyncio.Future[T]] = set()
    waiting = list(reversed(attempts))
    error: Exception = OSError(None, "no address of this peer is known")
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(waiting.pop()()))
            patience = stagger if waiting else None
            done, running = await asyncio.wait(
                running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if (failure := task.exception()) is None:
                    done.discard(task)
                    running |= done
                    return task.result()
                if not isinstance(failure, OSError | EOFError):
                    raise failure
                error = failure if isinstance(failure, OSError) else ConnectionResetError()
    finally:
        for task in running:
            task.add_done_callback(lambda task: _dispose(task, discard))
            task.cancel()
    raise error


def remote_address(transport: asyncio.BaseTransport) -> Address:
    """Where the other end of a connection is.

    Raises:
        ConnectionResetError: it hung up before this was asked; the system no longer says.
    """
    remote = transport.get_extra_info("peername")
    if remote is None:
        raise ConnectionResetError("the other end hung up at once")
    return Address(remote[0], remote[1])


def _dispose(task: asyncio.Future[T], discard: Callable[[T], None]) -> None:
    if not task.cancelled() and task.exception() is None:
        discard(task.result())


class MemberConnector(aiohttp.BaseConnector):
    """aiohttp's pool of connections over our way of dialling.

    ``https://<peer id>.member/`` is dialled at the peer's addresses, of which the one that
    answered with the right certificate is remembered; ``https://<peer id>.relayed/`` through a
    pipe from ``open_pipe``.

    A dial outlives the request that gave up waiting for it: the next one to the same member takes
    what it has become. On a machine that is too slow for a handshake within one request's time,
    every try would otherwise begin, and fail, anew.
    """

    def __init__(self, addresses: AddressBook, open_pipe: OpenPipe, **options: Any) -> None:
        super().__init__(**options)
        self._addresses = addresses
        self._open_pipe = open_pipe
        self._buffer = ReadBuffer()
        self._dials: set[asyncio.Task[_Connection]] = set()
        self._left: dict[tuple[str, ssl.SSLContext], asyncio.Task[_Connection]] = {}

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        host, context = req.url.host or "", req.ssl
        assert isinstance(context, ssl.SSLContext)
        dial = self._left.pop((host, context), None)
        if dial is None or _has_failed(dial):
            dial = self._loop.create_task(self._dial(host, context))
            self._dials.add(dial)
            dial.add_done_callback(self._dialled)
        try:
            _, protocol = await asyncio.shield(dial)
        except asyncio.CancelledError:
            if dial.cancelled():
                raise ConnectionAbortedError("every connection is being closed") from None
            self._leave((host, context), dial)
            raise
        return protocol

    def close(self, *, abort_ssl: bool = False) -> Awaitable[None]:
        for dial in {*self._dials, *self._left.values()}:
            _discard(dial)
        self._left.clear()
        return super().close(abort_ssl=abort_ssl)

    def _leave(self, key: tuple[str, ssl.SSLContext], dial: asyncio.Task[_Connection]) -> None:
        """Keeps a dial for the next request. Its server closes a connection that nobody uses; what
        has come to nothing goes, or removed members, each time called with another context, would
        pile up."""
        self._left = {k: left for k, left in self._left.items() if not _has_failed(left)}
        if key in self._left or self.closed:
            _discard(dial)
        else:
            self._left[key] = dial

    def _dialled(self, dial: asyncio.Task[_Connection]) -> None:
        self._dials.discard(dial)
        if not dial.cancelled():
            dial.exception()  # Whoever waited has seen it; perhaps nobody did.

    async def _dial(self, host: str, context: ssl.SSLContext) -> _Connection:
        """Raises OSError."""
        async with asyncio.timeout(DIAL_TIMEOUT):
            if host.endswith(RELAYED):
                pipe = await self._open_pipe(host.removesuffix(RELAYED))
                return await self._connect(context, sock=pipe)
            peer_id = host.removesuffix(DIRECT)
            known = self._addresses.of(peer_id)
            connection = await first_success(
                [partial(self._connect, context, host=a.host, port=a.port) for a in known], _abort
            )
            self._addresses.worked(peer_id, remote_address(connection[0]))
            return connection

    async def _connect(self, context: ssl.SSLContext, **where: Any) -> _Connection:
        transport, buffered = await self._loop.create_connection(
            lambda: Buffered(self._factory(), self._buffer),
            ssl=context,
            server_hostname=SERVER_NAME,
            ssl_handshake_timeout=DIAL_TIMEOUT,
            ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT,
            **where,
        )
        assert isinstance(buffered.inner, ResponseHandler)
        return transport, buffered.inner


def _discard(dial: asyncio.Task[_Connection]) -> None:
    dial.add_done_callback(lambda dial: _dispose(dial, _abort))
    dial.cancel()


def _abort(connection: _Connection) -> None:
    connection[0].abort()


def _has_failed(dial: asyncio.Task[_Connection]) -> bool:
    """Whether nothing can come of a dial any more."""
    if not dial.done():
        return False
    return dial.cancelled() or dial.exception() is not None or dial.result()[0].is_closing()
