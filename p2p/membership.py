"""Who belongs to a room: the founding members and every change since, in order.

Folded along the ledger it is equal on all members. Folded further over the operations that no
round has committed yet, it says whom to connect to now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from p2p.envelope import decode_base64
from p2p.errors import ProtocolError
from p2p.limits import MAX_KEY_CHANGES, MAX_MEMBERS
from p2p.operations import (
    MAX_REASON,
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
from p2p.room import Genesis, Member
from p2p.text import clean_text

Verify = Callable[[str, str, bytes, bytes], bool]
"""``verify(peer, kind, payload, signature)``: whether the peer signed that in this room."""


class SignaturesMissing(ProtocolError):
    """A change that would hold if more admins signed it."""


@dataclass(frozen=True)
class Membership:
    """The members of a room at one moment.

    ``last`` holds, for each author and subject, the number of the last change that took effect:
    an older one never comes back. Keys that admins ``removed`` never come back either; whoever
    left by itself may be admitted again. ``successors`` maps given-up keys to those that took their
    places: what admins decide about the former holds for the latter. ``started`` is the last round
    that somebody entitled has started; ``fork`` is where the admins went on without this room.
    """

    members: Mapping[str, Member]
    admins: frozenset[str]
    threshold: int
    removed: frozenset[str] = frozenset()
    last: Mapping[tuple[str, str], int] = field(default_factory=dict)
    started: int = 0
    successors: Mapping[str, str] = field(default_factory=dict)
    fork: RoomFork | None = None

    @classmethod
    def founding(cls, genesis: Genesis) -> Membership:
        """As the genesis says."""
        members = {member.peer_id: member for member in genesis.members}
        return cls(members, frozenset(genesis.admins), genesis.admin_threshold)

    def trains(self, peer: str) -> bool:
        member = self.members.get(peer)
        return member is not None and member.trains

    @property
    def needed(self) -> int:
        """How many admins must sign a change: all of them while they are fewer than the
        threshold, which a founder may have set before there was a second one."""
        return min(self.threshold, len(self.admins))

    def now(self, peer: str) -> str:
        """The key that took the place of ``peer``'s, or of its successor's; itself if none has."""
        while peer in self.successors:
            peer = self.successors[peer]
        return peer

    def heir(self, peer: str, before: Membership) -> str:
        """The key that took the place of ``peer``'s since ``before``. One that was given up even
        earlier has no heir: whoever still signs with it speaks for nobody."""
        return peer if peer in before.successors else self.now(peer)

    def counts(self, author: str, before: Membership) -> bool:
        """Whether a contribution counts in the round that leads from ``before`` to this: its author
        trains, and has not begun with this round to be another's key, or it would count twice."""
        begun = self.successors.keys() - before.successors.keys()
        heir = self.heir(author, before)
        return self.trains(heir) and author not in {self.successors[old] for old in begun}

    def is_outdated(self, operation: Operation) -> bool:
        """Whether it, or something later of its author about the subject, has taken effect."""
        change = operation.change
        return self.last.get((change.author, self.now(change.subject)), 0) >= change.seq

    def after(self, operation: Operation) -> Membership:
        """The membership once an operation, whose signatures are known to be real, takes effect.

        Raises:
            SignaturesMissing: too few admins have signed.
            ProtocolError: it contradicts what holds now.
        """
        change, signers = operation.change, operation.signers
        _check_text(change)
        if self.is_outdated(operation):
            raise ProtocolError("a change of the membership is outdated")
        if change.author not in signers:
            raise ProtocolError("a change of the membership is not signed by its author")
        if change.author not in self.entitled(change):
            raise ProtocolError("a change of the membership was made by somebody who may not")
        alone = _needs_one(change) and not (
            isinstance(change, KeyChange) and change.author in self.admins
        )
        if not alone and len(signers & self.admins) < self.needed:
            raise SignaturesMissing("a change of the membership needs more admins to sign it")
        changed = self._changed(change, signers)
        last = {**changed.last, (change.author, changed.now(change.subject)): change.seq}
        return replace(changed, last=last)

    def entitled(self, change: AnyChange) -> frozenset[str]:
        """Who may make such a change: most of them, an admin."""
        if isinstance(change, RoundStart):
            starters = {peer for peer, m in self.members.items() if m.permissions.start_rounds}
            return self.admins | starters
        if isinstance(change, KeyChange):
            return frozenset(self.members)
        if is_goodbye(change):
            return frozenset(self.members)
        return self.admins

    def _changed(self, change: AnyChange, signers: frozenset[str]) -> Membership:
        match change:
            case MemberAdd():
                return self._with(change.member)
            case MemberRemove():
                return self._without(change.peer, is_goodbye(change))
            case KeyChange():
                return self._rekeyed(change, signers)
            case AdminChange():
                return self._led_by(change, signers)
            case RoundStart():
                if change.through <= self.started:
                    raise ProtocolError("these rounds have been started already")
                return replace(self, started=change.through)
            case RoomFork():
                return replace(self, fork=change)

    def _with(self, member: Member) -> Membership:
        heir = self.members.get(self.now(member.peer_id))
        if heir is not None:
            kept = {"peer_id": heir.peer_id, "certificate": heir.certificate}
            member = member.model_copy(update=kept)
        if member.peer_id in self.removed:
            raise ProtocolError(
                "this key was removed from the room, and removed keys do not come back",
                remedy="The machine needs a new identity.",
            )
        known = self.members.get(member.peer_id)
        if known is None and len(self.members) >= MAX_MEMBERS:
            raise ProtocolError(f"a room has at most {MAX_MEMBERS} members")
        if (member.role == "admin") != (member.peer_id in self.admins) and (
            known is None or known.role != member.role
        ):
            raise ProtocolError("who is an admin is changed by the admins' own operation")
        return replace(self, members={**self.members, member.peer_id: member})

    def _rekeyed(self, change: KeyChange, signers: frozenset[str]) -> Membership:
        old, new = change.author, change.key
        if new not in signers:
            raise ProtocolError("a new key has not signed that it takes another's place")
        if new in self.members or new in self.removed or new in self.successors.values():
            raise ProtocolError("a new key has been somebody's before")
        if sum(self.now(given_up) == old for given_up in self.successors) >= MAX_KEY_CHANGES:
            raise ProtocolError(f"a member may change its key {MAX_KEY_CHANGES} times")
        members = dict(self.members)
        heir = {"peer_id": new, "certificate": change.certificate}
        members[new] = members.pop(old).model_copy(update=heir)
        return replace(
            self,
            members=members,
            admins=frozenset(new if admin == old else admin for admin in self.admins),
            removed=self.removed | {old},
            last=self._last_about(old, new),
            successors={**self.successors, old: new},
        )

    def _last_about(self, old: str, new: str) -> dict[tuple[str, str], int]:
        """:attr:`last` with what was said of ``old`` said of ``new``, who may have been a member
        before and left: the later word holds."""
        last: dict[tuple[str, str], int] = {}
        for (author, subject), seq in self.last.items():
            about = author, new if subject == old else subject
            last[about] = max(last.get(about, 0), seq)
        return last

    def _without(self, peer: str, has_left: bool) -> Membership:
        peer = self.now(peer)
        admins = self.admins - {peer}
        if len(admins) < self.needed:
            raise ProtocolError(
                "the room would have fewer admins than must sign a change",
                remedy="Name another admin first.",
            )
        members = {id_: member for id_, member in self.members.items() if id_ != peer}
        removed = self.removed if has_left else self.removed | {peer}
        return replace(self, members=members, admins=admins, removed=removed)

    def _led_by(self, change: AdminChange, signers: frozenset[str]) -> Membership:
        admins = frozenset(map(self.now, change.admins))
        if not admins <= self.members.keys():
            raise ProtocolError("an admin must be a member")
        grows = change.threshold <= self.threshold and len(admins) >= len(self.admins)
        if len(admins) < change.threshold and not grows:
            raise ProtocolError("a room cannot ask for more signatures than it has admins")
        if len(signers & admins) < min(change.threshold, len(admins)):
            raise SignaturesMissing("the new admins must sign the change, too")
        members = dict(self.members)
        for peer in admins ^ self.admins:
            if peer in members:
                role = "admin" if peer in admins else "participant"
                members[peer] = members[peer].model_copy(update={"role": role})
        return replace(self, members=members, admins=admins, threshold=change.threshold)

    def folded(self, operations: Iterable[Operation]) -> Membership:
        """The membership after several operations, in the order given.

        Raises:
            ProtocolError: one of them does not apply.
        """
        membership = self
        for operation in operations:
            membership = membership.after(operation)
        return membership

    def applicable(self, operations: Collection[Operation]) -> tuple[Operation, ...]:
        """Those of ``operations`` that can take effect one after the other, in such an order.

        The order depends on the set alone: starts of rounds first, which no crowd of newcomers may
        push out of a result; then by number and author; what only becomes possible by another one
        comes after it. A key is given up after all that it has signed, which holds with it, and
        before all that is said of its successor.
        """
        waiting = sorted(operations, key=_line(operations))
        chosen: list[Operation] = []
        membership, stuck = self, False
        while waiting and not stuck:
            stuck = True
            for operation in list(waiting):
                try:
                    membership = membership.after(operation)
                except ProtocolError:
                    continue
                waiting.remove(operation)
                chosen.append(operation)
                stuck = False
        return tuple(chosen)


def _check_text(change: AnyChange) -> None:
    """Refuses text that cannot be shown as it is, before anybody is asked to sign it."""
    match change:
        case MemberAdd(member=member) if clean_text(member.name) != member.name:
            raise ProtocolError("a member's name holds characters that are not shown")
        case MemberRemove(reason=str(reason)) if clean_text(reason, MAX_REASON) != reason:
            raise ProtocolError("a reason holds characters that are not shown")


def _needs_one(change: AnyChange) -> bool:
    """Whether its author's word is enough."""
    return is_goodbye(change) or isinstance(change, RoundStart | KeyChange)


def _line(
    operations: Collection[Operation],
) -> Callable[[Operation], tuple[bool, int, int, str, str]]:
    """The order in which operations are tried."""
    last_said: dict[str, int] = {}
    for operation in operations:
        for peer in operation.signers:
            last_said[peer] = max(last_said.get(peer, 0), operation.change.seq)
    given_up: dict[str, int] = {}
    for change in (operation.change for operation in operations):
        if isinstance(change, KeyChange):
            number = last_said.get(change.author, 0)
            given_up[change.key] = max(given_up.get(change.key, 0), number)

    def place(operation: Operation) -> tuple[bool, int, int, str, str]:
        change = operation.change
        number, rank = change.seq, 0
        if isinstance(change, KeyChange):
            number, rank = given_up[change.key], 1
        elif change.subject in given_up:
            number, rank = max(number, given_up[change.subject]), 2
        return not isinstance(change, RoundStart), number, rank, change.author, operation.id

    return place


def check_signatures(operation: Operation, verify: Verify) -> None:
    """Whether every signature of an operation is by another member and real.

    Raises:
        ProtocolError: one is not, or the content is malformed.
    """
    kind, payload = operation.change.kind, operation.body.encode()
    if len(operation.signers) != len(operation.signatures):
        raise ProtocolError("a change of the membership is signed twice by the same member")
    for entry in operation.signatures:
        if not verify(entry.peer, kind, payload, decode_base64(entry.signature)):
            raise ProtocolError("a change of the membership has a signature that does not fit")
