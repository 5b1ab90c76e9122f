"""Changes of the membership between their signing and the commit that holds them.

They take effect at once for the question whom to connect to, and by commit for votes and for
counting contributions. Until then every member that knows one offers it to those that do not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Final

from p2p.errors import LimitError, P2PError, ProtocolError
from p2p.limits import MAX_ADMINS
from p2p.membership import Membership, SignaturesMissing, check_signatures
from p2p.messages import MAX_OFFERED, MAX_OPERATIONS, Result
from p2p.operations import (
    AdminChange,
    KeyChange,
    MemberAdd,
    Operation,
    RoundStart,
    is_goodbye,
)
from p2p.rounds.effects import Journal
from p2p.rounds.rules import Facts
from p2p.rounds.signing import Signer, Verifier

MAX_NUMBERS_AHEAD: Final = 1 << 16
MAX_UNDER_WAY: Final = 512
"""A newcomer may have to take the room's whole past in before its first commit."""
MAX_UNSIGNED_PER_AUTHOR: Final = MAX_UNDER_WAY // MAX_ADMINS
"""Of those that lack signatures: a stolen key must not fill the places that its removal needs."""
MAX_UNSIGNED_ADDITIONS_PER_AUTHOR: Final = MAX_UNSIGNED_PER_AUTHOR * 3 // 4
"""Additions among them: newcomers cause those, and must not keep an admin from removing one."""
MAX_STARTS_PER_AUTHOR: Final = 4
"""Starts of rounds that wait for a commit, for the same reason."""
UNSIGNED_ROUNDS: Final = 3
"""Commits after which a change that still lacks signatures, or contradicts what holds, is
forgotten."""
UNSIGNED_UNANCHORED_ROUNDS: Final = 16
"""The same for one that was made after a commit that is not known: who slept hears of changes
before it has caught up, and a commit that there never was must not keep one for ever."""


def verify_operation(operation: Operation, signer: Verifier) -> None:
    """Whether its signatures and the certificate it brings are real.

    Raises:
        ProtocolError: they are not.
    """
    check_signatures(operation, signer.verify)
    change = operation.change
    try:
        match change:
            case MemberAdd(member=member):
                signer.check_certificate(member.certificate, member.peer_id)
            case KeyChange(key=key, certificate=certificate):
                signer.check_certificate(certificate, key)
    except P2PError as error:
        raise ProtocolError(error.cause) from error


class Admissions:
    """What one node knows of the membership: :attr:`current` is what it acts upon now.

    ``vouched`` are the ids of the operations that came with this node's own admission.
    """

    def __init__(
        self, journal: Journal, signer: Signer, facts: Facts, vouched: Collection[str] = ()
    ) -> None:
        self._journal = journal
        self._signer = signer
        self._vouched = frozenset(vouched)
        self._facts = facts
        self._committed = facts.membership
        self._round = facts.round - 1
        self._chain = {facts.room_id: 0, **{c.commit_hash: c.round for c in journal.commits}}
        self._heard: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self._learned = dict.fromkeys(journal.operations, self._round)
        self.current = self._fold()

    def _fold(self) -> Membership:
        return self._committed.folded(self._committed.applicable(self.acting()))

    def acting(self) -> list[Operation]:
        """What acts before a commit holds it.

        A change acts where the commit is known that it was made after: no result could ever hold
        one that names a false commit, and its effect would have no end and be in no ledger. A
        newcomer takes the word of whoever let it in, until it has caught up. A new key waits for
        its commit, because the old one votes until then: of new keys a newcomer is told that have
        their commit, and it would find nobody if it waited for those. A voter leaves with the
        commit if there is none without its vote.
        """
        acting = [
            operation
            for operation in self._journal.operations.values()
            if operation.id in self._vouched
            or (self.is_anchored(operation) and not isinstance(operation.change, KeyChange))
        ]
        leaving = {op.change.author for op in acting if is_goodbye(op.change)}
        leaving &= set(self._facts.voters)
        if leaving and not self._facts.done and self._facts.needs(leaving):
            return [
                op for op in acting if not (is_goodbye(op.change) and op.change.author in leaving)
            ]
        return acting

    def knows(self, peer: str) -> bool:
        """Whether it is or was a member in the eyes of anybody who is up to date."""
        now = self.current
        return peer in self._committed.members or peer in now.members or peer in now.removed

    # --- taking in -------------------------------------------------------------------------------
    def learn(self, operation: Operation) -> Operation | None:
        """What to remember: the operation with all signatures known; None when it is no news.

        Raises:
            ProtocolError: a signature is wrong, or it contradicts what holds.
        """
        known = self._journal.operations.get(operation.id)
        merged = operation if known is None else known.joined(operation)
        if merged == known or self.current.is_outdated(operation):
            return None
        verify_operation(operation, self._signer)
        if not operation.signers <= self._entitled(operation):
            raise ProtocolError("a change of the membership is signed by somebody who may not")
        if known is None:
            if self._has_expired(operation):
                return None
            self._require_place(operation)
            self._learned.setdefault(operation.id, self._round)
        return merged

    def _require_place(self, operation: Operation) -> None:
        """Raises :class:`LimitError` when too many wait already, :class:`ProtocolError` when it
        contradicts what holds."""
        author, under_way = operation.change.author, self._journal.operations.values()
        if len(under_way) >= MAX_UNDER_WAY:
            raise LimitError("too many changes of the membership are under way")
        of_author = [op for op in under_way if op.change.author == author]
        starts = sum(isinstance(op.change, RoundStart) for op in of_author)
        if isinstance(operation.change, RoundStart) and starts >= MAX_STARTS_PER_AUTHOR:
            raise LimitError("one member has started rounds too often")
        changes_key = isinstance(operation.change, KeyChange)
        if changes_key and any(isinstance(op.change, KeyChange) for op in of_author):
            raise LimitError(
                "a member changes its key already",
                remedy="Its new key takes the old one's place with the next commit.",
            )
        if self._acts_not_yet(operation):
            unsigned = [op for op in of_author if self._is_unsigned(op)]
            additions = sum(isinstance(op.change, MemberAdd) for op in unsigned)
            is_addition = isinstance(operation.change, MemberAdd)
            if len(unsigned) >= MAX_UNSIGNED_PER_AUTHOR or (
                is_addition and additions >= MAX_UNSIGNED_ADDITIONS_PER_AUTHOR
            ):
                raise LimitError(
                    "too many changes of the membership by one admin wait for signatures",
                    remedy="Ask the other admins to sign those that wait.",
                )

    def _acts_not_yet(self, operation: Operation) -> bool:
        """Whether it has to wait, for signatures or for the commit it was made after. Raises
        :class:`ProtocolError` when it contradicts what holds."""
        try:
            self.current.after(operation)
        except SignaturesMissing:
            return True
        return not self.is_anchored(operation)

    def waiting(self) -> tuple[Operation, ...]:
        """Changes that hold as soon as more admins sign them, oldest first."""
        return tuple(op for op in self._journal.operations.values() if self._lacks_signatures(op))

    def last_round(self, operation: Operation) -> int:
        """The round with whose commit a change is forgotten if it still lacks signatures."""
        begun = self._chain.get(operation.change.after)
        if begun is not None:
            return begun + UNSIGNED_ROUNDS
        return self._learned.get(operation.id, self._round) + UNSIGNED_UNANCHORED_ROUNDS

    def is_anchored(self, operation: Operation) -> bool:
        """Whether it was made after a commit of this history; a result holds no others."""
        return operation.change.after in self._chain

    def _has_expired(self, operation: Operation) -> bool:
        """Whether it has had no effect for so long that it would surprise everybody: it lacks
        signatures, or contradicts what holds by now, and might not do so for ever."""
        if self.last_round(operation) > self._round or self.current.is_outdated(operation):
            return False
        try:
            self.current.after(operation)
        except ProtocolError:
            return True
        return False

    def _lacks_signatures(self, operation: Operation) -> bool:
        try:
            self.current.after(operation)
        except SignaturesMissing:
            return True
        except ProtocolError:
            return False
        return False

    def _is_unsigned(self, operation: Operation) -> bool:
        """Whether it has had no effect yet."""
        return not self.current.is_outdated(operation)

    def _entitled(self, operation: Operation) -> frozenset[str]:
        change = operation.change
        entitled = self.current.entitled(change) | self._committed.entitled(change)
        if isinstance(change, AdminChange):
            return entitled | set(change.admins)
        if isinstance(change, KeyChange):
            admins = self.current.admins | self._committed.admins
            return admins | entitled & {change.author} | {change.key}
        if is_goodbye(change):
            return entitled & {change.author}
        return entitled

    def next_number(self, author: str, subject: str = "") -> int:
        """The ``seq`` of the author's next change.

        It is also greater than those of others about the same subject, so that who left and is
        admitted again before a commit has first left and then come back, on every member. A
        stranger's number that is far ahead is not followed: numbers must not run out.
        """
        known = [(who, about, seq) for (who, about), seq in self._committed.last.items()]
        under_way = (op.change for op in self._journal.operations.values())
        known += [(change.author, change.subject, change.seq) for change in under_way]
        own = max((seq for who, _, seq in known if who == author), default=0)
        others = (seq for who, about, seq in known if who != author and about == subject)
        return 1 + max([own, *(seq for seq in others if seq <= own + MAX_NUMBERS_AHEAD)])

    def refold(self) -> bool:
        """After the journal took something in: whether :attr:`current` is another one now."""
        before, self.current = self.current, self._fold()
        return before != self.current

    def committed(self, facts: Facts) -> tuple[str, ...]:
        """After a commit: the ids of the operations that need not be remembered any longer."""
        self._facts = facts
        self._committed = facts.membership
        self._round = facts.round - 1
        self._chain[facts.parent] = self._round
        self.current = self._fold()
        # For as long again, a member that is behind does not bring a forgotten one back.
        recent = self._round - 2 * UNSIGNED_UNANCHORED_ROUNDS
        under_way = self._journal.operations
        self._learned = {
            id_: begun for id_, begun in self._learned.items() if begun > recent or id_ in under_way
        }
        for peer, heard in self._heard.items():
            self._heard[peer] = {entry for entry in heard if entry[0] in under_way}
        return tuple(
            id_ for id_, op in self._journal.operations.items() if not self._has_a_future(op)
        )

    def _has_a_future(self, operation: Operation) -> bool:
        change = operation.change
        if self._committed.now(change.subject) in self._committed.removed:
            return False
        if self._has_expired(operation):
            return False
        if isinstance(change, RoundStart):
            return change.through > self._committed.started
        if self._committed.is_outdated(operation):
            return False
        if self.current.is_outdated(operation):
            return True  # It acts: a newcomer that has left before its commit is not let in by it.
        entitled = self.current.entitled(change) | self._committed.entitled(change)
        # A newcomer was told of those, too, who might for a while and may no longer.
        return operation.id in self._vouched or change.author in entitled

    # --- putting into a result -------------------------------------------------------------------
    def ready(self) -> tuple[Operation, ...]:
        """What a leader puts into its result."""
        under_way = self._journal.operations.values()
        anchored = [op for op in under_way if self.is_anchored(op)]
        return self._committed.applicable(anchored)[:MAX_OPERATIONS]

    def after(self, result: Result) -> Membership:
        """The membership that a result leads to.

        Raises:
            ProtocolError: one of its operations is not signed as it must be, or does not apply.
        """
        for operation in result.operations:
            if not self.is_anchored(operation):
                raise ProtocolError("a change of the membership belongs to another history")
            verify_operation(operation, self._signer)
        return self._committed.folded(result.operations)

    # --- spreading -------------------------------------------------------------------------------
    def has(self, operation: Operation) -> bool:
        """Whether it need not be offered to this node again."""
        return operation.id in self._journal.operations or self.current.is_outdated(operation)

    def acknowledged(self, peer: str, ids: Collection[str]) -> None:
        """``peer`` has these."""
        under_way = self._journal.operations
        self._heard[peer] |= {
            (id_, len(under_way[id_].signatures)) for id_ in ids if id_ in under_way
        }

    def offer_to(self, peer: str) -> tuple[Operation, ...]:
        """What ``peer`` is not known to have, as many as one message holds: first what has all its
        signatures, then what lacks some, by turns of each author. What ``peer`` has no place for
        is never acknowledged and must not keep the rest from it."""
        heard = self._heard[peer]
        turns: Counter[tuple[bool, str]] = Counter()
        missing: list[tuple[bool, int, Operation]] = []
        for id_, operation in self._journal.operations.items():
            if (id_, len(operation.signatures)) not in heard:
                unsigned = self._is_unsigned(operation)
                kind = unsigned, operation.change.author
                missing.append((unsigned, turns[kind], operation))
                turns[kind] += unsigned
        missing.sort(key=lambda entry: entry[:2])
        return tuple(operation for *_, operation in missing[:MAX_OFFERED])
