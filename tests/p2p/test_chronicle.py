"""What a node notes of the time things took, in rooms of whole peers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from toy_room import ToyNode, toy_genesis, until

from p2p.chronicle import RoundTimes


def in_order(times: RoundTimes) -> bool:
    """Whether nothing is noted before it can have happened."""
    assert times.seconds is not None
    for member in times.members:
        noted = (member.contributed, member.checked, member.prepared, member.committed)
        moments = [moment for moment in noted if moment is not None]
        if not all(0 <= moment <= times.seconds for moment in moments):
            return False
        if member.checked is not None and member.checked < (member.contributed or 0.0):
            return False
        if member.committed is not None and member.committed < (member.prepared or 0.0):
            return False
    return True


async def test_every_round_that_a_node_lived_through_has_its_times(tmp_path: Path) -> None:
    genesis = toy_genesis(3)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(3)]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            node.knows(nodes)
        await until(lambda: all(node.peer.done for node in nodes))
        peers = {node.id: node for node in nodes}
        for commit in nodes[0].peer.snapshot().commits:
            # Whoever combined has had and checked every contribution, and counted every vote.
            told = peers[commit.aggregator].peer.snapshot().times
            times = next(each for each in told if each.round == commit.round)
            assert in_order(times)
            assert times.whole or commit.round == 1 or told[0] is times
            seen = {each.peer: each for each in times.members}
            assert all(seen[each.peer].checked is not None for each in commit.inputs)
            assert all(seen[peer].committed is not None for peer in commit.signers)
        assert not any(node.peer.snapshot().times[0].whole for node in nodes)
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def test_rounds_that_were_only_fetched_have_no_times(tmp_path: Path) -> None:
    genesis = toy_genesis(3, rounds=1)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(3)]
    here, late = nodes[:2], nodes[2]
    try:
        await asyncio.gather(*(node.start() for node in here))
        for node in here:
            node.knows(here)
        await until(lambda: all(node.peer.done for node in here))
        await late.start(train=False)
        for node in nodes:
            node.knows(nodes)
        await until(lambda: late.peer.done)
        snapshot = late.peer.snapshot()
        assert len(snapshot.commits) == 1
        assert snapshot.times == ()
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
