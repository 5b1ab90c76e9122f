"""A real peer with a reception, for joining without trainers or processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lobby_rig import joiner
from member_rig import identity

from fedtui.control.operations import Operations
from fedtui.governance import Governance
from fedtui.paths import RoomPaths
from fedtui.reception import Reception
from fedtui.rooms import Joining, Room, read_operations
from fedtui.settings import Settings
from fedtui.task import Task
from fedtui.trust import TrustBook
from p2p.envelope import seal_genesis
from p2p.identity import Identity
from p2p.joining.joiner import Joined
from p2p.joining.link import parse_link
from p2p.peer import Peer
from p2p.room import Genesis, Member, Plan, Policy, read_genesis
from p2p.rounds.state import Timing
from p2p.workload import Input, Verdict

LOOPBACK = "127.0.0.1"
TASK = {
    "model": "tiny-landscapes",
    "model_sha256": "0" * 64,
    "steps": 5,
    "preview": {"prompts": ["night"]},
}


class NoWork:
    """A workload for rooms in which nobody trains."""

    async def check(self, path: Path, plan: Plan) -> Verdict:
        return Verdict(True)

    async def combine(self, inputs: list[Input], plan: Plan, previous: Path) -> Path:
        return previous

    async def apply(self, path: Path, round_number: int) -> None: ...


class Host:
    """Ada's node as far as letting others in goes."""

    def __init__(
        self,
        directory: Path,
        founder: Identity,
        *,
        threshold: int = 1,
        start_on_request: bool = False,
    ) -> None:
        genesis = Genesis(
            room_name="Attic",
            created_ms=0,
            admins=[founder.peer_id],
            admin_threshold=threshold,
            policy=Policy(min_voters=1),
            members=[Member.of(founder, "Ada", "admin")],
            plan=Plan(
                rounds=3,
                deadline_ms=600_000,
                min_contributions=2,
                start_on_request=start_on_request or None,
                task=TASK,
            ),
            initial_blob="0" * 64,
            initial_size=1,
            initial_chunks="0" * 64,
            nonce="0" * 32,
        )
        envelope = seal_genesis(founder, genesis.to_bytes())
        paths = RoomPaths(directory / "room")
        self.room = Room(
            envelope.id, envelope, read_genesis(envelope), Task.model_validate(TASK), paths
        )
        self.identity = founder
        self.events: list[dict[str, Any]] = []
        self.trust = TrustBook(directory / "trust.jsonl")
        self.operations = Operations()
        self.peer = Peer(
            paths.root,
            founder,
            envelope,
            NoWork(),
            host=LOOPBACK,
            interfaces=[LOOPBACK],
            timing=Timing(),
            emit=self.emit,
        )
        settings = Settings(host=LOOPBACK, interfaces=(LOOPBACK,))
        self.reception = Reception(self.peer, founder, self.room, settings, self.trust, self.emit)
        self.reception.offer(self.operations)
        self.governance = Governance(self.peer, self.room, self.trust)
        self.governance.offer(self.operations)

    def emit(self, type_: str, /, **fields: Any) -> None:
        self.events.append({"type": type_, **fields})
        if type_ in {"member.added", "member.changed"}:
            self.reception.on_added(fields["peer"], fields["name"])

    async def do(self, name: str, **arguments: Any) -> dict[str, Any]:
        return await self.operations.run(name, arguments)

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type_]


class Guest:
    """The node of somebody who was let in, as far as members and their rights go."""

    def __init__(
        self, directory: Path, identity: Identity, host: Host, joined: Joined, port: int = 0
    ) -> None:
        self.joined = joined
        self.events: list[dict[str, Any]] = []
        self.operations = Operations()
        self.peer = Peer(
            directory,
            identity,
            joined.genesis,
            NoWork(),
            operations=read_operations(Joining(operations=joined.operations)),
            addresses=joined.addresses,
            host=LOOPBACK,
            port=port,
            interfaces=[LOOPBACK],
            emit=lambda type_, /, **fields: self.events.append({"type": type_, **fields}),
        )
        trust = TrustBook(directory / "trust.jsonl")
        self.governance = Governance(self.peer, host.room, trust)
        self.governance.offer(self.operations)

    async def do(self, name: str, **arguments: Any) -> dict[str, Any]:
        return await self.operations.run(name, arguments)


@asynccontextmanager
async def guest(directory: Path, number: int, host: Host, port: int = 0) -> AsyncIterator[Guest]:
    """Somebody whom the host lets in without a question."""
    link = parse_link((await host.do("invite", auto_approve=True))["text"])
    joined = await joiner(number).by_link(link)
    made = Guest(directory, identity(number), host, joined, port)
    await made.peer.start()
    try:
        yield made
    finally:
        await made.peer.stop()


@asynccontextmanager
async def host(directory: Path, founder: Identity, **choices: Any) -> AsyncIterator[Host]:
    made = Host(directory, founder, **choices)
    await made.peer.start()
    await made.reception.start()
    try:
        yield made
    finally:
        await made.reception.stop()
        await made.peer.stop()
