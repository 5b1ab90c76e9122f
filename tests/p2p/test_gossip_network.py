"""Liveness over real connections: found, watched, lost, and told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from member_rig import LOOPBACK, Member, Room, eventually

from p2p.envelope import seal
from p2p.errors import LimitError, NetworkError, P2PError, ProtocolError
from p2p.gossip.driver import Gossip, GossipListener
from p2p.gossip.effects import Liveness
from p2p.gossip.hello import HELLO_TYPE
from p2p.gossip.packets import to_bytes
from p2p.limits import MAX_INDIRECT_PER_PEER
from p2p.server import ServerLimits

ROOM_ID = "ab" * 32
INTERVAL = 0.05
EAGER = ServerLimits(gossip_rate=1000.0)
"""These nodes probe twenty times as often as real ones."""


@dataclass
class Watcher:
    heads: list[tuple[str, int]] = field(default_factory=list)
    states: list[tuple[str, Liveness, Liveness]] = field(default_factory=list)
    witnesses: list[tuple[str, str]] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)

    def listener(self) -> GossipListener:
        return GossipListener(
            lambda *seen: self.heads.append(seen),
            lambda *seen: self.states.append(seen),
            lambda *seen: self.witnesses.append(seen),
            woke=self.wakes.append,
        )


@dataclass
class Node:
    member: Member
    gossip: Gossip
    watcher: Watcher

    @property
    def id(self) -> str:
        return self.member.id


class Nodes:
    def __init__(self, room: Room) -> None:
        self.room = room
        self.all: list[Node] = []

    async def add(self, *, starts: int = 1, clock: Callable[[], float] | None = None) -> Node:
        member, watcher = await self.room.add(server=EAGER), Watcher()
        extra = {} if clock is None else {"clock": clock}
        gossip = Gossip(
            member.identity,
            ROOM_ID,
            member.client,
            member.addresses,
            members=[m.id for m in self.room.members],
            starts=starts,
            port=member.server.port,
            listener=watcher.listener(),
            interval=INTERVAL,
            **extra,
        )
        member.handler.on_hello = gossip.answer  # type: ignore[method-assign]
        member.handler.on_probe = gossip.probe_for  # type: ignore[method-assign]
        node = Node(member, gossip, watcher)
        self.all.append(node)
        for other in self.all:
            other.gossip.set_members([m.id for m in self.room.members])
        await gossip.start()
        return node


@pytest.fixture
async def nodes(room: Room) -> AsyncIterator[Nodes]:
    nodes = Nodes(room)
    yield nodes
    for node in nodes.all:
        await node.gossip.stop()


async def test_members_find_one_another_alive(nodes: Nodes) -> None:
    ada, bob, eve = [await nodes.add() for _ in range(3)]
    await eventually(lambda: ada.gossip.alive() == {bob.id, eve.id})
    await eventually(lambda: bob.gossip.alive() == {ada.id, eve.id})
    await eventually(lambda: ada.gossip.peers()[bob.id].rtt is not None)


async def test_heads_and_statuses_travel(nodes: Nodes) -> None:
    ada, bob = await nodes.add(), await nodes.add()
    bob.gossip.local_head(4, "cd" * 32, 2)
    bob.gossip.set_status({"state": "training", "step": 12})
    await eventually(lambda: (bob.id, 4) in ada.watcher.heads)
    newest = ada.gossip.peers()[bob.id].hello
    assert newest is not None
    assert (newest.head, newest.attempt) == ("cd" * 32, 2)

    def status() -> object:
        newest = ada.gossip.peers()[bob.id].hello
        return newest and newest.status

    await eventually(lambda: status() == {"state": "training", "step": 12})


async def test_a_status_that_others_would_refuse_is_refused_here(nodes: Nodes) -> None:
    ada = await nodes.add()
    with pytest.raises(ValueError):
        ada.gossip.set_status({"text": "x" * 2000})


async def test_a_killed_peer_becomes_unreachable_and_comes_back(nodes: Nodes) -> None:
    ada, bob = await nodes.add(), await nodes.add()
    await eventually(lambda: bob.id in ada.gossip.alive())
    port = bob.member.server.port
    await bob.gossip._tasks.cancel()
    await bob.member.server.stop()
    await eventually(lambda: bob.id not in ada.gossip.alive())
    seen = [after for peer, _, after in ada.watcher.states if peer == bob.id]
    assert seen == [Liveness.ALIVE, Liveness.SUSPECT, Liveness.UNREACHABLE]
    await bob.member.server.start(["127.0.0.1"], port)
    await bob.gossip.start()
    await eventually(lambda: bob.id in ada.gossip.alive())


async def test_a_listener_that_fails_ends_no_probing(nodes: Nodes) -> None:
    ada, bob = await nodes.add(), await nodes.add()
    told: list[tuple[Any, ...]] = []

    def fail(*seen: Any) -> None:
        told.append(seen)
        raise RuntimeError("whoever listens has a fault")

    ada.gossip._listener = GossipListener(peer_state=fail, peer_head=fail)
    await eventually(lambda: bob.id in ada.gossip.alive())
    port = bob.member.server.port
    await bob.gossip._tasks.cancel()
    await bob.member.server.stop()
    await eventually(lambda: ada.gossip.peers()[bob.id].state is Liveness.UNREACHABLE)
    await bob.member.server.start([LOOPBACK], port)
    await eventually(lambda: ada.gossip.peers()[bob.id].state is Liveness.ALIVE)
    assert len(told) >= 3


async def test_a_peer_that_stops_says_goodbye(nodes: Nodes) -> None:
    ada, bob = await nodes.add(), await nodes.add()
    await eventually(lambda: bob.id in ada.gossip.alive() and ada.id in bob.gossip.alive())
    await bob.gossip.stop()
    await eventually(lambda: ada.gossip.peers()[bob.id].state is Liveness.LEFT)
    assert (bob.id, Liveness.ALIVE, Liveness.LEFT) in ada.watcher.states


async def test_one_address_in_one_direction_is_enough(nodes: Nodes) -> None:
    ada, bob = await nodes.add(), await nodes.add()
    ada.member.addresses.forget(bob.id)
    await eventually(lambda: bool(ada.member.addresses.of(bob.id)))
    assert ada.member.addresses.of(bob.id)[0] == bob.member.address
    await eventually(lambda: bob.id in ada.gossip.alive())


async def test_a_hello_counts_only_from_its_signer(nodes: Nodes) -> None:
    ada, bob, eve = [await nodes.add() for _ in range(3)]
    genuine = to_bytes(bob.gossip._core.packet(ada.id, 0.0))
    with pytest.raises(ProtocolError, match="another member"):
        ada.gossip.answer(eve.id, genuine, "127.0.0.1")
    ada.gossip.answer(bob.id, genuine, "127.0.0.1")
    elsewhere = seal(bob.member.identity, "cd" * 32, HELLO_TYPE, b"{}").to_bytes()
    with pytest.raises(ProtocolError, match="signature"):
        ada.gossip.answer(bob.id, elsewhere, "127.0.0.1")


async def test_waking_up_resets_connections_and_is_told(nodes: Nodes) -> None:
    offset = 0.0

    def clock() -> float:
        return time.monotonic() + offset

    ada, bob = await nodes.add(clock=clock), await nodes.add()
    await eventually(lambda: bob.id in ada.gossip.alive())
    session = ada.member.client._session
    offset = 3600.0
    await eventually(lambda: bool(ada.watcher.wakes))
    await eventually(lambda: ada.member.client._session is not session)
    assert bob.id in ada.gossip.alive()


async def test_a_removed_member_is_forgotten(nodes: Nodes) -> None:
    ada, bob = await nodes.add(), await nodes.add()
    await eventually(lambda: bob.id in ada.gossip.alive())
    nodes.room.remove(bob.member)
    ada.gossip.set_members([ada.id])
    assert ada.gossip.alive() == set()
    assert ada.gossip.peers() == {}


async def test_who_answers_only_others_is_kept_alive_by_their_witness(nodes: Nodes) -> None:
    ada, bob, eve = [await nodes.add() for _ in range(3)]
    everybody = {ada.id, bob.id, eve.id}
    await eventually(lambda: all(n.gossip.alive() == everybody - {n.id} for n in nodes.all))
    cut(ada, bob)
    await eventually(lambda: bool(ada.watcher.witnesses and bob.watcher.witnesses))
    assert set(ada.watcher.witnesses) == {(bob.id, eve.id)}
    seen = len(ada.watcher.witnesses)
    await eventually(lambda: len(ada.watcher.witnesses) > seen + 5)
    assert bob.id in ada.gossip.alive()


async def test_a_goodbye_reaches_members_that_were_not_told(nodes: Nodes) -> None:
    ada, bob, eve = [await nodes.add() for _ in range(3)]
    everybody = {ada.id, bob.id, eve.id}
    await eventually(lambda: all(n.gossip.alive() == everybody - {n.id} for n in nodes.all))
    cut(ada, bob)
    await bob.gossip.stop()
    await eventually(lambda: ada.gossip.peers()[bob.id].state is Liveness.LEFT)


async def test_addresses_travel_with_the_records(nodes: Nodes) -> None:
    ada, bob, eve = [await nodes.add() for _ in range(3)]
    for node in (ada, bob):
        node.gossip.set_hosts([LOOPBACK])
    ada.member.addresses.forget(bob.id)
    cut(ada, bob)
    await eventually(lambda: bob.member.address in ada.member.addresses.of(bob.id))
    assert eve.id in ada.gossip.alive()


async def test_nobody_sends_us_to_services_of_our_own_machine(nodes: Nodes) -> None:
    ada, bob = await nodes.add(), await nodes.add()
    await bob.gossip._tasks.cancel()
    bob.gossip.set_hosts(["127.0.0.9", "::1", "::ffff:127.0.0.8", "10.0.0.7"])
    packet = to_bytes(bob.gossip._core.packet(ada.id, 0.0))

    def dialled() -> set[str]:
        return {address.host for address in ada.member.addresses.of(bob.id)} - {LOOPBACK}

    ada.gossip.set_hosts(["10.0.0.1"])
    ada.gossip.answer(bob.id, packet, "10.0.0.7")
    assert dialled() == {"10.0.0.7"}


async def test_a_relay_is_not_taken_for_the_one_who_calls_through_it(nodes: Nodes) -> None:
    ada, bob = await nodes.add(), await nodes.add()
    await bob.gossip._tasks.cancel()
    bob.gossip.set_hosts(["10.0.0.7"])
    packet = to_bytes(bob.gossip._core.packet(ada.id, 0.0))
    before = ada.gossip.peers()[bob.id].called
    ada.gossip.answer(bob.id, packet, "10.0.0.9")
    hosts = {address.host for address in ada.member.addresses.of(bob.id)}
    assert "10.0.0.7" in hosts
    assert "10.0.0.9" not in hosts
    assert ada.gossip.peers()[bob.id].called == before, "it does not reach us by itself"


async def test_one_member_gets_only_so_many_indirect_probes(nodes: Nodes) -> None:
    ada, bob, eve = [await nodes.add() for _ in range(3)]
    await eve.member.server.stop()
    asked = [ada.gossip.probe_for(bob.id, eve.id) for _ in range(MAX_INDIRECT_PER_PEER + 4)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(result, LimitError) for result in results) == 4
    assert all(isinstance(result, P2PError) for result in results)


def cut(a: Node, b: Node) -> None:
    """The two cannot reach one another any more."""
    for one, other in ((a, b), (b, a)):
        hello = one.member.client.hello

        async def refuse(
            peer: str, data: bytes, timeout: float | None = None,
            *, hello: Any = hello, other: str = other.id,
        ) -> bytes:  # fmt: skip
            if peer == other:
                raise NetworkError("cut")
            return await hello(peer, data, timeout)  # type: ignore[no-any-return]

        one.member.client.hello = refuse  # type: ignore[method-assign]
