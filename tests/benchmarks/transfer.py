"""A 200 MB blob between two members in two processes on loopback.

Ours: mutual TLS 1.3, chunks checked, stored, whole file hashed, flushed to disk. Compared with the
same code without TLS, and with bare HTTP that counts the bytes and throws them away. CPU seconds
are those of both processes: on a shared machine they say more than the wall clock.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from p2p.blobs.chunks import BlobRef
from p2p.blobs.store import BlobStore
from p2p.client import PeerClient
from tests.benchmarks.measure import Line
from tests.benchmarks.member_pair import (
    GIVER,
    PIECE,
    PlainClient,
    client_of,
    cpu_seconds,
    giver_process,
    line_of,
)
from tests.member_rig import LOOPBACK

SIZE = 200_000_000
RUNS = 3


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float


def run(runs: int = RUNS) -> Iterator[Line]:
    tls, plain, bare = asyncio.run(_measure(runs))
    megabytes = SIZE / 1e6

    def rate(costs: list[Cost]) -> float:
        return megabytes / min(cost.wall for cost in costs)

    def cpu(costs: list[Cost]) -> float:
        return min(cost.cpu for cost in costs)

    yield Line("200 MB between members, per second", rate(tls), rate(plain),
               "the same without TLS", "MB/s")  # fmt: skip
    yield Line("its CPU time, both sides", cpu(tls), cpu(plain), "the same without TLS")
    yield Line("200 MB between members, per second", rate(tls), rate(bare),
               "bare HTTP, not stored", "MB/s")  # fmt: skip
    yield Line("its CPU time, both sides", cpu(tls), cpu(bare), "bare HTTP, not stored")


async def _measure(runs: int) -> tuple[list[Cost], list[Cost], list[Cost]]:
    with tempfile.TemporaryDirectory(prefix="transfer-") as folder:
        async with giver_process(folder, SIZE) as (giver, told):
            ref = BlobRef(*told["ref"])
            store = BlobStore(Path(folder) / "taker")
            ports = told["ports"]
            tls, plain, bare = [], [], []
            for _ in range(runs):
                for kind, port, costs in (
                    (PeerClient, ports[0], tls),
                    (PlainClient, ports[1], plain),
                ):
                    client = client_of(kind, port)
                    await client.start()
                    costs.append(
                        await _cost(
                            giver, lambda c=client: store.fetch(c, ref, lambda: [GIVER.peer_id])
                        )
                    )
                    await client.stop()
                    store.remove(ref.sha256)
                bare.append(await _cost(giver, lambda: _count(ports[2])))
    return tls, plain, bare


async def _cost(giver: asyncio.subprocess.Process, work: Callable[[], Awaitable[object]]) -> Cost:
    cpu = await _both(giver)
    began = time.perf_counter()
    await work()
    wall = time.perf_counter() - began
    return Cost(wall, await _both(giver) - cpu)


async def _both(giver: asyncio.subprocess.Process) -> float:
    assert giver.stdin is not None
    giver.stdin.write(b"\n")
    return float((await line_of(giver))["cpu"]) + cpu_seconds()


async def _count(port: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{LOOPBACK}:{port}/") as response,
    ):
        async for _ in response.content.iter_chunked(PIECE):
            pass
