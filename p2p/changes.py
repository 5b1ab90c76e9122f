"""Changes of who belongs to a room and what they may, as a person on this machine makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from p2p.envelope import Envelope
from p2p.errors import ProtocolError
from p2p.identity import Identity
from p2p.operations import (
    MAX_REASON,
    AdminChange,
    Change,
    KeyChange,
    MemberAdd,
    MemberRemove,
    Operation,
    RoomFork,
    RoundStart,
)
from p2p.room import Continuation, Member, read_genesis
from p2p.rounds.core import RoundCore
from p2p.rounds.driver import RoundDriver
from p2p.rounds.signing import EnvelopeSigner
from p2p.text import clean_text


class Changes:
    """Signs changes in this node's name and brings them into the room.

    Each method returns when the change is durable here and on its way, with all signatures that
    are known of it.
    """

    def __init__(self, room_id: str, core: RoundCore, driver: RoundDriver) -> None:
        self._room_id = room_id
        self._core = core
        self._driver = driver

    def waiting_operations(self) -> tuple[tuple[Operation, int], ...]:
        """Changes that wait for the signatures of more admins (see :meth:`endorse`), oldest first,
        and the round with whose commit each is forgotten."""
        waiting = self._core.waiting_operations()
        return tuple((operation, self._core.last_round(operation)) for operation in waiting)

    async def add_member(self, member: Member) -> Operation:
        """Admits a key, or replaces the record of a member; its name is cleaned. Everybody opens
        the door to it when this returns, or, where several admins must sign, when they have.

        Raises:
            ProtocolError: the key was removed once, the room is full, or this node is no admin.
            StorageError: the disk refused.
        """
        member = member.model_copy(update={"name": clean_text(member.name)})
        return await self._operate(MemberAdd(**self._header(member.peer_id), member=member))

    async def remove_member(self, peer_id: str, reason: str = "") -> Operation:
        """Removes a key for good: its connections are closed at once, its vote ends with the next
        commit. With this node's own id it is a goodbye that needs nobody's consent.

        Raises:
            ProtocolError: too few admins would be left, or this node is no admin.
            StorageError: the disk refused.
        """
        text = clean_text(reason, MAX_REASON) if reason.strip() else None
        return await self._operate(MemberRemove(**self._header(peer_id), peer=peer_id, reason=text))

    def removal_pauses(self, peer_id: str) -> bool:
        """Whether the voters without ``peer_id`` are fewer than a quorum: its removal could not be
        committed, and the room would be paused until it is forked."""
        facts = self._core.facts
        return peer_id in facts.voters and facts.needs({peer_id})

    async def start_rounds(self, through: int) -> Operation:
        """Lets the rounds up to and including ``through`` begin, where the plan has them wait.

        Raises:
            ProtocolError: they have been started, or this member may not.
            StorageError: the disk refused.
        """
        return await self._operate(RoundStart(**self._header("rounds"), through=through))

    async def change_key(self, new: Identity) -> Operation:
        """Gives this member another key, which takes its place with the next commit; until then
        this node goes on as before. ``key.changed`` says when the node is to start with the other:
        not before another member knows that commit, because whoever does not refuses the new key.

        Raises:
            ProtocolError: this node is no member, changes its key already, or the new key was
                somebody's.
            StorageError: the disk refused.
        """
        me = self._core.membership.members.get(self._core.me)
        if me is None:
            raise ProtocolError("only a member can change its key")
        certificate = Member.of(new, me.name).certificate
        header = self._header(self._core.me)
        change = KeyChange(**header, key=new.peer_id, certificate=certificate)
        both = self._core.sign(change).joined(
            Operation.of(EnvelopeSigner(new, self._room_id).seal(change))
        )
        return await self._driver.hand_in(both)

    async def change_admins(self, admins: Sequence[str], threshold: int = 1) -> Operation:
        """Replaces the admins and how many of them must sign; a ``threshold`` above their number
        asks all of them. Raises as :meth:`add_member`."""
        change = AdminChange(**self._header(), admins=tuple(sorted(admins)), threshold=threshold)
        return await self._operate(change)

    async def fork(self, genesis_envelope: Envelope) -> Operation:
        """Tells every member of this room that its admins go on in another one, which names this
        room and its head (:class:`p2p.room.Continuation`). Nothing ends here by itself: whoever
        sees the fork decides whether to join the other room.

        Raises:
            ProtocolError: the genesis does not go on from where this node stands, or this node is
                no admin.
            StorageError: the disk refused.
        """
        begun = read_genesis(genesis_envelope).continues
        here = Continuation(room=self._room_id, round=self._core.round - 1, head=self._core.head)
        if begun != here:
            raise ProtocolError("a fork must go on from the last commit of this room")
        change = RoomFork(
            **self._header(), genesis=genesis_envelope.id, round=here.round, head=here.head
        )
        return await self._operate(change)

    async def endorse(self, operation_id: str) -> Operation:
        """Adds this admin's signature to a change that waits for it. Raises as
        :meth:`add_member`; KeyError when there is none of that id."""
        operation = self._core.journal.operations[operation_id]
        if not self._core.is_anchored(operation):
            # With all signatures it would close connections, and no result could ever hold it.
            raise ProtocolError(
                "the change was made after a round that this node does not know",
                remedy="Try again when this node has caught up, or ask for the change anew.",
            )
        return await self._operate(operation.change)

    async def hand_in(self, operation: Operation) -> Operation:
        """Takes in a signed change that somebody brought. Raises as :meth:`add_member`."""
        return await self._driver.hand_in(operation)

    def _header(self, subject: str = "") -> dict[str, Any]:
        number = self._core.next_number(subject)
        return {"author": self._core.me, "seq": number, "after": self._core.head}

    async def _operate(self, change: Change) -> Operation:
        return await self._driver.hand_in(self._core.sign(change))
