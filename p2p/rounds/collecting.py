"""Taking in what members hand round: contributions, and changes of the membership."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from p2p.envelope import Envelope
from p2p.errors import ProtocolError
from p2p.limits import MAX_MEMBERS
from p2p.messages import (
    MAX_LISTED,
    Commit,
    Contribution,
    Operations,
    Receipt,
    Want,
    parse,
    parse_result,
)
from p2p.operations import Change, KeyChange, Operation, is_goodbye
from p2p.rounds import rules
from p2p.rounds.base import RoundBase
from p2p.rounds.effects import (
    FetchBlob,
    MembersChanged,
    OperationHeard,
)
from p2p.rounds.rules import MAX_COUNTED, SHORT_ID
from p2p.workload import Verdict

MAX_QUOTED_PER_PEER = 4
"""With the inputs that leaders quote, whom a member that sends everybody another one may have told
more."""
MAX_EXTRA = MAX_LISTED - 2 * MAX_MEMBERS
"""Manifests beyond ``MAX_COUNTED`` of a member that a leader takes in because voters report them:
everybody else's still fit."""
UNWANTED = Verdict(False, rules.NO_PARTICIPANT)
"""Of a contribution whose blob is not fetched, because its author cannot count."""
SEVERAL = Verdict(False, rules.SEVERAL)
"""Of a contribution beyond those of its author that are fetched."""
MAX_COMMITS_TOLD = 128
"""To a member whose key has been given up, the last ones: it can fetch none."""
OFFER_FANOUT = 3
"""How many members are offered changes of the membership with each repetition."""


class Collecting(RoundBase):
    """Knows contributions and operations, and whom to tell of them."""

    # --- contributions ---------------------------------------------------------------------------
    def _on_contribution(self, sender: str, envelope: Envelope) -> None:
        if self._learn(envelope):
            self._round.last_contribution_at = self._now
        if sender == envelope.signer:
            known = envelope.id in self._round.contributions
            receipt = Receipt(
                round=self.round,
                contribution=envelope.id,
                verdict="stored" if known else "rejected",
            )
            self._send(sender, self._signer.seal(receipt))
        self._look_for_cut()
        self._lead()

    def _learn(self, envelope: Envelope, most: int = MAX_COUNTED) -> bool:
        """Remembers a contribution and has its blob fetched; False when it was known or is one
        too many."""
        contribution = self._read_contribution(envelope)
        state = self._round
        if envelope.id in state.contributions or len(state.contributions) >= MAX_LISTED:
            return False
        of_peer = [c for c in state.contributions.values() if c.peer == contribution.peer]
        extra = len(of_peer) >= most
        if extra and not self._needs_extra(envelope.id, contribution.peer):
            return False
        state.contributions[envelope.id] = contribution
        state.envelopes[envelope.id] = envelope
        if contribution.peer == self.me and not extra:
            state.own = envelope.id
            state.last_contribution_at = self._now
        if extra:
            state.extra.add(envelope.id)
            state.verdicts[envelope.id] = SEVERAL
        elif self._wants(contribution):
            self._out.append(FetchBlob(envelope.id, contribution))
        else:
            state.verdicts[envelope.id] = UNWANTED
        return True

    def _contribution_in(self, envelope: Envelope) -> Contribution:
        contribution = parse(envelope.type, envelope.payload)
        if not isinstance(contribution, Contribution):
            raise ProtocolError("a contribution was expected")
        return contribution

    def _read_contribution(self, envelope: Envelope) -> Contribution:
        contribution = self._contribution_in(envelope)
        rules.check_spelling(contribution, envelope)
        rules.check_contribution(contribution, envelope.signer, self.facts)
        if not self._admissions.knows(envelope.signer):
            raise ProtocolError("a contribution came from a stranger")
        return contribution

    def _needs_extra(self, id_: str, author: str) -> bool:
        """Whether somebody else's report cannot be quoted without it. Honest members report at
        most ``MAX_QUOTED_PER_PEER`` of each author; one that reports more is taken in no further.
        """
        state = self._round
        if len(state.extra) >= MAX_EXTRA:
            return False
        known = {i[:SHORT_ID] for i, c in state.contributions.items() if c.peer == author}
        return any(
            id_[:SHORT_ID] in report.have
            and len(known.intersection(report.have)) < MAX_QUOTED_PER_PEER
            for signer, (_, report) in self._attempt.reports.items()
            if signer != author
        )

    def _forget_extra(self) -> None:
        """What the reports of one attempt made necessary; those of the next are others."""
        self._drop(tuple(self._round.extra))

    def _forget_strangers(self) -> None:
        """What newcomers contributed that have left before any commit named them. Whoever knows
        that takes it from nobody, so whoever has it could agree with them on no result. What is
        being proposed is left alone: the next attempt begins without."""
        if self._attempt.draft is None and self._attempt.heard is None:
            known = self._round.contributions.items()
            self._drop([id_ for id_, c in known if not self._admissions.knows(c.peer)])

    def _drop(self, contributions: Collection[str]) -> None:
        state = self._round
        for id_ in contributions:
            del state.contributions[id_], state.envelopes[id_]
            state.verdicts.pop(id_, None)
        state.extra.difference_update(contributions)
        if state.own in contributions:
            state.own = None

    def _wants(self, contribution: Contribution) -> bool:
        """Whether its author may count in this round, by commit or by what is under way."""
        author = contribution.peer
        trains = self.facts.membership.trains(author) or self.membership.trains(author)
        return trains and self.facts.asks(author)

    def _refetch(self, contributions: Iterable[str]) -> None:
        for id_ in list(contributions):
            del self._round.verdicts[id_]
            self._out.append(FetchBlob(id_, self._round.contributions[id_]))

    def _on_want(self, signer: str, want: Want) -> None:
        for id_, envelope in self._round.envelopes.items():
            if id_[:SHORT_ID] in want.contributions:
                self._send(signer, envelope)

    # --- the membership --------------------------------------------------------------------------
    def sign(self, change: Change) -> Operation:
        """An operation of this node's own, as yet known to nobody."""
        return Operation.of(self._signer.seal(change))

    def notice(self, operation: Operation) -> Envelope:
        """A message that brings an operation to somebody whom it is not spread to."""
        return self._signer.seal(Operations(offered=(operation,)))

    def commits_until_rekeyed(self, peer: str) -> list[Envelope]:
        """The commits up to the one that gave a member's key up: with the old key it cannot fetch
        them any more."""
        last, _ = self.rekeyed_in(peer)
        records = self.journal.commits[max(0, last - MAX_COMMITS_TOLD) : last]
        return [self._signer.seal(parse(Commit.kind, record.payload)) for record in records]

    def rekeyed_in(self, peer: str) -> tuple[int, str | None]:
        """The round whose commit gave a key up, 0 if none has; and another member that has that
        commit, because it led the attempt that decided."""
        for record in self.journal.commits:
            commit = parse(Commit.kind, record.payload)
            assert isinstance(commit, Commit)
            result = parse_result(commit.body)
            led_here = result.proposer == self.me or result.attempt != commit.qc.attempt
            for operation in result.operations:
                if isinstance(operation.change, KeyChange) and operation.change.author == peer:
                    return record.round, None if led_here else result.proposer
        return 0, None

    @property
    def gives_key_up(self) -> bool:
        """Whether this node has asked for another key, or has one already."""
        asked = self.journal.operations.values()
        under_way = any(isinstance(op.change, KeyChange) and op.change.author == self.me
                        for op in asked)  # fmt: skip
        return under_way or self.me in self.membership.successors

    @property
    def leaves(self) -> bool:
        """Whether this node has said goodbye, and is a member until a commit holds that."""
        asked = self.journal.operations.values()
        return self.me in self.members and any(
            is_goodbye(op.change) and op.change.author == self.me for op in asked
        )

    def commit_in(self, data: bytes) -> int:
        """The round of the commit that an envelope, which was accepted, brings; 0 for another."""
        envelope = self._signer.open(data.decode())
        if envelope.type != Commit.kind:
            return 0
        commit = parse(Commit.kind, envelope.payload)
        assert isinstance(commit, Commit)
        return commit.round

    def check_operation(self, operation: Operation) -> None:
        """Raises :class:`ProtocolError` when :meth:`on_operation` would refuse it."""
        self._admissions.learn(operation)

    def acting_operations(self) -> list[Operation]:
        """Changes that act already and that no commit holds yet."""
        return self._admissions.acting()

    def has_operation(self, operation: Operation) -> bool:
        """Whether it is remembered here, or has had its effect."""
        return self._admissions.has(operation)

    def waiting_operations(self) -> tuple[Operation, ...]:
        """Changes that hold as soon as more admins sign them, oldest first."""
        return self._admissions.waiting()

    def last_round(self, operation: Operation) -> int:
        """The round with whose commit such a change is forgotten."""
        return self._admissions.last_round(operation)

    def is_anchored(self, operation: Operation) -> bool:
        """Whether a result of this history can hold it."""
        return self._admissions.is_anchored(operation)

    def next_number(self, subject: str = "") -> int:
        """The ``seq`` of this node's next change of the membership."""
        return self._admissions.next_number(self.me, subject)

    def _on_operations(self, sender: str, signer: str, message: Operations) -> None:
        self._admissions.acknowledged(signer, message.known)
        refused: ProtocolError | None = None
        for operation in message.offered:
            try:
                self._learn_operation(operation)
            except ProtocolError as error:
                refused = error
        held = tuple(op.id for op in message.offered if self._admissions.has(op))
        self._admissions.acknowledged(signer, held)
        if held and sender == signer:
            self._send(signer, self._signer.seal(Operations(known=held)))
        self._go_on()
        if refused is not None:
            raise refused

    def _learn_operation(self, operation: Operation) -> Operation | None:
        news = self._admissions.learn(operation)
        if news is not None:
            self._persist(OperationHeard(self.round, news))
            if self._admissions.refold():
                self._out.append(MembersChanged(self.membership))
                self._forget_strangers()
                state = self._round
                unwanted = [id_ for id_, v in state.verdicts.items() if v == UNWANTED]
                self._refetch(id_ for id_ in unwanted if self._wants(state.contributions[id_]))
        return news

    def _offer_operations(self) -> None:
        """Tells some of those who may not know what is under way; over time, all of them."""
        if not self.journal.operations:
            return
        there = sorted((self.alive & self.members.keys()) - {self.me})
        start = self._offered % max(1, len(there))
        self._offered += OFFER_FANOUT
        for peer in (there[start:] + there[:start])[:OFFER_FANOUT]:
            if missing := self._admissions.offer_to(peer):
                self._send(peer, self._signer.seal(Operations(offered=missing)))
