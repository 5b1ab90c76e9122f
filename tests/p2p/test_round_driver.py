"""Nothing that fails around the rounds of a node, and nobody in the room, ends or drowns them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio
from toy_room import ToyNode, toy_genesis, until

from p2p.blobs.chunks import BlobRef
from p2p.blobs.store import BlobStore
from p2p.errors import BlobUnavailable, StorageError
from p2p.room import Plan
from p2p.rounds.driver import read_commit
from p2p.rounds.effects import KeepResult, Rejected
from p2p.rounds.ledger import Ledger
from p2p.rounds.limits import REFUSED_BURST
from p2p.rounds.rules import parts_of
from p2p.workload import Verdict


@pytest_asyncio.fixture
async def alone(tmp_path: Path) -> AsyncIterator[ToyNode]:
    """The only member of a room of three rounds, which has not begun to train."""
    node = ToyNode(tmp_path, 0, toy_genesis(1))
    await node.start(train=False)
    yield node
    await node.stop()


async def test_a_disk_that_refuses_to_note_a_result_does_not_keep_the_next_from_being_applied(
    alone: ToyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(ledger: Ledger, round_number: int) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Ledger, "set_applied", refuse)
    alone.begin_training()
    await until(lambda: len(alone.of("adapter.applied")) == 3)
    assert [number for number, _ in alone.workload.applied] == [1, 2, 3]


async def test_a_node_that_does_not_vote_says_why_as_long_as_it_lasts(alone: ToyNode) -> None:
    assert alone.peer.snapshot().note == ""
    alone.peer._core.journal.amnesia = True
    assert "does not vote" in alone.peer.snapshot().note


async def test_a_member_whose_messages_are_all_refused_drowns_no_other_event(
    alone: ToyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p.clock.now", lambda: 0.0)
    flood = [Rejected("mallory", "nonsense")] * 1000
    await alone.peer._driver._execute([*flood, Rejected("bob", "an old round")])
    told = [event["peer"] for event in alone.of("message.refused")]
    assert told == ["mallory"] * REFUSED_BURST + ["bob"]


async def test_a_fault_while_old_rounds_are_removed_does_not_end_their_removal(
    alone: ToyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def fail(store: BlobStore, doomed: Iterable[str]) -> int:
        nonlocal tries
        tries += 1
        raise RuntimeError("a fault")

    monkeypatch.setattr(BlobStore, "prune", fail)
    monkeypatch.setattr("p2p.rounds.forgetting.RETENTION_PAUSE", 0.0)
    for count in (1, 2):
        alone.peer._driver._forgetting._due.set()
        await until(lambda count=count: tries == count)  # type: ignore[misc]


async def test_a_prepared_result_that_nobody_has_any_more_is_computed_again(
    alone: ToyNode,
) -> None:
    alone.begin_training()
    await until(lambda: len(alone.of("adapter.applied")) == 3)
    first, second, _ = (
        read_commit(record.payload)[0] for record in alone.peer._core.journal.commits
    )
    blobs, heard = alone.peer.blobs, list[tuple[str, bool]]()
    driver = alone.peer._driver
    driver.core.on_result_kept = lambda sha256, kept, now: heard.append((sha256, kept)) or []  # type: ignore[method-assign,func-returns-value]
    blobs.remove(second.result_blob)
    wanted = KeepResult(second.ref, (), parts_of(second.inputs), first.ref)
    await driver._execute([wanted])
    await until(lambda: len(heard) == 1)
    assert blobs.path(second.result_blob).read_text() == "30"
    blobs.remove(second.result_blob)
    blobs.remove(second.inputs[0].blob)
    await driver._execute([wanted])
    await until(lambda: len(heard) == 2)
    assert heard == [(second.result_blob, True), (second.result_blob, False)]


async def test_a_check_that_could_not_be_made_accuses_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The author's work may be good: this machine's disk, or its checking, was not."""
    monkeypatch.setattr("p2p.rounds.checking.BLOB_CHECK_RETRY_DELAY", 0.01)
    genesis = toy_genesis(3, rounds=1)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(3)]
    ada, bob, eve = nodes

    async def fail(path: Path, plan: Plan) -> Verdict:
        raise ValueError("the checking process ended")

    async def lose(ref: BlobRef, author: str) -> Path:
        raise BlobUnavailable(f"{ref.sha256}: {author} does not have {ref.sha256}")

    for node in nodes:
        await node.start(train=False)
    for node in nodes:
        node.knows(nodes)
    bob.workload.check = fail  # type: ignore[method-assign]
    eve.peer._driver._checking._fetch = lose
    ada.begin_training()
    try:
        await until(lambda: bool(bob.of("contribution.checked")))
        await until(lambda: bool(eve.of("contribution.checked")))
        told = [node.of("contribution.checked")[0] for node in (bob, eve)]
        assert [event["verdict"] for event in told] == ["unchecked", "unchecked"]
        assert told[0]["reason"] == "the checking process ended"
        assert told[1]["reason"] == "nobody who is there can give its file"
    finally:
        for node in nodes:
            await node.stop()
