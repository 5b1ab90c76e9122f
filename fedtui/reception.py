"""The node's side of the lobby: asks a person about newcomers, admits them, remembers it.

:class:`Reception` runs beside the peer of a room. Everybody can look; only an admin's node opens a
lobby, because only an admin's signature admits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass

from fedtui.control.operations import Operations, Result
from fedtui.errors import FedtuiError, UsageError
from fedtui.governance import Nothing, require_admin
from fedtui.inviting import (
    InviteChoices,
    Place,
    issue,
    lobby_addresses,
    reserved_port,
    shown,
    translated,
)
from fedtui.limits import ENDORSEMENT_WAIT_S
from fedtui.rooms import Room
from fedtui.settings import Settings
from fedtui.trust import Kind, TrustBook, same_name
from fedtui.view import RequestView
from p2p.addresses import Address
from p2p.errors import P2PError, ProtocolError
from p2p.identity import Identity
from p2p.joining.invites import InviteBook
from p2p.joining.lobby import Applicant, Lobby, Standing
from p2p.joining.nearby import Announcer
from p2p.joining.refusals import Refusal, reason_words
from p2p.joining.wire import MAX_ADMITTED_BYTES, MAX_TOLD_OPERATIONS, Admitted
from p2p.joining.words import fingerprint_hex
from p2p.limits import MAX_ADDRESSES_PER_PEER, MAX_MEMBERS
from p2p.operations import MemberAdd
from p2p.peer import Peer
from p2p.room import Member
from p2p.status import display_name

log = logging.getLogger("fedtui.reception")

Emit = Callable[..., None]

SPARE_OPERATIONS = MAX_MEMBERS
"""Changes of the members that may still come while newcomers wait to be admitted."""
SPARE_BYTES = MAX_ADMITTED_BYTES // 8
"""The same in bytes."""


@dataclass(frozen=True)
class InviteName:
    """``id``: the beginning of an invite's id, or a code's number."""

    id: str


@dataclass(frozen=True)
class Answer:
    """Yes or no to the newcomer of ``request``; ``id`` may be the beginning of its peer id."""

    id: str
    approve: bool


@dataclass(frozen=True)
class _Pending:
    applicant: Applicant
    answer: asyncio.Future[bool]
    since: float
    namesake: str


class Reception:
    """Invites, newcomers and members of one room, as its owner sees and changes them."""

    def __init__(
        self,
        peer: Peer,
        identity: Identity,
        room: Room,
        settings: Settings,
        trust: TrustBook,
        emit: Emit,
    ) -> None:
        self._peer = peer
        self._identity = identity
        self._room = room
        self._settings = settings
        self._trust = trust
        self._emit = emit
        self._pending: dict[str, _Pending] = {}
        self._admitting: dict[str, asyncio.Event] = {}
        self._running = AsyncExitStack()
        self._book: InviteBook | None = None
        self._lobby: Lobby | None = None

    async def start(self) -> None:
        """Opens the lobby if an invite is open. The peer runs already."""
        async with AsyncExitStack() as stack:
            self._book = book = await asyncio.to_thread(InviteBook, self._room.paths.root)
            stack.callback(book.close)
            announcer = Announcer(self._settings.interfaces or None)
            stack.push_async_callback(announcer.stop)
            self._lobby = Lobby(
                self._identity,
                self._room.id,
                book,
                self,
                host=self._settings.host,
                on_change=announcer.announce,
            )
            stack.push_async_callback(self._lobby.stop)
            for member in self._peer.members.values():
                self.on_added(member.peer_id, display_name(member))
            await self._lobby.start()
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Closes the lobby; whoever waits there is told."""
        await self._running.aclose()

    def offer(self, operations: Operations) -> None:
        """Adds what the control API can ask for."""
        operations.add("invite", InviteChoices, self._invite)
        operations.add("invites", Nothing, self._invites)
        operations.add("revoke", InviteName, self._revoke)
        operations.add("requests", Nothing, self._requests)
        operations.add("answer", Answer, self._answer)

    # --- what the lobby asks -----------------------------------------------------------------
    def standing(self, peer_id: str) -> Standing:
        """See :class:`p2p.joining.lobby.Doorkeeper`."""
        if peer_id in self._peer.removed:
            return "removed"
        if peer_id in self._peer.members:
            return "member"
        return "awaited" if self._has_signed_in(peer_id) else "stranger"

    def _has_signed_in(self, peer_id: str) -> bool:
        """Whether an admission of this key that we signed waits for other admins."""
        waiting = (operation for operation, _ in self._peer.changes.waiting_operations())
        return any(
            isinstance(operation.change, MemberAdd)
            and operation.change.subject == peer_id
            and self._identity.peer_id in operation.signers
            for operation in waiting
        )

    def is_full(self) -> bool:
        """See :class:`p2p.joining.lobby.Doorkeeper`."""
        return len(self._peer.members) >= MAX_MEMBERS

    def is_past_full(self) -> bool:
        """See :class:`p2p.joining.lobby.Doorkeeper`."""
        try:
            told = self.admission()
        except P2PError:
            return True
        too_many = len(told.operations) > MAX_TOLD_OPERATIONS - SPARE_OPERATIONS
        return too_many or len(told.to_bytes()) > MAX_ADMITTED_BYTES - SPARE_BYTES

    def refused(self, host: str, reason: Refusal) -> None:
        """See :class:`p2p.joining.lobby.Doorkeeper`. Who was declined has been told of."""
        if reason != "declined":
            self._emit("join.refused", host=host, reason=reason, why=reason_words(reason))

    async def approve(self, applicant: Applicant) -> bool:
        """Asks whoever looks: a screen, a command, a program at the control API."""
        member = applicant.member
        namesake = self._namesake(member.name, member.peer_id)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        pending = _Pending(applicant, answer, time.monotonic(), namesake)
        self._pending[applicant.id] = pending
        self._note("asked", member.peer_id, member.name)
        self._emit("join.requested", **asdict(self._request_view(pending)))
        try:
            approved = await answer
        except asyncio.CancelledError:
            self._emit("join.gone", request=applicant.id, peer=member.peer_id, name=member.name)
            raise
        finally:
            del self._pending[applicant.id]
        if not approved:
            self._note("declined", member.peer_id, member.name)
            self._emit("join.declined", request=applicant.id, peer=member.peer_id, name=member.name)
        return approved

    async def admit(self, member: Member) -> None:
        """Signs the newcomer in, unless that waits for others already: an invite must not fill
        the places for changes that lack signatures. Raises P2PError."""
        if self._identity.peer_id not in self._peer.admins:
            raise ProtocolError("this machine is no admin's any more, and cannot let anybody in")
        self._admitting[member.peer_id] = admitted = asyncio.Event()
        try:
            if self.standing(member.peer_id) == "stranger":
                await self._peer.changes.add_member(member)
            if member.peer_id not in self._peer.members:
                # Other admins must sign, too: they may be looking at their screens.
                with suppress(TimeoutError):
                    await asyncio.wait_for(admitted.wait(), ENDORSEMENT_WAIT_S)
        finally:
            del self._admitting[member.peer_id]
        if member.peer_id not in self._peer.members:
            raise ProtocolError(
                "other admins must sign, too, before the newcomer is a member",
                remedy="Ask them to endorse it, then let the newcomer join again.",
            )

    def admission(self) -> Admitted:
        """What a new member needs to begin.

        Raises:
            P2PError: the room's past is more than the lobby may tell.
        """
        past = self._peer.operations()
        if len(past) > MAX_TOLD_OPERATIONS:
            raise P2PError(
                f"the room's members have changed {len(past)} times, and a newcomer can be told "
                f"of {MAX_TOLD_OPERATIONS} changes",
                remedy="Create a new room for whoever wants to go on (`fedtui room create NAME`).",
            )
        own = lobby_addresses(self._settings, self._peer.port)
        addresses = {**self._peer.addresses(), self._identity.peer_id: own}
        round_, head = self._head()
        return Admitted(
            genesis=self._room.envelope.to_bytes().decode(),
            operations=tuple(op.to_bytes().decode() for op in past),
            addresses={
                peer: tuple(map(str, known[:MAX_ADDRESSES_PER_PEER]))
                for peer, known in addresses.items()
            },
            head_round=round_,
            head=head,
        )

    # --- showing -----------------------------------------------------------------------------
    def pending(self) -> tuple[RequestView, ...]:
        """Who waits at the door, longest first."""
        return tuple(self._request_view(pending) for pending in self._pending.values())

    def on_added(self, peer: str, name: str) -> None:
        """There is a member of this name: remembers it, and shouts when a known name has another
        key now."""
        if admitted := self._admitting.get(peer):
            admitted.set()
        if peer == self._identity.peer_id or self._trust.knows(peer, name):
            return
        other = self._namesake(name, peer)
        if other and self._peer.now(other) == peer:
            self.on_rekeyed(peer, other, name)
            return
        if other:
            self._emit("identity.changed", peer=peer, name=name, before=other)
            self._note("impostor", peer, name, detail=other)
        kind: Kind = "renamed" if self._trust.has_met(peer) else "added"
        kind = "admitted" if peer in self._admitting else kind
        self._note(kind, peer, name)

    def on_rekeyed(self, peer: str, before: str, name: str) -> None:
        """A member has another key, which the old one signed. A mark stays with the old one."""
        self._note("rekeyed", peer, name, detail=before)

    def on_removed(self, peer: str, name: str) -> None:
        """A member is none any more."""
        self._note("removed", peer, name)

    # --- operations --------------------------------------------------------------------------
    async def _invite(self, choices: InviteChoices) -> Result:
        require_admin(self._peer)
        book, lobby = self._open()
        invite = await asyncio.to_thread(issue, book, choices)
        try:
            await lobby.refresh()
        except P2PError as error:
            await asyncio.to_thread(book.revoke, invite.id)
            raise translated(error) from error
        view = shown(invite, await self._place())
        return asdict(view)

    async def _invites(self, _: Nothing) -> Result:
        book, _lobby = self._open()
        place = await self._place()
        invites = await asyncio.to_thread(book.invites)
        return {"invites": [asdict(shown(invite, place)) for invite in invites]}

    async def _revoke(self, name: InviteName) -> Result:
        book, lobby = self._open()
        gone = await asyncio.to_thread(book.revoke, name.id)
        if not gone:
            raise UsageError(f"no open invite is called {name.id!r}", "see `fedtui room invites`")
        await lobby.refresh()
        return {"revoked": [invite.id for invite in gone]}

    async def _requests(self, _: Nothing) -> Result:
        return {"requests": [asdict(request) for request in self.pending()]}

    async def _answer(self, answer: Answer) -> Result:
        fitting = [
            pending
            for id_, pending in self._pending.items()
            if answer.id == id_ or pending.applicant.member.peer_id.startswith(answer.id)
        ]
        if len(fitting) != 1 or not answer.id:
            raise UsageError(
                f"nobody with {answer.id!r} waits to be let in",
                remedy="see `fedtui room requests`; they may have given up",
            )
        pending = fitting[0]
        if not pending.answer.done():
            pending.answer.set_result(answer.approve)
        member = pending.applicant.member
        return {"peer": member.peer_id, "name": member.name, "approved": answer.approve}

    # --- inside ------------------------------------------------------------------------------
    def _open(self) -> tuple[InviteBook, Lobby]:
        if self._book is None or self._lobby is None:
            raise FedtuiError("the node is still starting", remedy="try again in a second")
        return self._book, self._lobby

    async def _place(self) -> Place:
        book, lobby = self._open()
        port = lobby.port or await asyncio.to_thread(reserved_port, book, self._settings.host)
        round_, head = self._head()
        addresses: tuple[Address, ...] = lobby_addresses(self._settings, port)
        return Place(self._room.id, self._identity.peer_id, addresses, round_, head)

    def _head(self) -> tuple[int, str]:
        """The last committed round, 0 before the first, and its commit."""
        return self._peer.round - 1, self._peer.head

    def _note(self, event: Kind, peer: str, name: str, detail: str = "") -> None:
        """Remembers it. A disk that refuses must stop neither the rounds, among whose steps this
        is, nor a conversation in the lobby."""
        try:
            self._trust.note(event, peer, name, room=self._room.id, detail=detail)
        except FedtuiError as error:
            self._emit("notice", text=f"{error.title}: {error.cause}", level="error")

    def _namesake(self, name: str, peer: str) -> str:
        """The key of a member or an acquaintance that people would take for this one."""
        for member in self._peer.members.values():
            if member.peer_id != peer and same_name(display_name(member), name):
                return member.peer_id
        return self._trust.namesake(name, peer) or ""

    def _request_view(self, pending: _Pending) -> RequestView:
        member = pending.applicant.member
        return RequestView(
            request=pending.applicant.id,
            peer=member.peer_id,
            name=member.name,
            role=member.role,
            words=pending.applicant.words,
            fingerprint=fingerprint_hex(member.peer_id),
            address=pending.applicant.host,
            invite=pending.applicant.invite.id[:8],
            waiting_s=round(time.monotonic() - pending.since, 1),
            namesake=pending.namesake,
        )
