"""Who was removed from a room: by whom, for what reason, and what the removed must be shown."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass

from p2p.errors import RemovedError, TrustError
from p2p.membership import Membership
from p2p.operations import KeyChange, MemberAdd, MemberRemove, Operation, is_goodbye
from p2p.room import Genesis
from p2p.rounds.core import RoundCore
from p2p.rounds.driver import read_commit
from p2p.rounds.effects import Journal
from p2p.status import display_name


def operations_of(core: RoundCore) -> tuple[Operation, ...]:
    """Every change of the membership that acts, since the genesis, in order."""
    committed = [
        operation
        for record in core.journal.commits
        for operation in read_commit(record.payload)[0].operations
    ]
    return (*committed, *core.acting_operations())


@dataclass(frozen=True)
class Removals:
    """The removals that ``core`` has heard of, beside the ``membership`` that acts now."""

    genesis: Genesis
    core: RoundCore
    membership: Membership

    def of(self, peer: str) -> Operation | None:
        """What removed a key, signed by whoever did; None while admins' signatures are missing."""
        waiting = {operation.id for operation in self.core.waiting_operations()}
        now = self.membership.now
        return next(
            (
                operation
                for operation in reversed(operations_of(self.core))
                if isinstance(operation.change, MemberRemove)
                and now(operation.change.subject) == peer
                and operation.id not in waiting
            ),
            None,
        )

    def reason(self, peer: str) -> str:
        """What the admins said when they removed a member."""
        told = (operation.change for operation in reversed(operations_of(self.core)))
        now = self.membership.now
        said = (c.reason for c in told if isinstance(c, MemberRemove) and now(c.peer) == peer)
        return next(said, None) or ""

    def certificates(self) -> dict[str, bytes]:
        """Of those whom admins removed, as far as this node ever had a record of them."""
        if self.core.me not in self.membership.members:
            return {}
        known = {member.peer_id: member.certificate for member in self.genesis.members}
        for operation in operations_of(self.core):
            match operation.change:
                case MemberAdd(member=member):
                    known[member.peer_id] = member.certificate
                case KeyChange(key=key, certificate=certificate):
                    known[key] = certificate
        return {peer: b64decode(known[peer]) for peer in self.membership.removed if peer in known}

    def notice(self, peer: str) -> list[bytes]:
        """What the holder of a key that is no member's any more must see to know that."""
        if peer in self.membership.successors:
            return [envelope.to_bytes() for envelope in self.core.commits_until_rekeyed(peer)]
        removal = self.of(peer)
        assert removal is not None
        return [self.core.notice(removal).to_bytes()]

    def leaves_open(self, journal: Journal) -> bool:
        """Whether this machine may be a member although its own ledger does not say so: its key
        was given up, which the next one has to hear of, or has taken another one's place by a
        commit that this machine has lost; who admitted it knows the other one."""
        me = self.core.me
        return me in self.membership.successors or (journal.amnesia and self.of(me) is None)

    def refusal(self) -> TrustError:
        """Why this machine is not a member."""
        removal = self.of(self.core.me)
        if removal is None:
            return TrustError("this machine's identity is not a member of the room")
        change = removal.change
        assert isinstance(change, MemberRemove)
        if is_goodbye(change):
            return RemovedError("it left the room")
        founders = {member.peer_id: member for member in self.genesis.members}
        known = {**founders, **self.membership.members}
        names = [display_name(known[p]) if p in known else p[:8] for p in sorted(removal.signers)]
        return RemovedError(
            f"signed by {', '.join(names)}{f': {change.reason}' if change.reason else ''}"
        )
