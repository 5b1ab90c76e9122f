"""Whole peers on loopback: real TLS, real SQLite, real blobs, a toy workload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from toy_room import ToyNode, toy_genesis, until


@asynccontextmanager
async def room(root: Path, count: int, **options: object) -> AsyncIterator[list[ToyNode]]:
    genesis = toy_genesis(count, **options)  # type: ignore[arg-type]
    nodes = [ToyNode(root, index, genesis) for index in range(count)]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            node.knows(nodes)
        yield nodes
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def test_a_room_agrees_on_every_round_and_on_the_same_bytes(tmp_path: Path) -> None:
    async with room(tmp_path, 4) as nodes:
        await until(lambda: all(node.peer.done for node in nodes))
        await until(lambda: all(len(node.workload.applied) == 3 for node in nodes))
        assert len({node.peer.head for node in nodes}) == 1
        expected, total = [], 0
        for number in (1, 2, 3):
            total += sum((10 * number + i) * (i + 1) for i in range(4))
            expected.append((number, total))
        for node in nodes:
            assert node.workload.applied == expected
            assert node.trained == [1, 2, 3]
            snapshot = node.peer.snapshot()
            assert snapshot.phase == "DONE"
            assert [len(commit.inputs) for commit in snapshot.commits] == [4, 4, 4]
            assert all(event["equal"] for event in node.of("result.recomputed"))
