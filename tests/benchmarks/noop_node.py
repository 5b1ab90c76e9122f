"""One member of the no-op room, as a process: ``python -m tests.benchmarks.noop_node``.

It "trains" by adding 1.0, and a trifle of its own, to every number of the previous result. What
happens goes to stdout as JSON lines with the time of the machine's monotonic clock. Ports are
exchanged through files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from p2p.addresses import Address
from p2p.blobs.chunks import describe
from p2p.envelope import Envelope, seal_genesis
from p2p.errors import P2PError
from p2p.identity import Identity
from p2p.peer import Peer
from p2p.room import Genesis, Member, Plan, Policy
from p2p.workload import Input, Verdict

LOOPBACK = "127.0.0.1"
DEADLINE_MS = 60_000
BLOCK = 1 << 18
"""Numbers worked on at a time, so that the arithmetic stays small beside the network."""


def identity(index: int) -> Identity:
    return Identity.from_seed(index.to_bytes(32, "big"))


def initial(size: int) -> bytes:
    """The state before round 1: zeros, ``size`` bytes of float32."""
    return bytes(size)


def genesis(count: int, rounds: int, size: int) -> Envelope:
    state = describe(initial(size))
    members = [Member.of(identity(i), f"node {i}") for i in range(count)]
    content = Genesis(
        room_name="no-op",
        created_ms=0,
        admins=[members[0].peer_id],
        policy=Policy(),
        members=members,
        plan=Plan(rounds=rounds, deadline_ms=DEADLINE_MS, task={}),
        initial_blob=state.sha256,
        initial_size=state.size,
        initial_chunks=state.chunks,
        nonce="0" * 32,
    )
    return seal_genesis(identity(0), content.to_bytes())


class NoOp:
    """The mean of what everybody sent."""

    def __init__(self, scratch: Path, size: int, own: float) -> None:
        self._scratch = scratch
        self._own = own
        self._size = size
        self.applied = 0

    async def check(self, path: Path, plan: Plan) -> Verdict:
        good = path.stat().st_size == self._size  # noqa: ASYNC240
        return Verdict(good, "" if good else "another size")

    async def combine(self, inputs: Sequence[Input], plan: Plan, previous: Path) -> Path:
        return await asyncio.to_thread(self._mean, inputs)

    def _mean(self, inputs: Sequence[Input]) -> Path:
        path = self._scratch / "result"
        total, values = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
        with ExitStack() as stack, path.open("wb") as result:
            files = [stack.enter_context(item.path.open("rb", 0)) for item in inputs]
            while count := files[0].readinto(total) // 4:
                for file in files[1:]:
                    file.readinto(values[:count])
                    total[:count] += values[:count]
                total /= np.float32(len(inputs))
                result.write(total[:count])
        return path

    async def apply(self, path: Path, round_number: int) -> None:
        self.applied = round_number

    def train(self, previous: Path) -> Path:
        path = self._scratch / "trained"
        values = np.empty(BLOCK, np.float32)
        with previous.open("rb", 0) as source, path.open("wb") as trained:
            while count := source.readinto(values) // 4:
                values[:count] += np.float32(1 + self._own)
                trained.write(values[:count])
        return path


def tell(type: str, /, **fields: object) -> None:
    now = {"t": time.monotonic(), "cpu": time.process_time()}
    print(json.dumps({**now, "type": type, **fields}, default=str), flush=True)


async def previous(peer: Peer) -> Path:
    """The state to train from, as soon as somebody who has it is there."""
    while True:
        try:
            return await peer.previous()
        except P2PError:
            await asyncio.sleep(0.05)


async def take_part(peer: Peer, workload: NoOp, die_in: int, look: float = 0.005) -> None:
    """Contributes to every round; in round ``die_in`` it is gone before it does. ``look`` are the
    seconds between two looks whether there is a new one."""
    while not peer.done:
        number = peer.round
        if peer.contributed(number):
            await asyncio.sleep(look)
            continue
        if number == die_in:
            os.kill(os.getpid(), signal.SIGKILL)
        trained = await asyncio.to_thread(workload.train, await previous(peer))
        await peer.contribute(trained, round_number=number, samples=1, steps=1)


async def introduce(peer: Peer, root: Path, index: int, count: int) -> None:
    """Tells the others our port and learns theirs."""
    draft = root / f"draft{index}"
    draft.write_text(str(peer.port))
    draft.rename(root / f"port{index}")
    waiting = set(range(count)) - {index}
    while waiting:
        for other in list(waiting):
            if (root / f"port{other}").exists():
                port = int((root / f"port{other}").read_text())
                peer._book.hint(identity(other).peer_id, [Address(LOOPBACK, port)])
                waiting.discard(other)
        await asyncio.sleep(0.02)


async def main(options: argparse.Namespace) -> None:
    home = options.root / f"node{options.index}"
    home.mkdir()
    # Equal files would be one blob, and nothing would have to be sent.
    own = 0.001 * (options.index - (options.count - 1) / 2)
    workload = NoOp(home, options.size, own)
    envelope = genesis(options.count, options.rounds, options.size)
    peer = Peer(
        home / "room",
        identity(options.index),
        envelope,
        workload,
        host=LOOPBACK,
        interfaces=[LOOPBACK],
        emit=tell,
    )
    await peer.start()
    if options.index == 0:
        await peer.provide(initial(options.size))
    await introduce(peer, options.root, options.index, options.count)
    (options.root / f"ready{options.index}").touch()
    while len(list(options.root.glob("ready*"))) < options.count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await previous(peer)
    tell("ready")
    (options.root / f"go{options.index}").touch()
    while len(list(options.root.glob("go*"))) < options.count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await take_part(peer, workload, options.die_in)
    while workload.applied < options.rounds:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)  # The event of it comes just after.
    value = float(np.fromfile(await previous(peer), np.float32, count=1)[0])
    tell("result", value=value, head=peer.head)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await peer.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("index", type=int)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=3_200_000)
    parser.add_argument("--die-in", type=int, default=0)
    asyncio.run(main(parser.parse_args()))
