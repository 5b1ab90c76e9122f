"""Two members in two processes, one of which has a blob: with TLS as in the product, or without.

The product has no way to switch TLS off. Here the same server, client and store are joined
without it, so that a transfer shows what TLS costs and nothing else.

``python -m tests.benchmarks.member_pair FOLDER SIZE`` is the giver; it prints its ports (with TLS,
without, and of a bare HTTP server that the others are compared with) and serves until stdin ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from p2p.addresses import Address, AddressBook
from p2p.blobs.store import BlobStore
from p2p.client import PeerClient
from p2p.server import MemberServer, _Connection
from p2p.tls import MemberTLS
from tests.member_rig import LOOPBACK, Handler, identity

GIVER, TAKER = identity(1), identity(2)
CERTIFICATES = {each.peer_id: each.certificate_der() for each in (GIVER, TAKER)}
PIECE = 256 << 10


class PlainServer(MemberServer):
    """The member server without TLS: everybody is the taker."""

    async def start_plain(self) -> int:
        runner = web.AppRunner(
            self._application(), access_log=None, handler_cancellation=True, auto_decompress=False
        )
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, 0).start()
        return int(runner.addresses[0][1])

    def _admit(self, transport: asyncio.BaseTransport) -> _Connection | None:
        return _Connection(TAKER.peer_id, transport, 0.0)  # type: ignore[arg-type]


class _PlainSession:
    """A session without TLS to the one address that a client knows."""

    def __init__(self, port: int) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._base = f"http://{LOOPBACK}:{port}"

    def request(
        self, method: str, url: str, **options: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        for name in ("ssl", "server_hostname"):
            options.pop(name)
        return self._session.request(method, self._base + urlsplit(url).path, **options)

    async def close(self) -> None:
        await self._session.close()


class PlainClient(PeerClient):
    """The peer client without TLS."""

    def _new_session(self) -> Any:
        (giver,) = self._addresses.of(GIVER.peer_id)
        return _PlainSession(giver.port)


def client_of(kind: type[PeerClient], port: int) -> PeerClient:
    """A taker's client that knows where the giver listens."""
    tls, book = MemberTLS(TAKER), AddressBook()
    tls.set_members(CERTIFICATES)
    book.hint(GIVER.peer_id, [Address(LOOPBACK, port)])
    return kind(tls, book)


@asynccontextmanager
async def giver_process(
    folder: str, size: int
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """The giver of a blob of ``size`` bytes, and what it told of itself."""
    giver = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.member_pair", f"{folder}/giver", str(size),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield giver, await line_of(giver)
    finally:
        giver.kill()
        await giver.wait()


async def line_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next line of JSON that a process says."""
    assert process.stdout is not None
    return json.loads(await process.stdout.readline())


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def bare_server(path: Path) -> Callable[[web.Request], Any]:
    """A handler that sends a file in pieces of 256 KiB, as simply as can be."""
    size = path.stat().st_size

    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                await response.write(piece)
        return response

    return give


async def _give(folder: Path, size: int) -> None:
    store = BlobStore(folder)
    ref = await store.put(os.urandom(size))
    tls = MemberTLS(GIVER)
    server = MemberServer(tls, Handler(), store)
    server.set_members(CERTIFICATES)
    await server.start([LOOPBACK])
    plain = PlainServer(tls, Handler(), store)
    app = web.Application()
    app.router.add_get("/", bare_server(store.path(ref.sha256)))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    ports = [server.port, await plain.start_plain(), runner.addresses[0][1]]
    print(json.dumps({"ports": ports, "ref": [ref.sha256, ref.size, ref.chunks]}), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps({"cpu": cpu_seconds()}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_give(Path(sys.argv[1]), int(sys.argv[2])))
