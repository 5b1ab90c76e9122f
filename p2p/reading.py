"""Bytes that come over a connection: decrypted ones by way of one buffer, and those of an answer.

For an ordinary protocol asyncio reads every TLS record (16 KiB) into a ``bytes`` of 256 KiB that
it then shrinks: 1.7 ms of a core per MiB, where reading into a buffer takes 0.3 ms.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from typing import Any, Final

from aiohttp import ClientResponse, StreamReader

from p2p.errors import NetworkError
from p2p.limits import LOW_WATER_BYTES, STREAM_CHUNK_BYTES


async def next_part(content: StreamReader) -> bytes:
    """The next bytes of an answer; none when it has ended.

    Raises:
        NetworkError: the connection was lost between two reads.
    """
    try:
        return await content.readany()
    except RuntimeError as error:  # How aiohttp says so.
        raise NetworkError("the connection was lost in the middle of an answer") from error


class LowWater:
    """Has the system wait until more of an answer is there than a packet or two.

    From a line of 100 Mbit/s an answer comes in small pieces, and each of them takes its way
    through the event loop, TLS and aiohttp: 16 ms of a core per MiB, half of it for nothing.
    :meth:`expect` must hear how many bytes are still to come before anything else is awaited, and
    :meth:`clear` that nobody reads on: the next answer on this connection may be a short one.
    """

    def __init__(self, response: ClientResponse) -> None:
        self._socket: Any = None
        self._mark = 1
        # Linux alone looks again, when the mark is lowered, at what is there already.
        if sys.platform == "linux" and response.connection is not None:
            transport = response.connection.transport
            self._socket = transport and transport.get_extra_info("socket")

    def expect(self, left: int) -> None:
        """As much again as the mark may be on its way through TLS, where it does not count."""
        self._set(LOW_WATER_BYTES if left > 2 * LOW_WATER_BYTES else 1)

    def clear(self) -> None:
        self._set(1)

    def _set(self, mark: int) -> None:
        if self._socket is None or mark == self._mark:
            return
        self._mark = mark
        with suppress(OSError):  # The connection is closed already.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)


class ReadBuffer:
    """The bytes that one event loop reads next; all of its connections use it in turn.

    Between asking for it and handing on what was read nothing else runs, so one is enough, and a
    room with many members does not pay for a buffer with each of them.
    """

    def __init__(self, size: int = STREAM_CHUNK_BYTES) -> None:
        self.view: Final = memoryview(bytearray(size))


class Buffered(asyncio.BufferedProtocol):
    """Puts ``inner``, a protocol that takes ``bytes``, behind a buffer."""

    def __init__(self, inner: asyncio.Protocol, buffer: ReadBuffer) -> None:
        self.inner: Final = inner
        self._buffer = buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.inner.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        self.inner.data_received(bytes(self._buffer.view[:nbytes]))

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()
