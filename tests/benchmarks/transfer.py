"""Blobs between members against plain HTTP served by the same streaming code.

Ours: mutual TLS 1.3, hash while receiving, flush to disk, rename. The other: aiohttp without TLS,
bytes counted and thrown away. Server and client share one process and one event loop here.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.benchmarks.measure import Line
from tests.member_rig import LOOPBACK, Room

SIZE = 64 << 20
PIECE = 256 << 10
RUNS = 3


def run() -> Iterator[Line]:
    ours, theirs = asyncio.run(_measure())
    megabytes = SIZE / 1e6
    yield Line("64 MiB blob between members, MB per second", megabytes / ours, megabytes / theirs,
               "plain HTTP, not stored", "MB/s")  # fmt: skip


async def _measure() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder))
        giver, taker = await room.add(), await room.add()
        ref = await giver.store.put(os.urandom(SIZE))
        path = await giver.store.open_verified(ref.sha256)
        ours, theirs = [], []
        for _ in range(RUNS):
            ours.append(await _timed(taker.store.fetch(taker.client, ref, [giver.id])))
            taker.store.remove(ref.sha256)
            theirs.append(await _plain(path))
        await room.close()
    return min(ours), min(theirs)


async def _timed(work: object) -> float:
    began = time.perf_counter()
    await work  # type: ignore[misc]
    return time.perf_counter() - began


async def _plain(path: Path) -> float:
    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(SIZE)})
        await response.prepare(request)
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                await response.write(piece)
        return response

    app = web.Application()
    app.router.add_get("/", give)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    port = runner.addresses[0][1]

    async def take() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{LOOPBACK}:{port}/") as response,
        ):
            async for _ in response.content.iter_chunked(PIECE):
                pass

    try:
        return await _timed(take())
    finally:
        await runner.cleanup()
