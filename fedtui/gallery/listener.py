"""The port the page is served on: two kinds of GET under a secret address, and nothing else.

===============================  ================================================================
``GET /TOKEN/``                  the page, made from the view of the moment
``GET /TOKEN/NAME.png``          one of the pictures that are in the page
===============================  ================================================================

Whoever knows the token may look; everybody else learns nothing, not even whether a path exists.
Visitors are strangers, so the number, the rate and the age of their connections are bounded.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from fedtui.errors import NetworkError
from fedtui.gallery import page
from fedtui.gallery.png import pixels_only, width
from fedtui.limits import (
    PAGE_BURST,
    PAGE_CONNECTIONS,
    PAGE_CONNECTIONS_EACH,
    PAGE_GUESS_BURST,
    PAGE_GUESS_RATE,
    PAGE_PICTURE_BYTES,
    PAGE_PICTURES_READ,
    PAGE_RATE,
    PAGE_SILENCE_S,
    PAGE_VISITORS,
)
from fedtui.view import NodeView
from p2p.limits import MAX_HEADERS, MAX_REQUEST_LINE_BYTES
from p2p.pacing import TokenBucket
from p2p.tasks import TaskOwner

log = logging.getLogger("fedtui.gallery")

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

TOKEN_BYTES = 16
CRISP_PIXELS = 128
"""Pictures up to this size are enlarged pixel by pixel: smoothed, they look out of focus."""
HEADER_BYTES = 8 << 10
"""Of one header line; browsers send long ones, members do not."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "fedtui",
}
KEPT_BY_BROWSERS = "private, max-age=86400, immutable"
"""A picture's name says what is on it, and the token in front of it lives as long as the page."""


class GalleryListener:
    """Serves ``view`` from :meth:`start` to :meth:`stop`."""

    def __init__(self, view: Callable[[], NodeView]) -> None:
        self._view = view
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self.port = 0
        self._visitors = Visitors()
        self._reading = asyncio.Semaphore(PAGE_PICTURES_READ)
        self._rendered: tuple[NodeView, bytes] | None = None
        self._connections: _Connections | None = None
        self._runner: web.ServerRunner | None = None
        self._tasks = TaskOwner("gallery page")

    async def start(self, host: str, port: int) -> None:
        """Listens on ``host``; ``port`` 0 takes a free one. Raises :class:`NetworkError`."""
        server = _Connections(
            self._answer,
            access_log=None,
            logger=_quiet(),
            keepalive_timeout=PAGE_SILENCE_S,
            max_line_size=MAX_REQUEST_LINE_BYTES,
            max_field_size=HEADER_BYTES,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
        )
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=PAGE_CONNECTIONS)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise NetworkError(
                f"the page cannot listen on {host}:{port}",
                error.strerror or str(error),
                "choose another --port, or none: the system finds a free one",
            ) from error
        self._connections, self._runner = server, runner
        self.port = int(runner.addresses[0][1])
        self._tasks.spawn(server.cut_silent_ones(), "silent connections")

    async def stop(self) -> None:
        """Closes the port and every connection."""
        await self._tasks.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._connections is not None:
            self._connections.heard_of(request.transport)
        token, slash, name = request.path.removeprefix("/").partition("/")
        known = hmac.compare_digest(token.encode(errors="replace"), self.token.encode())
        now = asyncio.get_running_loop().time()
        if not self._visitors.may_ask(request.remote or "", known, now):
            return _told(429, "too many requests: wait a moment")
        if request.method != "GET":
            return _told(405, "this page can only be read", {"Allow": "GET"})
        if not known:
            return _told(404, "there is nothing here")
        if not slash:
            return _told(308, "", {"Location": f"/{self.token}/"})
        if not name:
            headers = HEADERS | {"Content-Security-Policy": page.policy()}
            body = await asyncio.to_thread(self._page, self._view())
            return web.Response(
                body=body, headers=headers, content_type="text/html", charset="utf-8"
            )
        return await self._picture(name)

    def _page(self, view: NodeView) -> bytes:
        rendered = self._rendered
        if rendered is None or rendered[0] is not view:
            drawn = page.shown(view)
            newest = Path(drawn[-1].path) if drawn else None
            crisp = newest is not None and width(newest) <= CRISP_PIXELS
            text = page.rendered(view, crisp)
            self._rendered = rendered = (view, text.encode("utf-8", "replace"))
        return rendered[1]

    async def _picture(self, name: str) -> web.StreamResponse:
        wanted = name.removesuffix(".png")
        found = next((p for p in page.shown(self._view()) if page.picture_name(p) == wanted), None)
        if found is None:
            return _told(404, "there is nothing here")
        try:
            async with self._reading:
                data = await asyncio.to_thread(_read, Path(found.path))
        except (OSError, ValueError) as error:
            log.warning("a picture of the page cannot be read: %s", error)
            return _told(404, "this picture is not there any more")
        headers = HEADERS | {"Cache-Control": KEPT_BY_BROWSERS}
        return web.Response(body=data, headers=headers, content_type="image/png")


class Visitors:
    """How often each address may ask; wrong tokens have a much smaller budget."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, bool], TokenBucket] = {}

    def may_ask(self, address: str, known: bool, now: float) -> bool:
        """Whether one more request is within the budget; ``now`` in monotonic seconds."""
        bucket = self._buckets.pop((address, known), None)
        if bucket is None:
            rate, burst = (PAGE_RATE, PAGE_BURST) if known else (PAGE_GUESS_RATE, PAGE_GUESS_BURST)
            bucket = TokenBucket(rate, burst, now)
        self._buckets[address, known] = bucket
        if len(self._buckets) > PAGE_VISITORS:
            del self._buckets[next(iter(self._buckets))]  # who has been silent for longest
        return bucket.take(now)


class _Connections(web.Server):
    """aiohttp's server with a bound on connections: how many, of whom, and how long in silence."""

    def __init__(self, handler: Handler, **settings: Any) -> None:
        super().__init__(handler, **settings)
        self._heard: dict[asyncio.BaseTransport, float] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Turns away whom there is no room for."""
        super().connection_made(handler, transport)
        for closed in [each for each in self._heard if each.is_closing()]:
            del self._heard[closed]
        mine = _host(transport)
        same = sum(_host(each) == mine for each in self._heard)
        if len(self._heard) >= PAGE_CONNECTIONS or same >= PAGE_CONNECTIONS_EACH:
            transport.abort()
        else:
            self._heard[transport] = asyncio.get_running_loop().time()

    def heard_of(self, transport: asyncio.BaseTransport | None) -> None:
        """A whole request came on this connection."""
        if transport in self._heard:
            self._heard[transport] = asyncio.get_running_loop().time()

    async def cut_silent_ones(self) -> None:
        """Ends connections that send nothing, half a request or read no answer."""
        while True:
            await asyncio.sleep(PAGE_SILENCE_S / 10)
            oldest = asyncio.get_running_loop().time() - PAGE_SILENCE_S
            for transport in [each for each, heard in self._heard.items() if heard < oldest]:
                del self._heard[transport]
                if isinstance(transport, asyncio.Transport):
                    transport.abort()


def _host(transport: asyncio.BaseTransport) -> str:
    place = transport.get_extra_info("peername")
    return str(place[0]) if place else ""


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(PAGE_PICTURE_BYTES + 1)
    if len(data) > PAGE_PICTURE_BYTES:
        raise ValueError(f"{path.name} is larger than {PAGE_PICTURE_BYTES} bytes")
    return pixels_only(data)


def _told(status: int, text: str, more: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text, headers=HEADERS | dict(more or {}))


class _OwnFaults(logging.Filter):
    """Drops what aiohttp says about malformed requests: strangers could fill the log with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | ConnectionError)


def _quiet() -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.http")
    if not logger.filters:
        logger.addFilter(_OwnFaults())
    return logger
