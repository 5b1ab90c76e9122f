"""Whole peers on loopback: real TLS, real SQLite, real blobs, a toy workload."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from toy_room import INITIAL, ToyNode, read_text, toy_genesis, until

from p2p.blobs.chunks import BlobRef, describe
from p2p.errors import StorageError
from p2p.room import Plan
from p2p.rounds.effects import Part
from p2p.rounds.quorum import leader_order
from p2p.rounds.state import Timing
from p2p.workload import Input, Verdict


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


@pytest.mark.slow
async def test_a_wrong_result_is_refused_recorded_and_replaced_by_the_next_leader(
    tmp_path: Path,
) -> None:
    genesis = toy_genesis(4, rounds=1)
    patient = Timing(base=8.0, resend=0.5)
    nodes = [ToyNode(tmp_path, index, genesis, timing=patient) for index in range(4)]
    members = {node.id: node for node in nodes}
    first = leader_order(members, genesis.id, 1, {})[0]
    liar = members[first]
    honest = [node for node in nodes if node is not liar]
    combine = liar.workload.combine

    async def lie(inputs: Sequence[Input], plan: Plan, previous: Path) -> Path:
        path = await combine(inputs, plan, previous)
        path.write_text(str(int(path.read_text()) + 1))
        return path

    liar.workload.combine = lie  # type: ignore[method-assign]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            node.knows(nodes)
        await until(lambda: all(node.peer.done for node in nodes))
        (commit,) = honest[0].peer.snapshot().commits
        assert commit.aggregator != liar.id
        assert len(commit.inputs) == 4
        await until(lambda: all(node.workload.applied for node in nodes))
        assert {node.workload.applied[0][1] for node in nodes} == {
            sum((10 + i) * (i + 1) for i in range(4))
        }
        for node in honest:
            assert node.of("result.recomputed")[0]["equal"] is False
            with sqlite3.connect(node.directory / "room" / "ledger.sqlite") as database:
                rows = database.execute("SELECT offence, accused FROM evidence").fetchall()
            assert rows == [("wrong_result", liar.id)]
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def test_a_bad_contribution_is_excluded_with_its_reason(tmp_path: Path) -> None:
    genesis = toy_genesis(3, rounds=2)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(3)]
    nodes[1].text = lambda round_number: "NaN" if round_number == 1 else "7"
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            node.knows(nodes)
        await until(lambda: all(node.peer.done for node in nodes))
        first, second = nodes[2].peer.snapshot().commits
        assert first.excluded == ((nodes[1].id, "not a number"),)
        assert {item.peer for item in first.inputs} == {nodes[0].id, nodes[2].id}
        assert len(second.inputs) == 3
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def test_a_reason_that_quotes_a_hostile_file_is_cleaned_before_it_is_signed(
    tmp_path: Path,
) -> None:
    genesis = toy_genesis(3, rounds=1)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(3)]
    nodes[1].text = lambda round_number: "x"

    async def check(path: Path, plan: Plan) -> Verdict:
        fine = len(read_text(path)) > 1
        return Verdict(fine, "" if fine else "tensor \x1b[2J e\u0301\ud800 \u202e" + "y" * 500)

    for node in nodes:
        node.workload.check = check  # type: ignore[method-assign]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            node.knows(nodes)
        await until(lambda: all(node.peer.done for node in nodes))
        ((peer, reason),) = nodes[2].peer.snapshot().commits[0].excluded
        assert peer == nodes[1].id
        assert reason.startswith("tensor [2J é y")
        assert len(reason) <= 160
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def test_a_full_disk_silences_the_node_and_says_so(tmp_path: Path) -> None:
    genesis = toy_genesis(2, rounds=1)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(2)]
    full, other = nodes
    try:
        await asyncio.gather(*(node.start(train=False) for node in nodes))

        def refuse(record: object) -> None:
            raise StorageError("no space left on the device")

        full.peer._ledger.write = refuse  # type: ignore[method-assign,assignment]
        for node in nodes:
            node.knows(nodes)
            node.begin_training()
        await until(lambda: full.peer.snapshot().phase == "FAILED")
        assert "no space left" in full.peer.snapshot().note
        assert full.of("node.failed")
        assert not full.of("contribution.sent")
        await until(lambda: other.peer.contributed(1))
        assert full.id not in {c.peer for c in other.peer.snapshot().contributions}
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def test_a_member_that_comes_late_catches_up_and_takes_part(tmp_path: Path) -> None:
    genesis = toy_genesis(4, rounds=6)
    nodes = [ToyNode(tmp_path, i, genesis, discovery_grace=1.0) for i in range(4)]
    early, late = nodes[:3], nodes[3]
    try:
        await asyncio.gather(*(node.start() for node in early))
        for node in early:
            node.knows(early)
        await until(lambda: all(node.peer.round >= 3 for node in early))
        await late.start()
        late.knows(early)
        for node in early:
            node.knows([late])
        await until(lambda: all(node.peer.done for node in nodes))
        assert len({node.peer.head for node in nodes}) == 1
        assert late.peer.snapshot().commits[0].inputs
        assert 1 not in late.trained[1:]
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def test_a_second_process_is_kept_out_of_the_directory(tmp_path: Path) -> None:
    genesis = toy_genesis(1)
    first, second = (ToyNode(tmp_path, 0, genesis) for _ in range(2))
    await first.start(train=False)
    try:
        with pytest.raises(StorageError, match="already running"):
            await second.start(train=False)
    finally:
        await first.stop()
    await second.start(train=False)
    await second.stop()


async def test_a_room_of_one_commits_alone(tmp_path: Path) -> None:
    async with room(tmp_path, 1) as (node,):
        await until(lambda: node.peer.done)
        await until(lambda: len(node.workload.applied) == 3)
        assert node.workload.applied[-1] == (3, 60)


async def test_a_restart_loses_and_repeats_nothing(tmp_path: Path) -> None:
    genesis = toy_genesis(3, rounds=2, deadline_ms=60_000)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(3)]
    again = ToyNode(tmp_path, 1, genesis)
    try:
        await asyncio.gather(*(node.start(train=node is not nodes[2]) for node in nodes))
        for node in nodes:
            node.knows(nodes)
        await until(lambda: bool(nodes[1].of("contribution.sent")))
        await nodes[1].stop()
        await again.start()
        assert again.peer.contributed(1)
        everybody = [nodes[0], again, nodes[2]]
        for node in everybody:
            node.knows(everybody)
        nodes[2].begin_training()
        await until(lambda: all(node.peer.done for node in everybody))
        assert again.trained == [2]
        assert [len(c.inputs) for c in again.peer.snapshot().commits] == [3, 3]
    finally:
        await asyncio.gather(*(node.stop() for node in [nodes[0], again, nodes[2]]))


@pytest.mark.slow
async def test_a_slow_computation_costs_no_attempt(tmp_path: Path) -> None:
    genesis = toy_genesis(3, rounds=1)
    impatient = Timing(base=1.5, grace=0.2, resend=0.5)
    nodes = [ToyNode(tmp_path, index, genesis, timing=impatient) for index in range(3)]
    for node in nodes:
        combine = node.workload.combine

        async def slowly(*args: Any, combine: Any = combine) -> Path:
            await asyncio.sleep(5.0)
            path: Path = await combine(*args)
            return path

        node.workload.combine = slowly  # type: ignore[method-assign]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            node.knows(nodes)
        await until(lambda: all(node.peer.done for node in nodes))
        (commit,) = nodes[0].peer.snapshot().commits
        assert commit.attempt == 0
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


async def test_two_results_computed_at_once_do_not_mix(tmp_path: Path) -> None:
    node = ToyNode(tmp_path, 0, toy_genesis(1))
    combine = node.workload.combine

    async def slow_to_return(inputs: Sequence[Input], plan: Plan, previous: Path) -> Path:
        path = await combine(inputs, plan, previous)
        await asyncio.sleep(0.1)
        return path

    node.workload.combine = slow_to_return  # type: ignore[method-assign]
    await node.start(train=False)
    try:
        computing, blobs = node.peer._driver._computing, node.peer.blobs
        names = [await node.peer.provide(text) for text in (b"10", b"20")]
        parts = [(Part(name, node.id, name, 1),) for name in names]
        refs = await asyncio.gather(*(computing.result_of(p, describe(INITIAL)) for p in parts))
        assert [read_text(blobs.path(ref.sha256)) for ref in refs] == ["10", "20"]
    finally:
        await node.stop()


async def test_a_contribution_that_never_arrives_costs_the_others_no_round(tmp_path: Path) -> None:
    genesis = toy_genesis(3, rounds=1, deadline_ms=1_500)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(3)]
    slow = nodes[1]
    given_up: list[str] = []

    def stall(node: ToyNode) -> None:
        checking = node.peer._driver._checking
        fetch = checking._fetch

        async def stalled(ref: BlobRef, author: str) -> Any:
            if author != slow.id:
                return await fetch(ref, author)
            try:
                await asyncio.Event().wait()
            finally:
                given_up.append(node.id)

        checking._fetch = stalled

    try:
        await asyncio.gather(*(node.start() for node in nodes))
        for node in (nodes[0], nodes[2]):
            stall(node)
        for node in nodes:
            node.knows(nodes)
        await until(lambda: all(node.peer.done for node in nodes))
        await until(lambda: len(given_up) == 2)
        (commit,) = nodes[0].peer.snapshot().commits
        assert {item.peer for item in commit.inputs} == {nodes[0].id, nodes[2].id}
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
