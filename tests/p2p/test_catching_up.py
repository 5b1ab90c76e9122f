"""Whoever claims to be ahead and brings nothing keeps nobody from those who are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from toy_room import until

from p2p.errors import NetworkError, ProtocolError
from p2p.rounds.catching_up import CatchingUp
from p2p.tasks import TaskOwner


@dataclass
class Network:
    """Ledgers by member: of ``stalling`` ones nothing ever comes."""

    ledgers: dict[str, list[bytes]] = field(default_factory=dict)
    stalling: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def fetch_ledger(self, peer_id: str, from_round: int) -> list[bytes]:
        self.asked.append(peer_id)
        if peer_id in self.stalling:
            await asyncio.Event().wait()
        if peer_id not in self.ledgers:
            raise NetworkError("nobody answers")
        return self.ledgers[peer_id][from_round - 1 :][:2]


@dataclass
class Node:
    network: Network
    tasks: TaskOwner = field(default_factory=lambda: TaskOwner("test"))
    commits: list[bytes] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    blamed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catching_up = CatchingUp(
            self.network,
            self.tasks,
            round_now=lambda: len(self.commits) + 1,
            take_in=self._take_in,
            ended=self.ends.__setitem__,
            misbehaved=self.blamed.append,
        )

    async def _take_in(self, peer: str, payload: bytes) -> None:
        if payload == b"false":
            raise ProtocolError("no quorum signed it")
        if payload == b"entry %d" % (len(self.commits) + 1):
            self.commits.append(payload)


@pytest_asyncio.fixture
async def node() -> AsyncIterator[Node]:
    made = Node(Network({"ada": [b"entry %d" % number for number in range(1, 6)]}))
    yield made
    await made.tasks.cancel()


async def test_a_ledger_is_read_to_its_end_however_many_answers_that_takes(node: Node) -> None:
    node.catching_up.ask("ada", 6)
    await until(lambda: node.catching_up.idle)
    assert len(node.commits) == 5
    assert node.ends == {"ada": 6}


async def test_a_member_that_stalls_holds_up_nobody(node: Node) -> None:
    node.network.stalling.add("mallory")
    for _ in range(50):
        node.catching_up.ask("mallory", 99_999)
    node.catching_up.ask("ada", 6)
    await until(lambda: len(node.commits) == 5)
    assert node.network.asked.count("mallory") == 1


async def test_a_member_that_has_less_than_it_says_is_left_alone_for_a_while(node: Node) -> None:
    node.network.ledgers["mallory"] = []
    for _ in range(3):
        node.catching_up.ask("mallory", 99_999)
        await until(lambda: node.catching_up.idle)
    assert node.network.asked == ["mallory"]
    assert node.ends == {"mallory": 1}
    assert node.blamed == []


@pytest.mark.parametrize("entries", [[b"false"], [b"entry 7"]])
async def test_false_entries_are_held_against_their_sender(
    node: Node, entries: list[bytes]
) -> None:
    node.network.ledgers["mallory"] = entries
    node.catching_up.ask("mallory", 2)
    await until(lambda: node.catching_up.idle)
    assert node.blamed == ["mallory"]
    assert node.ends == {}


async def test_a_member_that_could_not_be_reached_is_asked_again(node: Node) -> None:
    for _ in range(2):
        node.catching_up.ask("bob", 3)
        await until(lambda: node.catching_up.idle)
    assert node.network.asked == ["bob", "bob"]
    assert node.blamed == []
