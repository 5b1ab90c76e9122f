"""Members that hand out ledgers nobody honest has, or send more than a node can take in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from toy_room import ToyNode, toy_genesis, until

import p2p.rounds.driver
from p2p.client import PeerRefused
from p2p.rounds.effects import Effect


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[ToyNode, ToyNode]]:
    """Ada and Mallory, who do not train."""
    genesis = toy_genesis(2)
    ada, mallory = (ToyNode(tmp_path, index, genesis) for index in range(2))
    for node in (ada, mallory):
        await node.start(train=False)
    ada.knows([mallory])
    mallory.knows([ada])
    yield ada, mallory
    for node in (ada, mallory):
        await node.stop()


@pytest.mark.parametrize("entry", [b"", b"junk"])
async def test_a_false_ledger_is_read_no_further_and_held_against_its_sender(
    pair: tuple[ToyNode, ToyNode], entry: bytes
) -> None:
    ada, mallory = pair
    mallory.peer.ledger_entries = lambda _: [entry] * 200  # type: ignore[method-assign]
    ada.peer._driver.on_peer_head(mallory.id, 2)
    await until(lambda: ada.peer._scores.penalty(mallory.id) > 0)
    assert len(ada.of("message.refused")) <= 1
    assert ada.peer._driver._catching_up.idle


async def test_nobody_is_blamed_for_a_queue_that_others_filled(
    pair: tuple[ToyNode, ToyNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, mallory = pair
    monkeypatch.setattr(p2p.rounds.driver, "MAX_QUEUED_EVENTS", 0)
    with pytest.raises(PeerRefused) as refused:
        await mallory.peer._client._post(ada.id, "/v1/messages", b"hello", 0, 10.0)
    assert refused.value.status == 503
    assert ada.peer._scores.penalty(mallory.id) == 0
    assert ada.peer._scores._faded(mallory.id).floods == 0


async def test_a_full_queue_leaves_turns_for_everything_else(
    pair: tuple[ToyNode, ToyNode],
) -> None:
    ada, _ = pair
    done = 0

    def event(_: float) -> list[Effect]:
        nonlocal done
        done += 1
        return []

    for _ in range(1000):
        ada.peer._driver._post(event)
    for _ in range(20):
        await asyncio.sleep(0)
    assert 0 < done < 100
