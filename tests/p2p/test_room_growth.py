"""Rooms that grow and shrink while they work: real peers on loopback, a toy workload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from toy_room import ToyNode, identity, toy_genesis, until

from p2p.addresses import Address
from p2p.envelope import Envelope, seal_genesis
from p2p.errors import NetworkError, ProtocolError, TrustError
from p2p.operations import MemberAdd, Operation
from p2p.room import Continuation, Member
from p2p.rounds.proof import prove
from p2p.rounds.signing import EnvelopeSigner
from p2p.status import CommitStatus


class GrowingRoom:
    """A room founded by node 0 alone; the others are admitted one by one."""

    def __init__(self, root: Path, genesis: Envelope) -> None:
        self.root = root
        self.genesis = genesis
        self.nodes: list[ToyNode] = []

    @property
    def founder(self) -> ToyNode:
        return self.nodes[0]

    async def found(self) -> ToyNode:
        self.nodes.append(ToyNode(self.root, 0, self.genesis))
        await self.founder.start()
        return self.founder

    async def admit(self, index: int, by: ToyNode) -> ToyNode:
        """What a lobby does: the admin signs, the newcomer gets the operations and an address."""
        await by.peer.changes.add_member(Member.of(identity(index), f"node {index}"))
        return await self.enter(index, by, by.peer.operations())

    async def enter(
        self, index: int, by: ToyNode, operations: tuple[Operation, ...], key: int | None = None
    ) -> ToyNode:
        door = {by.id: [Address("127.0.0.1", by.peer.port)]}
        node = ToyNode(
            self.root, index, self.genesis, operations=operations, addresses=door, key=key
        )
        self.nodes.append(node)
        await node.start()
        return node

    async def leave(self, node: ToyNode) -> None:
        self.nodes.remove(node)
        await node.stop()


@asynccontextmanager
async def growing(root: Path, **options: int) -> AsyncIterator[GrowingRoom]:
    room = GrowingRoom(root, toy_genesis(1, **options))  # type: ignore[arg-type]
    try:
        await room.found()
        yield room
    finally:
        await asyncio.gather(*(node.stop() for node in room.nodes))


def commits_of(node: ToyNode) -> tuple[CommitStatus, ...]:
    return node.peer.snapshot().commits


def sizes(node: ToyNode) -> tuple[int, int]:
    """How many vote in the round of the moment, and how many of them decide it."""
    now = node.peer.snapshot()
    return len(now.voters), now.quorum


async def test_a_founder_alone_waits_and_a_room_grows_until_any_of_two_may_fail(
    tmp_path: Path,
) -> None:
    # The room works on while others are let in: it must not come to its end before the last of them
    # votes, and a machine too busy for a deadline of one second has rounds without contributions.
    async with growing(tmp_path, rounds=5_000, min_contributions=3, deadline_ms=1_000) as room:
        founder = room.founder
        await until(lambda: founder.peer.contributed(1))
        await until(lambda: founder.peer.snapshot().elapsed_s > 1.5 or bool(commits_of(founder)))
        alone = founder.peer.snapshot()
        assert (alone.phase, alone.note) == ("WAITING", "2 more participants needed")
        assert not alone.commits
        for index in range(1, 5):
            await room.admit(index, founder)
        await until(lambda: all(sizes(node) == (5, 3) for node in room.nodes))
        await until(lambda: all(any(c.inputs for c in commits_of(node)) for node in room.nodes))
        assert all(len(c.inputs) >= 3 for c in commits_of(founder) if c.inputs)
        histories = [[c.commit_hash for c in commits_of(node)] for node in room.nodes]
        assert len({tuple(history[: min(map(len, histories))]) for history in histories}) == 1
        assert all(event["equal"] for node in room.nodes for event in node.of("result.recomputed"))
        assert [e["name"] for e in founder.of("member.added")] == [f"node {i}" for i in range(1, 5)]


async def test_a_removed_member_is_cut_off_at_once_and_loses_its_vote(tmp_path: Path) -> None:
    async with growing(tmp_path, rounds=5_000, min_contributions=2) as room:
        founder = room.founder
        bob, cleo = [await room.admit(index, founder) for index in (1, 2)]
        await until(lambda: len(founder.peer.snapshot().voters) == 3)
        await until(lambda: cleo.id in founder.peer._server.connected_peers())
        # Whoever is not heard from in time loses its vote for a while, Bob too.
        await until(lambda: not founder.peer.changes.removal_pauses(cleo.id))
        await founder.peer.changes.remove_member(cleo.id, "lost the laptop")
        assert cleo.id not in founder.peer._server.connected_peers()
        await until(lambda: cleo.id not in founder.peer.snapshot().voters)
        await until(lambda: cleo.id not in bob.peer.members)
        number = founder.peer.round
        await until(lambda: founder.peer.round > number + 1)
        assert cleo.id not in {i.peer for i in founder.peer.snapshot().commits[-1].inputs}
        with pytest.raises(ProtocolError, match="do not come back"):
            await founder.peer.changes.add_member(Member.of(identity(2), "cleo again"))
        with pytest.raises(ProtocolError, match="may not"):
            await bob.peer.changes.remove_member(founder.id)
        gone = bob.of("member.removed")[0]
        assert (gone["peer"], gone["reason"]) == (cleo.id, "lost the laptop")
        await until(lambda: founder.peer.snapshot().voters == tuple(sorted((founder.id, bob.id))))
        assert founder.peer.changes.removal_pauses(bob.id)


async def test_any_member_lets_a_newcomer_catch_up_when_the_founder_is_gone(
    tmp_path: Path,
) -> None:
    async with growing(tmp_path, rounds=5_000, min_contributions=2) as room:
        founder = room.founder
        bob, cleo = [await room.admit(index, founder) for index in (1, 2)]
        await until(lambda: len(cleo.peer.snapshot().voters) == 3)
        await founder.peer.changes.change_admins([founder.id, bob.id])
        await until(lambda: bob.id in bob.peer.admins)
        await room.leave(founder)
        late = await room.admit(3, bob)
        await until(lambda: any(late.id in c.signers for c in late.peer.snapshot().commits))
        own, theirs = late.peer.snapshot().commits, bob.peer.snapshot().commits
        # The two are looked at in the middle of their rounds: one may be ahead.
        common = min(len(own), len(theirs))
        assert common
        assert [c.commit_hash for c in own][:common] == [c.commit_hash for c in theirs][:common]
        # What it was given once is on its disk: a restart needs the genesis alone.
        await room.leave(late)
        again = await room.enter(3, bob, ())
        await until(lambda: again.id in again.peer.members and again.peer.round > 1)


async def test_a_stranger_does_not_become_a_member_by_operations_it_made_up(
    tmp_path: Path,
) -> None:
    async with growing(tmp_path, rounds=2) as room:
        signer = EnvelopeSigner(identity(9), room.genesis.id)
        change = MemberAdd(
            author=identity(9).peer_id,
            seq=1,
            after=room.genesis.id,
            member=Member.of(identity(9), "mallory"),
        )
        forged = Operation.of(signer.seal(change))
        stranger = ToyNode(tmp_path, 9, room.genesis, operations=[forged])
        with pytest.raises(TrustError, match="not a member"):
            await stranger.start()


async def test_a_fork_is_shown_to_everybody(
    tmp_path: Path,
) -> None:
    async with growing(tmp_path, rounds=5_000, min_contributions=3) as room:
        founder = room.founder
        bob = await room.admit(1, founder)
        await until(lambda: founder.id in bob.peer._gossip.alive())
        old = founder.peer.genesis
        here = Continuation(
            room=founder.peer.room_id, round=founder.peer.round - 1, head=founder.peer.head
        )
        fork = old.model_copy(
            update={"members": list(founder.peer.members.values()), "continues": here}
        )
        envelope = seal_genesis(founder.peer.identity, fork.to_bytes())
        with pytest.raises(ProtocolError, match="may not"):
            await bob.peer.changes.fork(seal_genesis(founder.peer.identity, fork.to_bytes()))
        with pytest.raises(ProtocolError, match="last commit of this room"):
            await founder.peer.changes.fork(room.genesis)
        await founder.peer.changes.fork(envelope)
        await until(lambda: bool(bob.of("room.forked")))
        assert bob.of("room.forked")[0]["room"] == envelope.id


async def test_a_member_changes_its_key_while_the_room_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with growing(tmp_path, rounds=5_000, min_contributions=2) as room:
        founder = room.founder
        bob = await room.admit(1, founder)
        await until(lambda: len(founder.peer.snapshot().voters) == 2)
        # The commit that ends its key reaches it by nobody's ordinary message.
        send = founder.peer._client.send

        def without_commits(peer: str, data: bytes, *, kind: str | None = None) -> None:
            if peer != bob.id or b'"commit"' not in data:
                send(peer, data, kind=kind)

        monkeypatch.setattr(founder.peer._client, "send", without_commits)
        new = identity(7)
        await bob.peer.changes.change_key(new)
        await until(lambda: bool(bob.of("key.changed")))
        assert founder.peer.now(bob.id) == bob.peer.successor == new.peer_id
        await until(lambda: bob.id not in founder.peer._server.connected_peers())
        with pytest.raises(NetworkError):
            await bob.peer._client.hello(founder.id, b"with the old key")
        await room.leave(bob)
        again = await room.enter(1, founder, (), key=7)
        assert again.id == new.peer_id
        await until(lambda: again.id in founder.peer.snapshot().voters)
        number = founder.peer.round
        await until(lambda: founder.peer.round > number + 1)
        assert again.id in {i.peer for i in founder.peer.snapshot().commits[-1].inputs}
        (told,) = founder.of("member.rekeyed")
        assert (told["peer"], told["before"]) == (new.peer_id, bob.id)
        assert not founder.of("member.removed")
        commits = [record.payload for record in founder.peer._core.journal.commits]
        assert prove(room.genesis, commits).facts.membership.now(bob.id) == new.peer_id


async def test_a_member_that_loses_its_ledger_after_its_key_has_changed_comes_back(
    tmp_path: Path,
) -> None:
    """What admitted it names the old key: it is let in by the others, and learns why."""
    async with growing(tmp_path, rounds=5_000, min_contributions=1) as room:
        founder = room.founder
        bob = await room.admit(1, founder)
        await room.admit(2, founder)
        await until(lambda: len(founder.peer.snapshot().voters) == 3)
        admitted_by = founder.peer.operations()
        await bob.peer.changes.change_key(identity(7))
        await until(lambda: bool(bob.of("key.changed")))
        await room.leave(bob)
        (bob.directory / "room" / "ledger.sqlite").write_bytes(b"not a database")
        again = await room.enter(1, founder, admitted_by, key=7)
        await until(lambda: again.id in again.peer.members)
        await until(lambda: again.id in founder.peer.snapshot().voters)


async def test_one_of_two_leaves_and_the_other_goes_on(tmp_path: Path) -> None:
    async with growing(tmp_path, rounds=5_000, min_contributions=1) as room:
        founder = room.founder
        bob = await room.admit(1, founder)
        await until(lambda: len(founder.peer.snapshot().voters) == 2)
        await bob.peer.changes.remove_member(bob.id)
        await until(lambda: founder.peer.members.keys() == {founder.id})
        await room.leave(bob)
        number = founder.peer.round
        await until(lambda: founder.peer.round > number + 1)


async def test_a_founder_changes_its_key_although_an_invited_member_never_comes(
    tmp_path: Path,
) -> None:
    async with growing(tmp_path, rounds=5_000, min_contributions=1) as room:
        founder = room.founder
        await founder.peer.changes.add_member(Member.of(identity(1), "never there"))
        await founder.peer.changes.change_key(identity(8))
        await until(lambda: bool(founder.of("key.changed")))


async def test_a_founder_whose_key_has_changed_lets_newcomers_in(tmp_path: Path) -> None:
    """Their genesis names the old key: all they know of the new one is what the old one signed."""
    async with growing(tmp_path, rounds=5_000, min_contributions=1) as room:
        old = room.founder
        await old.peer.changes.change_key(identity(8))
        await until(lambda: bool(old.of("key.changed")))
        await room.leave(old)
        founder = await room.enter(0, old, (), key=8)
        bob = await room.admit(1, founder)
        await until(lambda: bob.id in founder.peer.snapshot().voters)
        await until(lambda: bob.peer.round > 2)
        assert bob.peer.admins == {founder.id}
