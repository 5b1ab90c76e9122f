"""The aggregator is killed with -9 at its worst moments, comes back, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from toy_room import PATIENT, WAIT_SECONDS, ToyNode, identity, toy_genesis, until

from p2p.addresses import Address
from p2p.room import read_genesis
from p2p.rounds.quorum import first_voters, leader_order

COUNT = 4
ROUNDS = 3


def leader_of_round_1() -> int:
    envelope = toy_genesis(COUNT, rounds=ROUNDS, deadline_ms=120_000)
    genesis = read_genesis(envelope)
    members = {member.peer_id: member for member in genesis.members}
    first = leader_order(first_voters(genesis), envelope.id, 1, members)[0]
    return next(index for index in range(COUNT) if identity(index).peer_id == first)


async def events_of(process: asyncio.subprocess.Process) -> AsyncIterator[dict[str, Any]]:
    assert process.stdout is not None
    async for line in process.stdout:
        yield json.loads(line)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["combine", "vote", "prepared", "commit"])
async def test_a_killed_aggregator_costs_one_attempt_and_no_work(
    tmp_path: Path, moment: str
) -> None:
    victim = leader_of_round_1()
    dead_id = identity(victim).peer_id
    genesis = toy_genesis(COUNT, rounds=ROUNDS, deadline_ms=120_000)
    others = [
        ToyNode(tmp_path, i, genesis, probe_interval=0.3, timing=PATIENT)
        for i in range(COUNT)
        if i != victim
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("toy_process.py")),
        str(tmp_path), str(victim), str(COUNT), moment, str(ROUNDS),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    revived: ToyNode | None = None
    try:
        await asyncio.gather(*(node.start(train=False) for node in others))
        for node in others:
            node.knows(others)
            (tmp_path / f"port{node.index}").write_text(str(node.peer.port))
        await until((tmp_path / f"port{victim}").exists)
        port = int((tmp_path / f"port{victim}").read_text())
        for node in others:
            node.peer._book.hint(dead_id, [Address("127.0.0.1", port)])
        await until(lambda: all(node.peer._gossip.alive() >= {dead_id} for node in others))
        for node in others:
            node.begin_training()
        async with asyncio.timeout(WAIT_SECONDS):
            before = [event async for event in events_of(process)]
        assert await process.wait() == -signal.SIGKILL

        await until(lambda: all(node.peer.round > 1 for node in others))
        revived = ToyNode(tmp_path, victim, genesis, probe_interval=0.3, timing=PATIENT)
        await revived.start()
        everybody = [*others, revived]
        for node in everybody:
            node.knows(everybody)
        await until(lambda: all(node.peer.done for node in everybody))

        assert len({node.peer.head for node in everybody}) == 1
        commits = others[0].peer.snapshot().commits
        assert commits[0].attempt > 0
        assert dead_id in {item.peer for item in commits[0].inputs}
        trained = Counter(
            event["round"] for event in before if event["type"] == "contribution.sent"
        )
        trained.update(revived.trained)
        assert set(trained.values()) == {1}
        assert all(node.trained == sorted(set(node.trained)) for node in others)
    finally:
        if process.returncode is None:
            process.kill()
        nodes = others if revived is None else [*others, revived]
        await asyncio.gather(*(node.stop() for node in nodes))
