"""A member that says it is far ahead and has nothing to show for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from toy_room import ToyNode, toy_genesis, until

from p2p.rounds.ledger import FILE_NAME, Ledger

COUNT = 5


@pytest.mark.slow
async def test_a_claimed_head_keeps_no_restored_node_from_voting_again(tmp_path: Path) -> None:
    genesis = toy_genesis(COUNT, rounds=10_000)
    nodes = [ToyNode(tmp_path, index, genesis, training=0.2) for index in range(COUNT)]
    *honest, mallory = nodes
    try:
        for node in nodes:
            await node.start(train=False)
        for node in nodes:
            node.knows(nodes)
        gossip = mallory.peer._gossip
        mallory.peer._driver._moved = lambda: None
        gossip.local_head(99_999, "f" * 64, 0)
        mallory.peer.ledger_entries = lambda _: []  # type: ignore[method-assign]
        for node in nodes:
            node.begin_training()
        await until(lambda: all(node.peer.round > 2 for node in honest))

        forgetful = honest.pop()
        await forgetful.stop()
        ledger = forgetful.directory / "room" / FILE_NAME
        shutil.copy(ledger, tmp_path / "backup")
        (tmp_path / "backup").replace(ledger)
        restored = ToyNode(tmp_path, forgetful.index, genesis, training=0.2)
        nodes[nodes.index(forgetful)] = restored
        opened = Ledger(restored.directory / "room", genesis.id)
        assert opened.journal().amnesia
        opened.close()

        await restored.start()
        restored.knows(nodes)
        for node in nodes:
            node.knows([restored])
        await until(
            lambda: (
                restored.peer._gossip.peers()[mallory.id].hello is not None
                and restored.peer._gossip.peers()[mallory.id].hello.round == 99_999
            )
        )
        await until(lambda: not restored.peer._core.journal.amnesia)
        await until(lambda: bool(restored.peer._core.journal.votes))
    finally:
        for node in nodes:
            await node.stop()
