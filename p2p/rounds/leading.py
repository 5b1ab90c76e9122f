"""The leader of an attempt: from the reports of a quorum to a proposal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from p2p.blobs.chunks import BlobRef
from p2p.envelope import Envelope
from p2p.errors import ProtocolError
from p2p.limits import MAX_LARGE_MESSAGE_BYTES
from p2p.membership import Membership
from p2p.messages import (
    QC,
    LockClaim,
    NewAttempt,
    Prepared,
    Proposal,
    Result,
    Want,
    parse,
    parse_result,
    value_of,
)
from p2p.operations import Operation
from p2p.rounds import rules
from p2p.rounds.collecting import Collecting
from p2p.rounds.effects import (
    UNAVAILABLE,
    Broadcast,
    Combine,
    Lock,
    ProposalMade,
    SetTimer,
)
from p2p.rounds.rules import SHORT_ID
from p2p.rounds.state import Draft, Heard

MAX_PROPOSAL_TEXT = MAX_LARGE_MESSAGE_BYTES * 3 // 4 - 1024
"""Bytes of the texts a proposal quotes: its envelope spends four bytes on three, and has fields
beside them."""


class Leading(Collecting):
    """Proposes a result when this node's turn has come."""

    def _own_report(self) -> Envelope:
        lock, state = self._locked(), self._round
        have = state.contributions.keys() - state.extra
        return self._signer.seal(
            NewAttempt(
                round=self.round,
                attempt=self.attempt,
                parent=self.head,
                lock=None if lock is None else LockClaim(attempt=lock.attempt, value=lock.value),
                have=tuple(sorted(id_[:SHORT_ID] for id_ in have)),
            )
        )

    def _own_lock(self) -> Envelope:
        lock = self._locked()
        assert lock is not None
        return self._signer.seal(Prepared(body=lock.body, qc=lock.qc))

    def _on_new_attempt(self, envelope: Envelope, message: NewAttempt) -> None:
        if message.parent != self.head:
            raise ProtocolError("a member is on another history")
        rules.check_spelling(message, envelope)
        signer = envelope.signer
        state = self._round
        if message.attempt > state.reached.get(signer, -1):
            state.reached[signer] = message.attempt
            self._begin_patience()
        if message.attempt > self.attempt:
            state.ahead[signer] = envelope
            self._follow()
        elif message.attempt == self.attempt and self.leader == self.me:
            self._attempt.reports[signer] = (envelope, message)
            unknown = self._unknown(message)
            if unknown:
                want = Want(round=self.round, contributions=unknown)
                self._send(signer, self._signer.seal(want))
            self._lead()

    def _unknown(self, report: NewAttempt) -> tuple[str, ...]:
        known = {id_[:SHORT_ID] for id_ in self._round.contributions}
        return tuple(short for short in report.have if short not in known)

    def _usable_reports(self, best: Lock | None, after: Membership) -> dict[str, Envelope]:
        """Reports a proposal may quote: of members, whose lock is proven and whose contributions
        are known."""
        usable = {}
        for signer, (envelope, report) in self._attempt.reports.items():
            if signer not in self.facts.members and signer not in after.members:
                continue
            proven = report.lock is None or (best and report.lock.attempt <= best.attempt)
            if proven and not self._unknown(report):
                usable[signer] = envelope
        return usable

    def _lead(self) -> None:
        """Proposes as soon as this node leads, has a quorum and nothing is worth waiting for."""
        attempt = self._attempt
        if self.done or self.leader != self.me or not self._may_vote():
            return
        if attempt.heard is not None or attempt.draft is not None:
            return
        if self.attempt in self.journal.proposals:
            self._announce(self.journal.proposals[self.attempt])
            return
        best = self._best_lock()
        operations = self._admissions.ready()
        if best is not None:
            operations = parse_result(best.body).operations
        reports = self._usable_reports(best, self.facts.membership.folded(operations))
        ready = reports.keys() & set(self.facts.voters)
        if not self._round.cut:
            # A quorum of others that waits no longer is reason enough to stop waiting, too.
            if len(ready - {self.me}) >= self.quorum:
                self._reach_cut()
            return
        ready |= {self.me}
        if len(ready) < self.quorum:
            return
        if best is not None:
            reports[self.me] = self._own_report()
            self._propose(best.body, best.qc, reports, ())
            return
        if not attempt.gathering:
            attempt.gathering = True
            self._out.append(SetTimer("grace", self.timing.grace))
        unchecked = self._round.contributions.keys() - self._round.verdicts.keys()
        everyone = self.alive & set(self.facts.voters) <= ready
        if (everyone or attempt.grace_over) and (not unchecked or attempt.checks_over):
            self._draft(reports, operations)

    def _best_lock(self) -> Lock | None:
        """The prepared value with the highest attempt that this node can prove and the room can go
        on from."""
        known = (self._locked(), self._round.proof)
        locks = [lock for lock in known if lock is not None and self._has_holder(lock)]
        return max(locks, key=lambda lock: lock.attempt, default=None)

    def _has_holder(self, lock: Lock) -> bool:
        """Whether somebody keeps the result of a certificate on disk: this node, or a voter that
        reports a lock on that very value. No other can have been committed."""
        if lock == self._locked() or self._is_kept(parse_result(lock.body).result_blob):
            return True
        return any(
            report.lock is not None and report.lock.value == lock.value
            for peer, (_, report) in self._attempt.reports.items()
            if peer in self.facts.voters
        )

    def _on_grace(self) -> None:
        """First the patience for more reports ends, then that for blobs still being checked."""
        attempt = self._attempt
        if attempt.grace_over:
            attempt.checks_over = True
        else:
            attempt.grace_over = True
            rest = self.timing.check_share * self._patience(self.attempt)
            self._out.append(SetTimer("grace", rest))
        self._lead()

    def _draft(self, reports: Mapping[str, Envelope], operations: tuple[Operation, ...]) -> None:
        state, facts = self._round, self.facts
        verdicts = {id_: state.verdicts.get(id_, UNAVAILABLE) for id_ in state.contributions}
        after = facts.membership.folded(operations)
        inputs, excluded = rules.select(state.contributions, verdicts, facts, after)
        quoted = {**reports, self.me: self._own_report()}
        draft = Draft(inputs, excluded, quoted, operations)
        if not inputs:
            self._propose_result(draft, facts.previous)
            return
        self._attempt.draft = draft
        parts = rules.parts_of(inputs)
        self._out.append(Combine(self.round, self.attempt, parts, facts.previous))

    def _propose_result(self, draft: Draft, blob: BlobRef) -> None:
        result = self._result(draft, draft.reports, blob)
        listed = [self._round.envelopes[item.contribution] for item in result.listed]
        taken = sum(map(_quoted_bytes, [result.to_bytes().decode(), *map(text_of, listed)]))
        reports = self._fitting(draft.reports, MAX_PROPOSAL_TEXT - taken)
        if len(reports) < len(draft.reports):
            result = self._result(draft, reports, blob)
        self._attempt.draft = None
        self._propose(result.to_bytes().decode(), None, reports, listed)

    def _result(self, draft: Draft, reporters: Iterable[str], blob: BlobRef) -> Result:
        return rules.make_result(
            self.facts,
            self.attempt,
            draft.inputs,
            draft.excluded,
            reporters,
            draft.operations,
            blob,
        )

    def _fitting(self, reports: Mapping[str, Envelope], room: int) -> dict[str, Envelope]:
        """As many reports as have ``room`` bytes, those of voters first and the shortest first;
        this node's own and a quorum in any case."""
        voters, kept, votes = set(self.facts.voters), dict[str, Envelope](), 0
        sizes = {peer: _quoted_bytes(text_of(envelope)) for peer, envelope in reports.items()}
        for peer in sorted(reports, key=lambda p: (p != self.me, p not in voters, sizes[p], p)):
            room -= sizes[peer]
            if room >= 0 or votes < self.quorum:
                kept[peer] = reports[peer]
                votes += peer in voters
        return kept

    def _propose(
        self,
        body: str,
        just: QC | None,
        reports: Mapping[str, Envelope],
        contributions: Iterable[Envelope],
    ) -> None:
        proposal = Proposal(
            round=self.round,
            attempt=self.attempt,
            body=body,
            just=just,
            new_attempts=tuple(text_of(envelope) for _, envelope in sorted(reports.items())),
            contributions=tuple(text_of(envelope) for envelope in contributions),
        )
        envelope = self._signer.seal(proposal)
        self._persist(ProposalMade(self.round, self.attempt, envelope))
        self._announce(envelope)

    def _announce(self, envelope: Envelope) -> None:
        """Sends this node's proposal of the current attempt, and votes for it."""
        proposal = parse(envelope.type, envelope.payload)
        assert isinstance(proposal, Proposal)
        value = value_of(proposal.body)
        result = parse_result(proposal.body)
        self._attempt.heard = Heard(envelope, value, proposal.body, result)
        self._out.append(Broadcast(envelope))
        if self._lock_allows(value, proposal.just):
            self._vote("prepare", value)

    def _lock_allows(self, value: str, just: QC | None) -> bool:
        """The rule that keeps a value alive once a quorum may have committed it: a locked voter
        moves to another value only when a quorum prepared that one later."""
        lock = self._locked()
        if lock is None or lock.value == value:
            return True
        return just is not None and just.value == value and just.attempt >= lock.attempt


def text_of(envelope: Envelope) -> str:
    """An envelope as others quote it."""
    return envelope.to_bytes().decode()


def _quoted_bytes(text: str) -> int:
    """What a text takes in a payload that quotes it, with the comma after it."""
    return len(json.dumps(text)) + 1
