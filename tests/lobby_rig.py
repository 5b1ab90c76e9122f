"""A real lobby on loopback, in front of a room that only writes down who came in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from member_rig import LOOPBACK, identity

from p2p.addresses import Address
from p2p.envelope import Envelope, seal_genesis
from p2p.errors import NetworkError
from p2p.identity import Identity
from p2p.joining.door import lobby_context, visitor_context
from p2p.joining.invites import Invite, InviteBook
from p2p.joining.joiner import Joiner
from p2p.joining.link import InviteLink
from p2p.joining.lobby import Applicant, Lobby, LobbyLimits, Standing
from p2p.joining.refusals import Refusal
from p2p.joining.wire import Admitted
from p2p.room import Genesis, Member, Plan, Policy

QUICK = LobbyLimits(proof=3.0, refusal_delay=0.0, waiting_interval=0.05)


def genesis_of(founder: Identity, nonce: str = "0" * 32) -> Envelope:
    """A room of one."""
    genesis = Genesis(
        room_name="attic",
        created_ms=0,
        admins=[founder.peer_id],
        policy=Policy(min_voters=1),
        members=[Member.of(founder, "Ada", "admin")],
        plan=Plan(rounds=1, deadline_ms=60_000, task={}),
        initial_blob="0" * 64,
        initial_size=1,
        initial_chunks="0" * 64,
        nonce=nonce,
    )
    return seal_genesis(founder, genesis.to_bytes())


class Clock:
    """Unix seconds that a test sets."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Room:
    """The doorkeeper of a room of up to ``size`` members; says yes unless told otherwise."""

    genesis: Envelope
    size: int = 128
    answer: Callable[[Applicant], Any] = lambda _: True
    broken: bool = False
    past_full: bool = False
    members: dict[str, Member] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    asked: list[Applicant] = field(default_factory=list)
    given_up: int = 0
    refusals: list[tuple[str, Refusal]] = field(default_factory=list)

    def standing(self, peer_id: str) -> Standing:
        if peer_id in self.removed:
            return "removed"
        return "member" if peer_id in self.members else "stranger"

    def is_full(self) -> bool:
        return len(self.members) >= self.size

    def is_past_full(self) -> bool:
        return self.past_full

    async def approve(self, applicant: Applicant) -> bool:
        self.asked.append(applicant)
        answer = self.answer(applicant)
        if asyncio.isfuture(answer):
            try:
                return bool(await answer)
            except asyncio.CancelledError:
                self.given_up += 1
                raise
        return bool(answer)

    async def admit(self, member: Member) -> None:
        if self.broken:
            raise NetworkError("no quorum")
        self.members[member.peer_id] = member

    def refused(self, host: str, reason: Refusal) -> None:
        self.refusals.append((host, reason))

    def admission(self) -> Admitted:
        return Admitted(
            genesis=self.genesis.to_bytes().decode(),
            addresses={self.genesis.signer: (f"{LOOPBACK}:4711",)},
            head_round=0,
            head=self.genesis.id,
        )


@dataclass
class Open:
    """A lobby that runs, and everything to use it."""

    lobby: Lobby
    book: InviteBook
    room: Room
    inviter: Identity
    clock: Clock

    @property
    def address(self) -> Address:
        return Address(LOOPBACK, self.lobby.port)

    async def link(self, **choices: Any) -> InviteLink:
        """A new link, and a lobby that is open for it."""
        given = {"uses": 1, "lifetime": 600.0, **choices}
        return self.link_to(await self.opened(self.book.create_link(**given)))

    def link_to(self, invite: Invite) -> InviteLink:
        return InviteLink(
            room=self.room.genesis.id,
            inviter=self.inviter.peer_id,
            secret=invite.secret,
            addresses=(self.address,),
            expires_ms=int(invite.expires * 1000),
            uses=invite.uses,
            head_round=0,
            head=self.room.genesis.id,
        )

    async def opened(self, invite: Invite) -> Invite:
        await self.lobby.refresh()
        return invite

    def invite(self, id_: str) -> Invite:
        return next(invite for invite in self.book.invites() if invite.id == id_)


@asynccontextmanager
async def open_lobby(
    directory: Path, *, limits: LobbyLimits = QUICK, room: Room | None = None, seed: int = 1
) -> AsyncIterator[Open]:
    inviter, clock = identity(seed), Clock()
    room = room or Room(genesis_of(inviter))
    book = InviteBook(directory / "room", clock=clock)
    lobby = Lobby(inviter, room.genesis.id, book, room, host=LOOPBACK, limits=limits)
    await lobby.start()
    try:
        yield Open(lobby, book, room, inviter, clock)
    finally:
        await lobby.stop()
        book.close()


def joiner(number: int, name: str = "Grace", **choices: Any) -> Joiner:
    return Joiner(identity(number), name, **choices)


@asynccontextmanager
async def relay(target: Address) -> AsyncIterator[Address]:
    """A machine in between: ends TLS with a key of its own and passes every byte on."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while part := await reader.read(1 << 16):
                writer.write(part)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = visitor_context(lambda _: True)
        there, back = await asyncio.open_connection(
            target.host, target.port, ssl=context, server_hostname="fedtui"
        )
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    server = await asyncio.start_server(connected, LOOPBACK, 0, ssl=lobby_context(identity(9)))
    async with server:
        yield Address(LOOPBACK, server.sockets[0].getsockname()[1])
