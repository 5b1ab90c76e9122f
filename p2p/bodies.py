"""Bodies of requests and answers at the member port: bounded, at a pace, a slice at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from p2p.errors import BlobUnavailable, LimitError
from p2p.limits import CHUNK_BYTES, SLOW_STREAM_BYTES, SLOW_WRITE, STREAM_CHUNK_BYTES
from p2p.pacing import Line, TransferPace

T = TypeVar("T")
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")


class TooLarge(LimitError):
    """A body above its limit, as opposed to too many of them."""


async def read_body(request: web.Request, max_bytes: int, pace: TransferPace) -> bytes:
    """The body, refused above ``max_bytes`` and when it comes more slowly than ``pace`` allows.

    Raises:
        TooLarge: it is too long.
        TimeoutError: it is too slow; aiohttp answers 504 and the connection is closed.
    """
    if (request.content_length or 0) > max_bytes:
        raise TooLarge(f"a body has more than {max_bytes} bytes")
    clock = asyncio.get_running_loop().time
    body = bytearray()
    while chunk := await _before(pace.deadline, request.content.readany()):
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"a body has more than {max_bytes} bytes")
        pace.advance(len(chunk), clock())
    return bytes(body)


async def write_body(
    request: web.Request,
    response: web.StreamResponse,
    parts: AsyncIterator[memoryview],
    pace: TransferPace,
    moved: Callable[[int, float], None] = lambda size, now: None,
) -> None:
    """Writes a response to a reader that must keep up: in steps of 256 KiB, and in smaller ones
    where those take long, so that ``moved(bytes, now)`` hears in time that something moves.

    Raises:
        TimeoutError: it does not keep up.
    """
    clock = asyncio.get_running_loop().time
    step = SLOW_STREAM_BYTES
    await response.prepare(request)
    try:
        async for part in parts:
            at = 0
            while piece := part[at : at + step]:
                at += len(piece)
                began = clock()
                await _before(pace.deadline, response.write(piece))
                now = clock()
                step = SLOW_STREAM_BYTES if now - began > SLOW_WRITE else STREAM_CHUNK_BYTES
                pace.advance(len(piece), now)
                moved(len(piece), now)
        await _before(pace.deadline, response.write_eof())
    except (TimeoutError, OSError):
        # The headers are out: all that can still be said is that the rest will not come.
        if request.transport is not None:
            request.transport.abort()
        raise


async def _before(deadline: float, work: Awaitable[T]) -> T:
    async with asyncio.timeout_at(deadline):
        return await work


def byte_range(header: str | None, size: int) -> range | None:
    """The bytes that a ``Range`` header asks for; None when it cannot be served.

    One range with a start is understood; lists and suffix ranges are refused as unsatisfiable.
    """
    if header is None:
        return range(size)
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    return range(first, last + 1) if first <= last else None


async def slices(
    data: bytes | bytearray, size: int = STREAM_CHUNK_BYTES
) -> AsyncIterator[memoryview]:
    """Bytes that are here, ``size`` at a time."""
    view = memoryview(data)
    for at in range(0, len(data), size):
        yield view[at : at + size]


async def admitted(data: bytes, line: Line) -> AsyncIterator[memoryview]:
    """Bytes that are here, as the line is free for them."""
    async for part in slices(data, line.slice):
        await line.admit(len(part))
        yield part


async def file_slices(path: Path, wanted: range, line: Line) -> AsyncIterator[memoryview]:
    """A part of a file when the line is free for it.

    It is read a whole chunk at a time: a turn of a thread costs more than the reading.
    """
    for at in range(wanted.start, wanted.stop, CHUNK_BYTES):
        size = min(CHUNK_BYTES, wanted.stop - at)
        data = await asyncio.to_thread(_read, path, at, size)
        if len(data) != size:
            raise BlobUnavailable(f"{path.name} became shorter while it was sent")
        async for part in admitted(data, line):
            yield part


def _read(path: Path, start: int, size: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise BlobUnavailable(f"{path.name} cannot be read: {error}") from error
