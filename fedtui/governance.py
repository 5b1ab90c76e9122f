"""Who belongs to the room, what each may do, and what its admins decide together.

:class:`Governance` offers it to commands and screens. Everybody can look; what changes something
is signed by an admin, or by the member it is about, and checked by every other node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict, dataclass

from fedtui.agreement import terms
from fedtui.control.operations import Operations, Result
from fedtui.errors import NetworkError, TrustError, UsageError
from fedtui.inviting import translated
from fedtui.keys import next_identity
from fedtui.limits import ROOM_OPERATION_S
from fedtui.rooms import Room
from fedtui.trust import Kind, TrustBook
from fedtui.view import ChangeView, MemberView, RemovalView
from p2p.errors import P2PError
from p2p.joining.words import fingerprint_hex, fingerprint_words
from p2p.operations import (
    AdminChange,
    AnyChange,
    KeyChange,
    MemberAdd,
    MemberRemove,
    Operation,
    RoomFork,
    RoundStart,
    is_goodbye,
)
from p2p.peer import Peer
from p2p.room import Member, Role
from p2p.status import display_name, rights

ID_DIGITS = 8
"""Of a change, as people type them."""


@dataclass(frozen=True)
class Nothing:
    """No arguments."""


@dataclass(frozen=True)
class Removal:
    """``peer``: a name, or the beginning of an id. ``anyway``: even if the room is paused by it."""

    peer: str
    reason: str = ""
    anyway: bool = False


@dataclass(frozen=True)
class Promotion:
    """``peer`` as in :class:`Removal`; ``admin`` False takes the right back."""

    peer: str
    admin: bool = True


@dataclass(frozen=True)
class Permit:
    """``peer`` and ``anyway`` as in :class:`Removal`; a right that is None stays as it is.
    ``role`` makes a participant an observer or the other way round."""

    peer: str
    contribute: bool | None = None
    start_rounds: bool | None = None
    see_previews: bool | None = None
    role: str = ""
    anyway: bool = False


@dataclass(frozen=True)
class Threshold:
    """How many admins must sign a change from now on."""

    admins: int


@dataclass(frozen=True)
class Endorsement:
    """``id``: the beginning of a waiting change's id."""

    id: str


@dataclass(frozen=True)
class Start:
    """How many more rounds may begin; 0: all that are left."""

    rounds: int = 1


@dataclass(frozen=True)
class Verification:
    """``peer`` as in :class:`Removal`; ``verified`` False takes the mark back."""

    peer: str
    verified: bool = True


class Governance:
    """The members of one room, as the owner of one node sees and changes them."""

    def __init__(self, peer: Peer, room: Room, trust: TrustBook) -> None:
        self._peer = peer
        self._room = room
        self._trust = trust

    def offer(self, operations: Operations) -> None:
        """Adds what the control API can ask for."""
        operations.add("members", Nothing, self._members)
        operations.add("remove", Removal, self._remove)
        operations.add("promote", Promotion, self._promote)
        operations.add("permit", Permit, self._permit)
        operations.add("threshold", Threshold, self._threshold)
        operations.add("changes", Nothing, self._changes)
        operations.add("endorse", Endorsement, self._endorse)
        operations.add("start_rounds", Start, self._start_rounds)
        operations.add("change_key", Nothing, self._change_key)
        operations.add("plan", Nothing, self._plan)
        operations.add("verify", Verification, self._verify)
        operations.add("trust_history", Nothing, self._trust_history)

    # --- showing -----------------------------------------------------------------------------
    def members(self) -> tuple[MemberView, ...]:
        """Everybody in the room with fingerprint and mark, admins first."""
        listed = sorted(
            self._peer.members.values(), key=lambda m: (m.role != "admin", m.name.casefold())
        )
        return tuple(map(self._member_view, listed))

    def waiting(self) -> tuple[ChangeView, ...]:
        """Changes that other admins have still to sign, oldest first."""
        return tuple(
            self._change_view(operation, last_round)
            for operation, last_round in self._peer.changes.waiting_operations()
        )

    def removal(self) -> RemovalView | None:
        """What made this machine a stranger to the room; None for a member."""
        operation = self._peer.removal
        if operation is None or not isinstance(operation.change, MemberRemove):
            return None
        change = operation.change
        left = is_goodbye(change)
        signed = tuple(sorted(map(self._name, operation.signers)))
        reason = change.reason or ""
        text = "this machine has left the room"
        if not left:
            text = f"this machine was removed from the room by {' and '.join(signed)}"
            text += f": {reason}" if reason else ""
        return RemovalView(text, signed, reason, operation.to_bytes().decode(), left)

    def in_words(self, change: AnyChange) -> str:
        """What a change does, as a question that admins answer by signing."""
        match change:
            case MemberAdd(member=member) if (
                known := self._peer.members.get(member.peer_id)
            ) is not None:
                may = ", ".join(rights(member)) or "only watch"
                renamed = known.name != member.name
                name = f", from now on called {display_name(member)}," if renamed else ""
                return f"let {self._who(member.peer_id)}{name} be {member.role} and {may}"
            case MemberAdd(member=member):
                words = " ".join(fingerprint_words(member.peer_id))
                return f"admit {display_name(member)} ({words}) as {member.role}"
            case MemberRemove(peer=peer, reason=reason):
                return f"remove {self._who(peer)}{f': {reason}' if reason else ''}"
            case KeyChange(author=author, key=key):
                words = " ".join(fingerprint_words(key))
                return f"give {self._who(author)} another key ({words})"
            case AdminChange(admins=admins, threshold=threshold):
                new, old = frozenset(admins), self._peer.admins
                parts = [f"make {self._who(peer)} an admin" for peer in sorted(new - old)]
                parts += [
                    f"take the admin role from {self._who(peer)}" for peer in sorted(old - new)
                ]
                if threshold != self._peer.admin_threshold or not parts:
                    parts.append(f"let {threshold} admins sign a change")
                return " and ".join(parts)
            case RoundStart(through=through):
                return f"let rounds begin up to round {through}"
            case RoomFork(genesis=genesis):
                return f"go on in another room ({genesis[:ID_DIGITS]})"

    def question(self, change_id: str) -> dict[str, str]:
        """Who asks the other admins for what, for the event that tells of a waiting change."""
        waiting = {change.id: change for change in self.waiting()}
        found = waiting.get(change_id)
        return {"by": found.author, "what": found.text} if found else {"by": "", "what": ""}

    def _change_view(self, operation: Operation, last_round: int) -> ChangeView:
        change = operation.change
        admins = self._peer.admins
        missing = self._peer.signatures_needed - len(operation.signers & admins)
        if isinstance(change, AdminChange):
            new = frozenset(change.admins)
            wanted = min(change.threshold, len(new)) - len(operation.signers & new)
            missing = max(missing, wanted)
        return ChangeView(
            id=operation.id,
            text=self.in_words(change),
            author=self._name(change.author),
            signed=tuple(sorted(map(self._name, operation.signers))),
            missing=max(1, missing),
            last_round=last_round,
            mine=self._peer.identity.peer_id in operation.signers,
        )

    def _member_view(self, member: Member) -> MemberView:
        return MemberView(
            peer=member.peer_id,
            name=display_name(member),
            role=member.role,
            me=member.peer_id == self._peer.identity.peer_id,
            verified=self._trust.verified(member.peer_id),
            fingerprint=fingerprint_hex(member.peer_id),
            words=fingerprint_words(member.peer_id),
            may=rights(member),
        )

    def _who(self, peer: str) -> str:
        """A name is not unique and its owner chose it; the words are the key's."""
        mine = "this machine: " if peer == self._peer.identity.peer_id else ""
        return f"{self._name(peer)} ({mine}{' '.join(fingerprint_words(peer))})"

    def _name(self, peer: str) -> str:
        member = self._peer.members.get(self._peer.now(peer))
        return display_name(member) if member else peer[:ID_DIGITS]

    # --- operations --------------------------------------------------------------------------
    async def _members(self, _: Nothing) -> Result:
        members = [asdict(member) for member in self.members()]
        return {"members": members, "folder": str(self._room.paths.root)}

    async def _plan(self, _: Nothing) -> Result:
        """What the room agreed on, in words; see :mod:`fedtui.agreement`."""
        agreed = terms(self._room, len(self._peer.admins), self._peer.admin_threshold)
        return {"room": self._room.id, "name": self._room.name,
                "terms": [asdict(term) for term in agreed]}  # fmt: skip

    async def _remove(self, removal: Removal) -> Result:
        require_admin(self._peer)
        member = self._member(removal.peer)
        if member.peer_id == self._peer.identity.peer_id:
            raise UsageError("that is this machine", remedy="leave with `fedtui room leave`")
        if not removal.anyway:
            self._refuse_pause(member, "fedtui room remove")
        made = await _operate(self._peer.changes.remove_member(member.peer_id, removal.reason))
        state = "needs others" if member.peer_id in self._peer.members else "removed"
        return {**_told(member), "state": state, "change": made.id}

    async def _promote(self, wanted: Promotion) -> Result:
        require_admin(self._peer)
        member = self._member(wanted.peer)
        admins = self._peer.admins
        changed = admins | {member.peer_id} if wanted.admin else admins - {member.peer_id}
        if not changed:
            raise UsageError("a room needs an admin", remedy="make somebody else one first")
        threshold = self._peer.admin_threshold
        made = await _operate(self._peer.changes.change_admins(sorted(changed), threshold))
        needs_others = self._peer.admins != changed
        return {"admins": sorted(self._peer.admins), "needs_others": needs_others,
                "change": made.id}  # fmt: skip

    async def _permit(self, wanted: Permit) -> Result:
        require_admin(self._peer)
        member = self._member(wanted.peer)
        given = {
            name: value
            for name in ("contribute", "start_rounds", "see_previews")
            if (value := getattr(wanted, name)) is not None
        }
        role = self._role(member, wanted.role)
        changed = member.model_copy(
            update={"role": role, "permissions": member.permissions.model_copy(update=given)}
        )
        if changed == member:
            raise UsageError(
                f"nothing changes for {display_name(member)}",
                f"{display_name(member)} is {member.role} and may"
                f" {', '.join(rights(member)) or 'only watch'}",
                "say what to change, for example --start-rounds or --no-contribute",
            )
        if member.trains and not changed.trains and not wanted.anyway:
            self._refuse_pause(member, "fedtui room permit")
        made = await _operate(self._peer.changes.add_member(changed))
        now = self._peer.members[member.peer_id]
        return {**_told(now), "role": now.role, "may": list(rights(now)),
                "needs_others": now != changed, "change": made.id}  # fmt: skip

    def _role(self, member: Member, wanted: str) -> Role:
        if not wanted or wanted == member.role:
            return member.role
        if member.role == "admin":
            raise UsageError(
                f"{display_name(member)} is an admin",
                remedy="take that back first: `fedtui room promote … --undo`",
            )
        if wanted == "observer":
            return "observer"
        if wanted == "participant":
            return "participant"
        raise UsageError(f"there is no role {wanted!r} to give", remedy="participant or observer")

    async def _threshold(self, wanted: Threshold) -> Result:
        require_admin(self._peer)
        admins = sorted(self._peer.admins)
        if not 1 <= wanted.admins <= len(admins):
            raise UsageError(
                f"{wanted.admins} of {len(admins)} admins cannot sign",
                remedy="make more members admins first: `fedtui room promote PEER`",
            )
        made = await _operate(self._peer.changes.change_admins(admins, wanted.admins))
        now = self._peer.admin_threshold
        return {"threshold": now, "needs_others": now != wanted.admins, "change": made.id}

    async def _changes(self, _: Nothing) -> Result:
        return {"changes": [asdict(change) for change in self.waiting()]}

    async def _endorse(self, wanted: Endorsement) -> Result:
        fitting = [c for c in self.waiting() if wanted.id and c.id.startswith(wanted.id)]
        if len(fitting) != 1:
            raise UsageError(
                f"{'no' if not fitting else 'more than one'} waiting change is called"
                f" {wanted.id!r}",
                "it may have been signed by enough admins meanwhile, or be forgotten",
                "see `fedtui room changes`",
            )
        (change,) = fitting
        if change.mine:
            raise UsageError(
                "this machine has signed that already",
                f"{change.missing} more must sign",
                "ask the other admins",
            )
        await _operate(self._peer.changes.endorse(change.id))
        left = next((c.missing for c in self.waiting() if c.id == change.id), 0)
        return {"change": change.id, "text": change.text, "missing": left}

    async def _start_rounds(self, wanted: Start) -> Result:
        plan, peer = self._peer.plan, self._peer
        if not plan.start_on_request:
            raise UsageError(
                "the rounds of this room begin by themselves",
                "its founder did not say --start-on-request",
            )
        if peer.done:
            raise UsageError("all rounds of the room are done", remedy="make a new room")
        me = peer.members.get(peer.identity.peer_id)
        if me is None or not me.starts_rounds:
            raise TrustError(
                "this machine may not start rounds",
                "no admin has given it that right",
                f"ask an admin for `fedtui room permit {self._name(peer.identity.peer_id)}"
                " --start-rounds`",
            )
        if wanted.rounds < 0:
            raise UsageError("the number of rounds cannot be negative")
        begun = max(peer.started, peer.round - 1)
        through = min(plan.rounds, begun + wanted.rounds) if wanted.rounds else plan.rounds
        if through <= peer.started:
            raise UsageError("all rounds of the room have been started already")
        await _operate(peer.changes.start_rounds(through))
        return {"through": peer.started, "round": peer.round}

    async def _change_key(self, _: Nothing) -> Result:
        """Another key for this machine in this room, from the next commit on."""
        if self._peer.done:
            raise UsageError(
                "all rounds of the room are done",
                "a new key takes the old one's place with a round's commit, and none will come",
                "make a new room",
            )
        new = await asyncio.to_thread(next_identity, self._room.paths)
        made = await _operate(self._peer.changes.change_key(new))
        waiting = any(change.id == made.id for change in self.waiting())
        return {
            "peer": new.peer_id,
            "words": list(fingerprint_words(new.peer_id)),
            "round": self._peer.round,
            "needs_others": waiting,
            "change": made.id,
        }

    async def leave(self) -> None:
        """Takes this machine out of the room. Raises :class:`FedtuiError` for the last admin."""
        me = self._peer.identity.peer_id
        admins = self._peer.admins
        if me in admins and len(admins) - 1 < self._peer.admin_threshold:
            raise UsageError(
                "the room would have too few admins",
                f"{len(admins) - 1} would be left, and {self._peer.admin_threshold} must sign who"
                " comes and goes",
                "make somebody else an admin first (`fedtui room promote PEER`; key 8, M), or leave"
                " without telling: `fedtui room leave --anyway`",
            )
        await _operate(self._peer.changes.remove_member(me))
        self._trust.note("left", me, self._room.name, room=self._room.id)

    async def _trust_history(self, _: Nothing) -> Result:
        return {"events": [asdict(event) for event in self._trust.history()]}

    async def _verify(self, wanted: Verification) -> Result:
        member = self._member(wanted.peer)
        name = display_name(member)
        mark: Kind = "verified" if wanted.verified else "unverified"
        self._trust.note(mark, member.peer_id, name, room=self._room.id)
        return asdict(self._member_view(member))

    # --- inside ------------------------------------------------------------------------------
    def _member(self, wanted: str) -> Member:
        return member_named(wanted, tuple(self._peer.members.values()))

    def _refuse_pause(self, member: Member, command: str) -> None:
        if self._peer.changes.removal_pauses(member.peer_id):
            raise UsageError(
                f"without {display_name(member)} too few voters would be left",
                "the room would be paused, and only `fedtui room recover` could end that",
                f"wait until others vote too, or say `{command} … --anyway`",
            )


def require_admin(peer: Peer) -> None:
    """Raises :class:`TrustError` unless this machine is an admin's."""
    if peer.identity.peer_id not in peer.admins:
        raise TrustError(
            "only an admin of the room can do that",
            "this machine is a member without that right",
            "ask an admin; `fedtui room members` names them",
        )


async def _operate(change: Awaitable[Operation]) -> Operation:
    try:
        async with asyncio.timeout(ROOM_OPERATION_S):
            return await change
    except TimeoutError as error:
        raise NetworkError(
            "it is not known whether the change took effect",
            f"nobody confirmed it in {ROOM_OPERATION_S:.0f} s; it may still take effect",
            "look at `fedtui room members` and `fedtui status` before you try again",
        ) from error
    except P2PError as error:
        raise translated(error) from error


def _told(member: Member) -> dict[str, str]:
    return {"peer": member.peer_id, "name": display_name(member)}


def member_named(wanted: str, members: tuple[Member, ...]) -> Member:
    """The member with this name, or whose id begins so. Raises :class:`UsageError`."""
    folded = wanted.strip().casefold()
    fitting = [m for m in members if display_name(m).casefold() == folded]
    fitting = fitting or [m for m in members if len(folded) >= 4 and m.peer_id.startswith(folded)]
    if len(fitting) == 1:
        return fitting[0]
    told = ", ".join(f"{display_name(m)} ({m.peer_id[:8]})" for m in fitting or members)
    raise UsageError(
        f"{'no' if not fitting else 'more than one'} member is called {wanted!r}",
        f"there {'are' if fitting else 'is'} {told}",
        "say the beginning of the id",
    )
