"""The voter: judging a proposal, signing at most one value per phase, and certificates."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from p2p.envelope import Envelope
from p2p.errors import ProtocolError
from p2p.limits import MAX_LARGE_MESSAGE_BYTES, MAX_MESSAGE_BYTES
from p2p.membership import Membership
from p2p.messages import (
    QC,
    Commit,
    Contribution,
    Evidence,
    NewAttempt,
    Offence,
    Phase,
    Prepared,
    Proposal,
    Result,
    Vote,
    parse,
    parse_result,
    value_of,
)
from p2p.rounds import rules
from p2p.rounds.collecting import MAX_QUOTED_PER_PEER, UNWANTED
from p2p.rounds.effects import (
    UNAVAILABLE,
    Accused,
    Broadcast,
    KeepResult,
    Lock,
    Rejected,
    Verify,
    VoteCast,
)
from p2p.rounds.leading import Leading, text_of
from p2p.rounds.quorum import make_qc, verify_qc
from p2p.rounds.state import Heard
from p2p.workload import Verdict

MAX_PROOFS_PER_MEMBER = 8
"""Offences of one member whose proofs are kept: those after them would only fill disks."""
MAX_PROOF_TEXT = MAX_LARGE_MESSAGE_BYTES - 1024
"""Bytes that a proof may quote to be kept, so that what is written can be read again."""


class Voting(Leading):
    """Votes for what it has recomputed, locks on what a quorum prepared."""

    # --- judging ---------------------------------------------------------------------------------
    def _on_proposal(self, envelope: Envelope, proposal: Proposal) -> None:
        if not self._may_vote() or proposal.attempt < self.attempt:
            return
        if envelope.signer != self.facts.leader(proposal.attempt):
            raise ProtocolError("a proposal came from a member that does not lead this attempt")
        heard = self._attempt.heard
        if self._attempt.judging and heard is not None and heard.envelope == envelope:
            return
        rules.check_spelling(proposal, envelope)
        value, result = value_of(proposal.body), parse_result(proposal.body)
        if result.to_bytes().decode() != proposal.body:
            raise ProtocolError("a result is not written as results are")
        reports = self._read_reports(proposal, self._admissions.after(result))
        if proposal.attempt > self.attempt:
            self._move(proposal.attempt)
        heard = self._attempt.heard
        if heard is not None and heard.value != value:
            self._accuse("double_proposal", envelope.signer, heard.envelope, envelope)
            return
        self._attempt.heard = Heard(envelope, value, proposal.body, result)
        voted = self.journal.votes.get((self.attempt, "prepare"))
        if voted is not None:
            if voted == value:
                self._send_vote("prepare", value)
            return
        if not self._lock_allows(value, proposal.just):
            raise ProtocolError("a proposal ignores the value this node is locked on")
        if proposal.just is not None:
            self._check_reproposal(proposal, proposal.just, value, result, reports)
            self._vote("prepare", value)
            return
        if any(report.lock is not None for report in reports.values()):
            raise ProtocolError("a proposal ignores the value that another voter is locked on")
        for operation in result.operations:
            # One that contradicts what is under way here still takes effect by this result.
            with suppress(ProtocolError):
                self._learn_operation(operation)
        quoted = self._learn_quoted(proposal, result)
        rules.check_result(result, self.facts, self.attempt, reports, quoted)
        self._attempt.judging = True
        self._retry_missing(result)
        self._judge()

    def _read_reports(self, proposal: Proposal, after: Membership) -> dict[str, NewAttempt]:
        """The NewAttempt messages a proposal quotes, by signer: a quorum of voters, verified."""
        reports: dict[str, NewAttempt] = {}
        for text in proposal.new_attempts:
            envelope = self._signer.open(text)
            report = parse(envelope.type, envelope.payload)
            expected = (self.round, proposal.attempt, self.head)
            if not isinstance(report, NewAttempt) or envelope.signer in reports:
                raise ProtocolError("a proposal quotes something else than distinct reports")
            rules.check_spelling(report, envelope)
            if (report.round, report.attempt, report.parent) != expected:
                raise ProtocolError("a proposal quotes a report of another attempt")
            if envelope.signer not in self.facts.members and envelope.signer not in after.members:
                raise ProtocolError("a proposal quotes the report of a stranger")
            reports[envelope.signer] = report
        if len(reports.keys() & set(self.facts.voters)) < self.quorum:
            raise ProtocolError("a proposal quotes fewer reports than a quorum")
        return reports

    def _learn_quoted(self, proposal: Proposal, result: Result) -> dict[str, Contribution]:
        """The manifests this node knows, and those that the proposal quotes. Remembered is what
        may have to be fetched: inputs, and what one author may have left out."""
        inputs = {item.contribution for item in result.inputs}
        quoted: dict[str, Contribution] = {}
        for text in proposal.contributions:
            envelope = self._signer.open(text)
            quoted[envelope.id] = self._read_contribution(envelope)
            most = MAX_QUOTED_PER_PEER if envelope.id in inputs else rules.MAX_COUNTED
            self._learn(envelope, most)
        if not inputs <= self._round.contributions.keys():
            raise ProtocolError("a result counts a contribution beyond what is fetched of a member")
        return quoted | self._round.contributions

    def _retry_missing(self, result: Result) -> None:
        """A blob that could not be had before may be with the leader now, and one that nobody
        wanted here is wanted by the membership that the result leads to."""
        verdicts = self._round.verdicts
        listed = (item.contribution for item in result.inputs)
        self._refetch(id_ for id_ in listed if verdicts.get(id_) in (UNAVAILABLE, UNWANTED))

    def _check_reproposal(
        self,
        proposal: Proposal,
        just: QC,
        value: str,
        result: Result,
        reports: Mapping[str, NewAttempt],
    ) -> None:
        claims = [report.lock.attempt for report in reports.values() if report.lock is not None]
        if just.value != value or just.attempt >= proposal.attempt:
            raise ProtocolError("a proposal is justified by a certificate for something else")
        if just.attempt < max(claims, default=0):
            raise ProtocolError("a proposal is justified by an older lock than a voter holds")
        self._check_qc(just, "prepare")
        self._check_body(result)

    def _check_qc(self, qc: QC, phase: Phase) -> None:
        verify_qc(
            qc,
            round_number=self.round,
            phase=phase,
            voters=self.facts.voters,
            quorum=self.quorum,
            signer=self._signer,
        )

    def _check_body(self, result: Result) -> None:
        if (result.round, result.parent) != (self.round, self.head):
            raise ProtocolError("a result belongs to another round or history")
        if not set(result.next_voters) <= self._admissions.after(result).members.keys():
            raise ProtocolError("a result names a voter that is no member")

    def _judge(self) -> None:
        """Votes for the proposal once every check of its inputs has come back.

        What was left out is not waited for: its author may feed the bytes as slowly as it likes.
        """
        heard = self._attempt.heard
        if heard is None or not self._attempt.judging:
            return
        state, result = self._round, heard.result
        if any(item.contribution not in state.verdicts for item in result.inputs):
            return
        leader = heard.envelope.signer
        try:
            rules.judge_contents(
                result, lambda id_: state.verdicts.get(id_, UNAVAILABLE), self.facts
            )
        except ProtocolError as error:
            self._attempt.judging = False
            self._out.append(Rejected(leader, error.cause))
            return
        verdict = Verdict(True) if result.skipped else state.verified.get(heard.value)
        if verdict is None:
            if heard.value not in state.verifying:
                state.verifying.add(heard.value)
                self._out.append(
                    Verify(
                        self.round,
                        heard.value,
                        rules.parts_of(result.inputs),
                        self.facts.previous,
                        result.ref,
                    )
                )
            return
        self._attempt.judging = False
        if verdict.ok:
            self._vote("prepare", heard.value)
            return
        self._out.append(Rejected(leader, verdict.reason))
        if verdict == UNAVAILABLE:
            del state.verified[heard.value]
        else:
            self._accuse("wrong_result", leader, heard.envelope)

    # --- votes and certificates ------------------------------------------------------------------
    def _vote(self, phase: Phase, value: str, lock: Lock | None = None) -> None:
        """Signs at most one value per attempt and phase, after writing down which."""
        voted = self.journal.votes.get((self.attempt, phase))
        if voted is None:
            self._persist(VoteCast(self.round, self.attempt, phase, value, lock))
        if voted is None or voted == value:
            self._send_vote(phase, value)

    def _send_vote(self, phase: Phase, value: str) -> None:
        vote = Vote(attempt=self.attempt, phase=phase, round=self.round, value=value)
        envelope = self._signer.seal(vote)
        if self.leader == self.me:
            self._on_vote(envelope, vote)
        else:
            self._send(self.leader, envelope)

    def _on_vote(self, envelope: Envelope, vote: Vote) -> None:
        voter, state = envelope.signer, self._attempt
        if voter not in self.facts.voters:
            raise ProtocolError("a vote came from a member without one")
        if vote.attempt > self._round.reached.get(voter, -1):
            self._round.reached[voter] = vote.attempt
            self._begin_patience()
        if vote.attempt > self.attempt:
            self._follow()
        if vote.attempt != self.attempt or self.leader != self.me:
            return
        earlier = state.ballots.setdefault((vote.phase, voter), (envelope, vote))
        if earlier[1].value != vote.value:
            self._accuse("double_vote", voter, earlier[0], envelope)
            return
        heard = state.heard
        if heard is not None and heard.value == vote.value:
            self._count(vote, heard)

    def _count(self, vote: Vote, heard: Heard) -> None:
        state = self._attempt
        signatures = {
            peer: envelope.signature
            for (phase, peer), (envelope, ballot) in state.ballots.items()
            if phase == vote.phase and ballot.value == vote.value
        }
        if len(signatures) < self.quorum:
            return
        if vote.phase == self.commit_phase:
            commit = Commit(body=heard.body, qc=make_qc(vote, signatures))
            self._out.append(Broadcast(self._signer.seal(commit)))
            self._commit(commit, commit.to_bytes())
        elif state.prepared is None:
            prepared = Prepared(body=heard.body, qc=make_qc(vote, signatures))
            state.prepared = self._signer.seal(prepared)
            self._out.append(Broadcast(state.prepared))
            self._on_prepared(prepared)

    def _on_prepared(self, prepared: Prepared) -> None:
        qc = prepared.qc
        if value_of(prepared.body) != qc.value:
            raise ProtocolError("a certificate is for another result")
        self._check_qc(qc, "prepare")
        self._check_body(parse_result(prepared.body))
        self._recognise_certificate(qc)
        lock = Lock(prepared.body, qc)
        proof = self._round.proof
        if proof is None or proof.attempt < qc.attempt:
            self._round.proof = lock
        if self._may_vote() and qc.attempt > self.attempt:
            self._move(qc.attempt)
        self._confirm()
        self._lead()

    def _confirm(self) -> None:
        """Votes for the value that a quorum prepared in this attempt, once its result is on this
        disk: what a quorum of such votes decides outlives a power cut at all members."""
        lock = self._round.proof
        if lock is None or lock.attempt != self.attempt or not self._may_vote():
            return
        result = parse_result(lock.body)
        if (self.attempt, "commit") in self.journal.votes or self._is_kept(result.result_blob):
            self._vote("commit", lock.value, lock)
        elif result.result_blob not in self._round.keeping:
            self._round.keeping.add(result.result_blob)
            holders = tuple(entry.peer for entry in lock.qc.signatures if entry.peer != self.me)
            parts = rules.parts_of(result.inputs)
            self._out.append(KeepResult(result.ref, holders, parts, self.facts.previous))

    # --- evidence --------------------------------------------------------------------------------
    def _accuse(
        self, offence: Offence, accused: str, first: Envelope, second: Envelope | None = None
    ) -> None:
        """Keeps the proof of an offence, once per round, and spreads what others can check."""
        if (offence, accused) in self._round.accused:
            return
        self._round.accused.add((offence, accused))
        quoted = sum(len(text_of(envelope)) for envelope in (first, second) if envelope is not None)
        if quoted > MAX_PROOF_TEXT or not self._has_place_for_proof(accused):
            self._out.append(Rejected(accused, f"{offence}: one more proof is not kept"))
            return
        evidence = Evidence(
            offence=offence,
            accused=accused,
            round=self.round,
            first=text_of(first),
            second=None if second is None else text_of(second),
        )
        self._persist(Accused(self.round, evidence))
        envelope = self._signer.seal(evidence)
        if second is not None and len(envelope.to_bytes()) <= MAX_MESSAGE_BYTES:
            self._out.append(Broadcast(envelope))

    def _has_place_for_proof(self, accused: str) -> bool:
        kept = sum(evidence.accused == accused for evidence in self.journal.evidence)
        return kept < MAX_PROOFS_PER_MEMBER

    def _on_evidence(self, evidence: Evidence) -> None:
        if evidence.accused not in self.facts.voters:
            raise ProtocolError("evidence accuses somebody who does not vote")
        if (evidence.offence, evidence.accused) in self._round.accused:
            return
        if not self._has_place_for_proof(evidence.accused):
            return
        quoted = [self._signer.open(t) for t in (evidence.first, evidence.second) if t is not None]
        rules.check_evidence(evidence, quoted)
        self._round.accused.add((evidence.offence, evidence.accused))
        self._persist(Accused(self.round, evidence))
