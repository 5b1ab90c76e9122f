"""How every command, the interface and every test talk to a node."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from fedtui.control import address
from fedtui.errors import FedtuiError, NetworkError
from fedtui.limits import CONTROL_LINE_BYTES, CONTROL_TIMEOUT_S, CONTROL_VIEW_BYTES
from fedtui.view import NodeView, from_json

START_A_NODE = "start one with `fedtui`, or without a screen with `fedtui --daemon`"


class NoNode(NetworkError):
    """Nothing listens on the control socket."""

    def __init__(self, control: Path) -> None:
        super().__init__(
            "no node is running on this profile", f"nothing answers at {control}", START_A_NODE
        )


class ControlClient:
    """A node's control API. One connection per call; use it as a context manager or close it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session: aiohttp.ClientSession | None = None
        self._base = "http://node"

    async def __aenter__(self) -> ControlClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def view(self) -> NodeView:
        """What the node knows now. Raises :class:`NoNode` when none runs."""
        return from_json(NodeView, await self._json("GET", "/v1/view"))

    async def events(
        self, since: int = 0, *, follow: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """The node's events after number ``since``; with ``follow`` until the node ends.

        Raises :class:`NoNode` when none runs.
        """
        params = {"since": str(since), "follow": "1" if follow else "0"}
        timeout = aiohttp.ClientTimeout(
            connect=CONTROL_TIMEOUT_S, sock_read=None if follow else CONTROL_TIMEOUT_S
        )
        async with self._request("GET", "/v1/events", params=params, timeout=timeout) as response:
            try:
                while line := await response.content.readline():
                    yield json.loads(line)
            except (aiohttp.ClientError, ConnectionError):
                return  # the node ended in the middle of the stream

    async def stop(self) -> None:
        """Asks the node to end; returns once it has heard."""
        await self._json("POST", "/v1/stop")

    async def do(
        self, name: str, *, within_s: float = CONTROL_TIMEOUT_S, **arguments: Any
    ) -> dict[str, Any]:
        """Runs an operation of the node and returns its result.

        Raises :class:`FedtuiError` with the node's title, cause and remedy; :class:`NoNode` when
        none runs. ``within_s`` bounds the wait, in seconds.
        """
        return await self._json("POST", f"/v1/do/{name}", arguments, within_s)

    async def _json(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        within_s: float = CONTROL_TIMEOUT_S,
    ) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=within_s)
        async with self._request(method, path, timeout=timeout, json=body) as response:
            answer = await response.content.read(CONTROL_VIEW_BYTES)
            while chunk := await response.content.read(CONTROL_VIEW_BYTES - len(answer)):
                answer += chunk
            data = json.loads(answer)
        if not isinstance(data, dict):
            raise FedtuiError("the node's answer makes no sense", "it is not an object")
        return data

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, **arguments: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            session = self._connect()
            async with session.request(method, self._base + path, **arguments) as response:
                if response.status != 200:
                    raise _refused(response.status, await response.text())
                yield response
        except (aiohttp.ClientConnectionError, FileNotFoundError) as error:
            raise NoNode(self._path) from error
        except TimeoutError as error:
            raise NetworkError(
                "the node does not answer",
                "nothing came in time",
                "look at its log (`fedtui locate`)",
            ) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise FedtuiError("the node's answer makes no sense", str(error)) from error

    def _connect(self) -> aiohttp.ClientSession:
        if self._session is not None:
            return self._session
        headers = {}
        connector: aiohttp.BaseConnector
        if address.HAS_UNIX_SOCKETS:
            connector = aiohttp.UnixConnector(str(self._path))
        else:
            place = address.read_loopback(self._path)
            headers["Authorization"] = f"Bearer {place.token}"
            self._base = f"http://{place.host}"
            connector = aiohttp.TCPConnector()
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            trust_env=False,
            read_bufsize=CONTROL_LINE_BYTES,
        )
        return self._session


def _refused(status: int, text: str) -> FedtuiError:
    """The node's own error where it told one."""
    try:
        told = json.loads(text)
        return FedtuiError(
            str(told["error"]),
            str(told["cause"]),
            str(told["remedy"]),
            code=int(told["code"]),
        )
    except (ValueError, TypeError, KeyError):
        return FedtuiError("the node refused", f"{status}: {text}")
