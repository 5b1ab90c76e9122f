"""A toy node as a process that goes on until it is told to stop.

usage: toy_daemon.py ROOT INDEX COUNT SECONDS OPTIONS, where SECONDS is how long it trains per round
and OPTIONS a JSON object of arguments for Peer. It writes what a screen would show to
ROOT/status-INDEX.json several times a second, prints its events, takes ``HOST:PORT`` lines on its
standard input as ``fedtui peer add`` would, and leaves cleanly on SIGTERM, or when
whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from toy_room import ToyNode, toy_genesis

from p2p.errors import P2PError
from p2p.paths import parse_place
from p2p.rounds.state import Timing

ROUNDS = 100_000
DEADLINE_MS = 30_000


def status(node: ToyNode) -> dict[str, Any]:
    snapshot = node.peer.snapshot()
    return {
        "time": time.time(),
        "port": node.peer.port,
        "round": snapshot.round,
        "phase": snapshot.phase,
        "note": snapshot.note,
        "discovery": snapshot.discovery,
        "ledger": [commit.commit_hash for commit in snapshot.commits],
        "inputs": [[item.peer for item in commit.inputs] for commit in snapshot.commits[-5:]],
        "peers": {
            peer.id: {"state": peer.state, "reach": peer.reach, "via": peer.via,
                      "address": peer.address}
            for peer in snapshot.peers if not peer.me
        },
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "memory_kib": memory_kib(),
    }  # fmt: skip


def memory_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


async def tell(node: ToyNode, file: Path) -> None:
    while True:
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(status(node)))
        temporary.replace(file)
        await asyncio.sleep(0.3)


async def obey(node: ToyNode, stopping: asyncio.Event) -> None:
    """Lines are read in a thread: standard input may be anything."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(stopping.set)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            await node.peer.add_address(*parse_place(await lines.get()))
        except P2PError as error:
            print(error, file=sys.stderr, flush=True)


class ToyDaemon(ToyNode):
    """A toy node that prints its events instead of keeping them."""

    def _emit(self, type: str, /, **fields: object) -> None:
        print(json.dumps({"time": time.time(), "type": type, **fields}, default=str), flush=True)


async def main(root: Path, index: int, count: int, training: float, options: Any) -> None:
    genesis = toy_genesis(count, rounds=ROUNDS, deadline_ms=DEADLINE_MS)
    node = ToyDaemon(root, index, genesis, training=training, timing=Timing(), **options)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await node.start()
    work = [asyncio.create_task(tell(node, root / f"status-{index}.json"))]
    work.append(asyncio.create_task(obey(node, stopping)))
    await stopping.wait()
    for task in work:
        task.cancel()
    await node.stop()


if __name__ == "__main__":
    place, own, of, seconds, chosen = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(main(Path(place), int(own), int(of), float(seconds), json.loads(chosen)))
