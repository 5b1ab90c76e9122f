"""What mutual TLS costs a new connection: connect, ask, answer, with and without, in turns.

Two members in two processes on loopback; "without" is the same server and client with TLS taken
out. A stranger's half of a handshake is in ``siege``, a whole join in ``joining``.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator

from p2p.blobs.chunks import BlobRef
from p2p.client import PeerClient
from tests.benchmarks.measure import Line
from tests.benchmarks.member_pair import GIVER, PlainClient, client_of, giver_process

RUNS = 60
WARM_UP = 5
TARGET_MS = 5.0


def run() -> Iterator[Line]:
    with_tls, without = asyncio.run(_measure())
    yield Line("new connection and a question, median", with_tls, without, "without TLS", "ms")
    yield Line("mutual TLS 1.3 handshake on top", with_tls - without, TARGET_MS, "target", "ms")


async def _measure() -> tuple[float, float]:
    """Medians in milliseconds, with TLS and without."""
    times: dict[type[PeerClient], list[float]] = {PeerClient: [], PlainClient: []}
    with tempfile.TemporaryDirectory(prefix="handshake-") as folder:
        async with giver_process(folder, 1) as (_, told):
            ref = BlobRef(*told["ref"])
            for _ in range(WARM_UP + RUNS):
                for kind, port in zip(times, told["ports"], strict=False):
                    times[kind].append(await _ask_once(kind, port, ref))
    with_tls, without = (1000 * statistics.median(taken[WARM_UP:]) for taken in times.values())
    return with_tls, without


async def _ask_once(kind: type[PeerClient], port: int, ref: BlobRef) -> float:
    client = client_of(kind, port)
    await client.start()
    began = time.perf_counter()
    await client.holdings(GIVER.peer_id, ref)
    took = time.perf_counter() - began
    await client.stop()
    return took
