"""The round commit protocol as a state machine without I/O.

It is fed messages, timers and the outcome of work it asked for, and returns effects; it holds no
socket, clock, file or random number. One instance works for one member of one room and runs
unchanged in production (:mod:`p2p.rounds.driver`) and in the simulator (:mod:`p2p.sim`).

A round: contributions are gossiped; when a member has seen all it may expect, it tells the leader
of the attempt (NewAttempt); the leader proposes a result; voters judge and recompute it, sign
``prepare``; a quorum of those is a certificate on which voters lock and sign ``commit``; a quorum
of those decides. A leader that fails costs one timeout, after which the next one leads. The
structure is Tendermint's (Buchman, Kwon, Milosevic, arXiv:1807.04938).
"""

from __future__ import annotations

from collections.abc import Iterable

from p2p.blobs.chunks import BlobRef
from p2p.envelope import Envelope
from p2p.errors import ProtocolError
from p2p.messages import (
    MAX_ATTEMPT,
    Commit,
    Contribution,
    Evidence,
    Leave,
    NewAttempt,
    Operations,
    Phase,
    Prepared,
    Proposal,
    Receipt,
    RoundMessage,
    Vote,
    Want,
    chain_hash,
    parse,
    parse_result,
    value_of,
)
from p2p.operations import Operation
from p2p.rounds import rules
from p2p.rounds.effects import (
    UNAVAILABLE,
    AttemptMoved,
    Broadcast,
    CommitRound,
    Committed,
    Contributed,
    Effect,
    Elected,
    FetchCommits,
    MembersChanged,
    OperationsSettled,
    Precompute,
    Rejected,
    RoundOpened,
    SetTimer,
    TimerName,
)
from p2p.rounds.remembering import Remembering
from p2p.rounds.state import AttemptState, OwnContribution, RoundState
from p2p.workload import Verdict

PHASES: tuple[Phase, ...] = ("prepare", "commit")
EARLY = Contribution | NewAttempt | Leave
"""Small messages that are kept for the next round, one of each member; others are repeated."""


class RoundCore(Remembering):
    """One member's part in the rounds of one room.

    ``journal`` is what survived the last stop; the core keeps it up to date and asks the driver
    to make each change durable before anything that depends on it leaves. ``vouched`` is as for
    :class:`p2p.rounds.admission.Admissions`.
    """

    # --- events ----------------------------------------------------------------------------------
    def start(self, now: float) -> list[Effect]:
        """Begins, or goes on where the journal ends."""
        self._now = now
        self._open_round()
        self._ask_for_ledgers()
        return self._flush()

    def on_message(self, sender: str, envelope: Envelope, now: float) -> list[Effect]:
        """Takes a verified envelope that ``sender`` delivered (its signer may be another)."""
        self._now = now
        try:
            self._receive(sender, envelope)
        except ProtocolError as error:
            self._out.append(Rejected(sender, error.cause))
        return self._flush()

    def on_commit(self, sender: str, payload: bytes, now: float) -> list[Effect]:
        """Takes a ledger entry that was fetched from ``sender``."""
        self._now = now
        try:
            commit = parse(Commit.kind, payload)
            assert isinstance(commit, Commit)
            # What follows an entry that was refused is not asked for again and again.
            if commit.round <= self.round:
                self._on_commit(sender, commit, payload)
        except ProtocolError as error:
            self._out.append(Rejected(sender, error.cause))
        return self._flush()

    def on_timer(self, name: TimerName, now: float) -> list[Effect]:
        self._now = now
        if name == "resend":
            self._out.append(SetTimer("resend", self.timing.resend))
            self._offer_operations()
            self._ask_for_ledgers()
        if not self.done:
            match name:
                case "deadline":
                    self._round.deadline_passed = True
                    self._look_for_cut()
                case "attempt":
                    self._move(min(self.attempt + 1, MAX_ATTEMPT))
                case "grace":
                    self._on_grace()
                case "resend":
                    self._repeat()
        return self._flush()

    def on_operation(self, operation: Operation, now: float) -> list[Effect]:
        """A change of the membership that was signed here or handed in by its bearer."""
        self._now = now
        try:
            news = self._learn_operation(operation)
        except ProtocolError as error:
            self._out.append(Rejected(self.me, error.cause))
            return self._flush()
        if news is not None:
            self._out.append(Broadcast(self._signer.seal(Operations(offered=(news,)))))
            self._go_on()
        return self._flush()

    def on_contribution(self, own: OwnContribution, now: float) -> list[Effect]:
        """This node's own work is done. Refused when the round has moved on or has one already;
        where the plan carries late ones over, one for the round before counts for this one."""
        self._now = now
        late = self.facts.late_parent if self.me not in self.facts.settled else None
        parent = {self.round: self.head, self.round - 1: late}.get(own.round)
        if parent is None or self.done or self.contributed:
            reason = f"a contribution to round {own.round} came in round {self.round}"
            self._out.append(Rejected(self.me, reason))
            return self._flush()
        if not self.facts.asks(self.me) or not self._admissions.knows(self.me):
            self._out.append(Rejected(self.me, rules.NOT_ASKED))
            return self._flush()
        envelope = self._signer.seal(
            Contribution(
                peer=self.me,
                round=own.round,
                parent=parent,
                plan=self.facts.plan_hash,
                blob=own.blob.sha256,
                size=own.blob.size,
                chunks=own.blob.chunks,
                samples=own.samples,
                steps=own.steps,
                loss_milli=own.loss_milli,
            )
        )
        self._persist(Contributed(self.round, envelope))
        self._out.append(Broadcast(envelope))
        self._learn(envelope)
        self._look_for_cut()
        return self._flush()

    def on_leave(self, round_number: int, now: float) -> list[Effect]:
        """This node will not contribute to the round: nobody need wait for it."""
        self._now = now
        if round_number == self.round and not self.done and not self.contributed:
            self._round.left.add(self.me)
            self._out.append(Broadcast(self._signer.seal(Leave(round=self.round))))
            self._look_for_cut()
        return self._flush()

    def on_alive(self, peers: Iterable[str], now: float) -> list[Effect]:
        """A hint whom to wait for and whom to ask; safety never depends on it."""
        self._now = now
        self.alive = frozenset(peers) | {self.me}
        self._try_to_remember()
        self._go_on()
        return self._flush()

    def on_peer_head(self, peer: str, round_number: int, now: float) -> list[Effect]:
        """``peer`` says that it works on ``round_number``: a reason to ask for its ledger when
        that is ahead, and for nothing else."""
        self._now = now
        if round_number > self.round:
            self._out.append(FetchCommits(peer, round_number))
        return self._flush()

    def on_ledger_end(self, peer: str, round_number: int, now: float) -> list[Effect]:
        """``peer`` was asked since this node started, and had no commit of ``round_number``."""
        self._now = now
        self._ends.setdefault(peer, round_number)
        self._try_to_remember()
        self._go_on()
        return self._flush()

    def on_checked(self, contribution_id: str, verdict: Verdict, now: float) -> list[Effect]:
        """The blob of a contribution was fetched and checked, or could not be had."""
        self._now = now
        if contribution_id in self._round.contributions:
            self._round.verdicts[contribution_id] = verdict
            self._look_for_cut()
            self._lead()
            self._judge()
        return self._flush()

    def on_combined(
        self, round_number: int, attempt: int, blob: BlobRef, now: float
    ) -> list[Effect]:
        """The result asked for by :class:`Combine` is in the blob store."""
        self._now = now
        draft = self._attempt.draft
        if (round_number, attempt) == (self.round, self.attempt) and draft is not None:
            self._propose_result(draft, blob)
        return self._flush()

    def on_verified(self, value: str, verdict: Verdict, now: float) -> list[Effect]:
        """A proposed result was recomputed: equal, not equal, or its blobs could not be had."""
        self._now = now
        state = self._round
        if value in state.verifying:
            state.verifying.discard(value)
            state.verified[value] = verdict
            self._judge()
        return self._flush()

    def on_result_kept(self, sha256: str, kept: bool, now: float) -> list[Effect]:
        """A prepared result is on this disk to stay; if not, it is asked for again in a while."""
        self._now = now
        state = self._round
        if sha256 in state.keeping:
            state.keeping.discard(sha256)
            if kept:
                state.kept.add(sha256)
                self._confirm()
        return self._flush()

    # --- rounds and attempts ---------------------------------------------------------------------
    def _open_round(self) -> None:
        self._round = RoundState(started_at=self._now)
        self._attempt = AttemptState()
        self._out += [SetTimer("attempt", None), SetTimer("grace", None)]
        self._out.append(SetTimer("resend", self.timing.resend))
        if self.done:
            self._out.append(SetTimer("deadline", None))
            return
        self._out += [
            RoundOpened(self.round, self.head),
            SetTimer("deadline", self.genesis.plan.deadline_ms / 1000),
        ]
        own = self.journal.contribution
        if own is not None and self._admissions.knows(own.signer):
            self._learn(own)
        if self.attempt or self.journal.votes or self.journal.lock or self.journal.proposals:
            self._reach_cut()
        early, self._early = self._early, {}
        for envelope in early.values():
            if self.done:
                return
            try:
                self._receive(envelope.signer, envelope)
            except ProtocolError as error:
                self._out.append(Rejected(envelope.signer, error.cause))
        self._look_for_cut()

    def _go_on(self) -> None:
        if not self.done:
            self._look_for_cut()
            self._hurry()
            self._lead()

    def _look_for_cut(self) -> None:
        """Starts attempt 0 when there is nothing left worth waiting for."""
        state = self._round
        if state.cut or self.done:
            return
        waits = bool(self.lacking) or self.held
        if state.too_few and not waits:
            # Whoever has just come gets as much time as everybody else.
            state.deadline_passed = False
            self._out.append(SetTimer("deadline", self.genesis.plan.deadline_ms / 1000))
        state.too_few = waits
        missing = self.expected() - self.contributors()
        unchecked = state.contributions.keys() - state.verdicts.keys()
        good = {c.peer for id_, c in state.contributions.items() if self._is_good(id_)}
        enough = len(good) >= self.genesis.plan.min_contributions
        over = state.deadline_passed and not state.too_few
        if not self.held and (over or (not missing and not unchecked and enough)):
            self._reach_cut()

    def _reach_cut(self) -> None:
        self._round.cut = True
        attempt = self.attempt
        self._out.append(Elected(self.round, attempt, self.leader))
        self._begin_patience()
        self._report()
        if self._locked() is not None:
            self._send(self.leader, self._own_lock())
        self._guess_result()
        self._lead()

    def _report(self) -> None:
        """Says where this node stands: to the leader, and once that one may have failed, to all."""
        report = self._own_report()
        for peer in (self.leader,) if self.attempt == 0 else self.facts.voters:
            self._send(peer, report)

    def _begin_patience(self) -> None:
        """Starts the timer of the attempt once a quorum is there: where every voter's word counts,
        one whose clock is fast would otherwise always be an attempt ahead of the rest."""
        state, attempt = self._round, self._attempt
        if not state.cut or attempt.patient:
            return
        there = {peer for peer, reached in state.reached.items() if reached >= self.attempt}
        there = (there | {self.me}) & set(self.facts.voters)
        if self.attempt == 0 or self.me not in there or len(there) >= self.quorum:
            attempt.patient = True
            self._out.append(SetTimer("attempt", self._patience(self.attempt)))
            self._hurry()

    def _guess_result(self) -> None:
        state = self._round
        if self.leader == self.me or not self._may_vote() or self._locked() is not None:
            return
        if state.contributions.keys() == state.verdicts.keys():
            after = self.facts.membership.folded(self._admissions.ready())
            inputs, _ = rules.select(state.contributions, state.verdicts, self.facts, after)
            if inputs:
                guess = Precompute(rules.parts_of(inputs), self.facts.previous)
                self._out.append(guess)

    def _hurry(self) -> None:
        """Shortens an attempt whose leader is known to be away, once per voter and round."""
        away = self.leader not in self.alive and self.leader != self.me
        first_turn = self.attempt < len(self.facts.order)
        if self._attempt.patient and away and first_turn and not self._attempt.hurried:
            self._attempt.hurried = True
            self._out.append(SetTimer("attempt", self.timing.dead_leader))

    def _move(self, attempt: int) -> None:
        """Goes on to a later attempt, for good."""
        self._persist(AttemptMoved(self.round, attempt))
        self._attempt = AttemptState()
        self._forget_extra()
        self._forget_strangers()
        self._out += [SetTimer("attempt", None), SetTimer("grace", None)]
        self._reach_cut()
        ahead, self._round.ahead = self._round.ahead, {}
        for envelope in ahead.values():
            message = parse(envelope.type, envelope.payload)
            if isinstance(message, NewAttempt) and self.attempt == attempt:
                self._on_new_attempt(envelope, message)

    def _follow(self) -> None:
        """Jumps to an attempt that ``f + 1`` voters have reached, of whom one is honest."""
        reached = sorted(
            (a for peer, a in self._round.reached.items() if peer in self.facts.voters),
            reverse=True,
        )
        if len(reached) > self.facts.liars and reached[self.facts.liars] > self.attempt:
            self._move(reached[self.facts.liars])

    def _on_commit(self, sender: str, commit: Commit, payload: bytes) -> None:
        if commit.round > self.round:
            self._out.append(FetchCommits(sender, commit.round))
        if commit.round != self.round or self.done:
            return
        if commit.to_bytes() != payload:
            raise ProtocolError("an entry of the ledger is not written as commits are")
        if value_of(commit.body) != commit.qc.value:
            raise ProtocolError("a certificate is for another result")
        self._check_qc(commit.qc, self.commit_phase)
        self._check_body(parse_result(commit.body))
        self._recognise_certificate(commit.qc)
        self._commit(commit, payload)

    def _commit(self, commit: Commit, payload: bytes) -> None:
        value = commit.qc.value
        record = Committed(self.round, value, chain_hash(self.head, value), payload)
        last_contribution_at, own = self._round.last_contribution_at, self.journal.contribution
        self._persist(record)
        self._out.append(
            CommitRound(record, parse_result(commit.body), commit.qc, last_contribution_at)
        )
        self.facts = self.facts.next(record)
        before = self.membership
        settled = self._admissions.committed(self.facts)
        if settled:
            self._persist(OperationsSettled(self.round, settled))
        if self.membership != before:
            self._out.append(MembersChanged(self.membership))
        goes_on = not self.done and self.me in self.facts.members
        if own is not None and goes_on and self.facts.carries(self._contribution_in(own)):
            self._persist(Contributed(self.round, own))
        self._try_to_remember()
        self._open_round()

    # --- messages --------------------------------------------------------------------------------
    def _receive(self, sender: str, envelope: Envelope) -> None:
        if not self._admissions.knows(envelope.signer):
            raise ProtocolError("a message is signed by a stranger")
        message = parse(envelope.type, envelope.payload)
        if envelope.signer == self.me:
            self._recognise(envelope, message)
        if isinstance(message, Operations):
            self._on_operations(sender, envelope.signer, message)
            return
        if isinstance(message, Commit):
            self._on_commit(sender, message, envelope.payload)
            return
        round_number = message.round
        if round_number > self.round:
            if round_number == self.round + 1 and isinstance(message, EARLY):
                self._early[envelope.signer, envelope.type] = envelope
            self._out.append(FetchCommits(sender, round_number))
        elif round_number < self.round:
            if isinstance(message, Contribution) and self.facts.carries(message) and not self.done:
                self._on_contribution(sender, envelope)
            elif sender == envelope.signer:
                self._answer_the_past(envelope, message)
        elif not self.done:
            self._dispatch(sender, envelope, message)

    def _dispatch(self, sender: str, envelope: Envelope, message: RoundMessage) -> None:
        """Whoever repeats what others signed must not make us flood those with answers."""
        if sender != envelope.signer and isinstance(message, Want | NewAttempt):
            raise ProtocolError("a member repeats what another one asked")
        match message:
            case Contribution():
                self._on_contribution(sender, envelope)
            case Receipt():
                if message.contribution == self._round.own:
                    self._round.receipts.add(envelope.signer)
            case NewAttempt():
                self._on_new_attempt(envelope, message)
            case Want():
                self._on_want(envelope.signer, message)
            case Proposal():
                self._on_proposal(envelope, message)
            case Vote():
                self._on_vote(envelope, message)
            case Prepared():
                self._on_prepared(message)
            case Evidence():
                self._on_evidence(message)
            case Leave():
                self._round.left.add(envelope.signer)
                self._look_for_cut()

    def _answer_the_past(self, envelope: Envelope, message: RoundMessage) -> None:
        """A member that is one round behind gets the commit it lacks."""
        if isinstance(message, Contribution):
            receipt = Receipt(round=message.round, contribution=envelope.id, verdict="late")
            self._send(envelope.signer, self._signer.seal(receipt))
        last = self.journal.commits[-1]
        behind = NewAttempt | Vote | Proposal | Prepared | Contribution
        if isinstance(message, behind) and message.round == last.round:
            self._send(envelope.signer, self._signer.seal(parse(Commit.kind, last.payload)))

    def _repeat(self) -> None:
        """Says again what may have been lost; stops by itself where it was heard."""
        state, attempt = self._round, self._attempt
        if state.own is not None:
            for peer in sorted(self.members.keys() - state.receipts):
                if peer in self.alive:
                    self._send(peer, state.envelopes[state.own])
        if not state.cut:
            if self.me in state.left:
                self._out.append(Broadcast(self._signer.seal(Leave(round=self.round))))
            self._refetch(id_ for id_, v in state.verdicts.items() if v == UNAVAILABLE)
            return
        self._report()
        self._confirm()
        if self.leader != self.me:
            if self._locked() is not None:
                self._send(self.leader, self._own_lock())
            for phase in PHASES:
                value = self.journal.votes.get((self.attempt, phase))
                if value is not None:
                    self._send_vote(phase, value)
        elif attempt.heard is not None:
            for peer in self.facts.voters:
                if ("prepare", peer) not in attempt.ballots:
                    self._send(peer, attempt.heard.envelope)
                if attempt.prepared and ("commit", peer) not in attempt.ballots:
                    self._send(peer, attempt.prepared)
