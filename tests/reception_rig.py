"""A real peer with a reception, for joining without trainers or processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fedtui.control.operations import Operations
from fedtui.paths import RoomPaths
from fedtui.reception import Reception
from fedtui.rooms import Room
from fedtui.settings import Settings
from fedtui.task import Task
from fedtui.trust import TrustBook
from p2p.envelope import seal_genesis
from p2p.identity import Identity
from p2p.peer import Peer, read_genesis
from p2p.room import Genesis, Member, Plan, Policy
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

    def __init__(self, directory: Path, founder: Identity) -> None:
        genesis = Genesis(
            room_name="Attic",
            created_ms=0,
            admins=[founder.peer_id],
            policy=Policy(min_voters=1),
            members=[Member.of(founder, "Ada", "admin")],
            plan=Plan(rounds=1, deadline_ms=600_000, min_contributions=2, task=TASK),
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

    def emit(self, type_: str, /, **fields: Any) -> None:
        self.events.append({"type": type_, **fields})
        if type_ in {"member.added", "member.changed"}:
            self.reception.on_added(fields["peer"], fields["name"])

    async def do(self, name: str, **arguments: Any) -> dict[str, Any]:
        return await self.operations.run(name, arguments)

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type_]


@asynccontextmanager
async def host(directory: Path, founder: Identity) -> AsyncIterator[Host]:
    made = Host(directory, founder)
    await made.peer.start()
    await made.reception.start()
    try:
        yield made
    finally:
        await made.reception.stop()
        await made.peer.stop()
