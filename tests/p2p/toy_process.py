"""A toy node in a process of its own, which kills itself with -9 at a chosen moment.

usage: toy_process.py ROOT INDEX COUNT MOMENT ROUNDS, where MOMENT is ``combine`` (it has collected
and merges), ``vote`` (its proposal is out and the first vote comes back), ``prepared`` or
``commit`` (it has that certificate and nobody else hears of it). Its port is written to
ROOT/portINDEX, the ports of the others are read from there, and events go to stdout.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from toy_room import PATIENT, ToyNode, identity, toy_genesis

from p2p.addresses import Address
from p2p.envelope import open_envelope


def die() -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def type_of(node: ToyNode, data: bytes) -> str:
    return open_envelope(data, node.peer.room_id, max_bytes=1 << 20).type


async def main(root: Path, index: int, count: int, moment: str, rounds: int) -> None:
    genesis = toy_genesis(count, rounds=rounds, deadline_ms=120_000)
    node = ToyNode(root, index, genesis, probe_interval=0.3, timing=PATIENT)
    node.peer._emit = lambda type, /, **fields: print(
        json.dumps({"type": type, **fields}, default=str), flush=True
    )
    if moment == "combine":

        async def combine(*_: Any) -> Path:
            die()
            raise AssertionError("unreachable")

        node.workload.combine = combine  # type: ignore[method-assign]
    await node.start()
    send, receive = node.peer._client.send, node.peer.on_message

    def fatal_send(to: str, data: bytes, *, kind: str | None = None) -> None:
        if type_of(node, data) == moment:
            die()
        send(to, data, kind=kind)

    def fatal_receive(sender: str, data: bytes) -> None:
        if moment == "vote" and type_of(node, data) == moment:
            die()
        receive(sender, data)

    if moment in ("prepared", "commit"):
        node.peer._client.send = fatal_send  # type: ignore[method-assign]
    node.peer.on_message = fatal_receive  # type: ignore[method-assign]
    (root / f"port{index}").write_text(str(node.peer.port))
    while True:
        for other in range(count):
            port = root / f"port{other}"
            if other != index and port.exists() and port.read_text():
                address = Address("127.0.0.1", int(port.read_text()))
                node.peer._book.hint(identity(other).peer_id, [address])
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    place, own, of, when, rounds_planned = sys.argv[1:]
    asyncio.run(main(Path(place), int(own), int(of), when, int(rounds_planned)))
