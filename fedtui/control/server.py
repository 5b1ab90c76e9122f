"""The control API a node offers to its own user, and to nobody else.

============================  =================================================================
``GET  /v1/view``             the :class:`~fedtui.view.NodeView` as JSON
``GET  /v1/events``           JSON lines; ``?since=N`` skips, ``?follow=1`` stays connected
``POST /v1/stop``             ends the node cleanly; answers first
``POST /v1/do/NAME``          runs an operation (:mod:`~fedtui.control.operations`) on a JSON object
============================  =================================================================
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from fedtui.control import address
from fedtui.control.operations import Operations
from fedtui.errors import FedtuiError
from fedtui.events import Event
from fedtui.limits import CONTROL_BODY_BYTES, CONTROL_CONNECTIONS, CONTROL_TIMEOUT_S
from fedtui.view import NodeView, to_json

log = logging.getLogger("fedtui.control")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Controlled(Protocol):
    """What the server needs of a node."""

    def view(self) -> NodeView: ...

    def past_events(self, since: int) -> list[Event]: ...

    def follow_events(self, since: int) -> AsyncIterator[Event]: ...

    def request_stop(self) -> None: ...

    @property
    def operations(self) -> Operations: ...


class ControlServer:
    """Serves one node on one path from :meth:`start` to :meth:`stop`."""

    def __init__(self, node: Controlled, path: Path) -> None:
        self._node = node
        self._path = path
        self._token = ""
        self._hosts: frozenset[str] = frozenset()
        self._slots = asyncio.Semaphore(CONTROL_CONNECTIONS)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application(client_max_size=CONTROL_BODY_BYTES, middlewares=[self._guard])
        application.router.add_get("/v1/view", self._view)
        application.router.add_get("/v1/events", self._events)
        application.router.add_get("/v1/openapi.json", self._openapi)
        application.router.add_post("/v1/stop", self._stop)
        application.router.add_post("/v1/do/{name}", self._do)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=1.0, handler_cancellation=True
        )
        await self._runner.setup()
        address.remove(self._path)
        if address.HAS_UNIX_SOCKETS:
            await self._listen_unix(self._runner)
        else:
            await self._listen_loopback(self._runner)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            address.remove(self._path)

    async def _listen_unix(self, runner: web.AppRunner) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mode comes from the umask at bind(); chmod afterwards would leave a gap.
        previous = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(previous)
        await web.SockSite(runner, listener, backlog=CONTROL_CONNECTIONS).start()

    async def _listen_loopback(self, runner: web.AppRunner) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((address.LOOPBACK, 0))
        await web.SockSite(runner, listener, backlog=CONTROL_CONNECTIONS).start()
        place = address.LoopbackAddress(listener.getsockname()[1], address.new_token())
        self._token = place.token
        self._hosts = frozenset({place.host})
        address.write_loopback(self._path, place)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._allowed(request):
            return _error(403, "this node belongs to another user")
        if self._slots.locked():
            return _error(503, f"more than {CONTROL_CONNECTIONS} requests at once")
        async with self._slots:
            return await handler(request)

    def _allowed(self, request: web.Request) -> bool:
        if self._token:
            given = request.headers.get("Authorization", "")
            right = hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode())
            return right and request.host in self._hosts
        connection = request.transport and request.transport.get_extra_info("socket")
        uid = address.peer_uid(connection) if connection else None
        return uid is None or uid in (os.getuid(), 0)

    async def _view(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(to_json(self._node.view()))

    async def _events(self, request: web.Request) -> web.StreamResponse:
        try:
            since = int(request.query.get("since", "0"))
        except ValueError:
            return _error(400, "since must be a number")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        if request.query.get("follow", "0") in ("1", "true"):
            async for event in self._node.follow_events(since):
                await _send(response, event)
        else:
            for event in self._node.past_events(since):
                await _send(response, event)
        await response.write_eof()
        return response

    async def _openapi(self, request: web.Request) -> web.StreamResponse:
        from fedtui.control.openapi import describe

        return web.json_response(describe(self._node.operations))

    async def _stop(self, request: web.Request) -> web.StreamResponse:
        # After the answer: the caller must learn that it worked.
        asyncio.get_running_loop().call_later(0.05, self._node.request_stop)
        return web.json_response({"stopping": True, "pid": os.getpid()})

    async def _do(self, request: web.Request) -> web.StreamResponse:
        try:
            values = json.loads(await request.text() or "{}")
        except ValueError as error:
            return _error(400, f"the arguments are not JSON: {error}")
        if not isinstance(values, dict):
            return _error(400, "the arguments must be an object")
        try:
            return web.json_response(
                await self._node.operations.run(request.match_info["name"], values)
            )
        except Exception as error:
            return _refusal(error)


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    async with asyncio.timeout(CONTROL_TIMEOUT_S):
        await response.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")


def _refusal(error: Exception) -> web.Response:
    """An error with its parts; those of the peer have the same three."""
    title = getattr(error, "title", "")
    if not title:
        log.error("an operation failed", exc_info=error)
        title = "something went wrong that should not"
        error = FedtuiError(title, f"{type(error).__name__}: {error}", "look at the node's log")
    parts = {
        "error": str(title),
        "cause": str(getattr(error, "cause", "") or ""),
        "remedy": str(getattr(error, "remedy", "") or ""),
        "code": int(getattr(error, "code", 1)),
    }
    return web.json_response(parts, status=422)


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
