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

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress

from p2p.blobs.chunks import BlobRef
from p2p.envelope import Envelope
from p2p.errors import ProtocolError
from p2p.limits import MAX_MESSAGE_BYTES
from p2p.membership import Membership
from p2p.messages import (
    MAX_ATTEMPT,
    QC,
    Commit,
    Contribution,
    Evidence,
    Leave,
    LockClaim,
    NewAttempt,
    Offence,
    Operations,
    Phase,
    Prepared,
    Proposal,
    Receipt,
    Result,
    RoundMessage,
    Vote,
    Want,
    chain_hash,
    parse,
    parse_result,
    value_of,
)
from p2p.operations import Change, Operation
from p2p.room import Genesis, Member
from p2p.rounds import rules
from p2p.rounds.admission import Admissions
from p2p.rounds.effects import (
    UNAVAILABLE,
    Accused,
    AttemptMoved,
    Broadcast,
    Combine,
    CommitRound,
    Committed,
    Contributed,
    Effect,
    Elected,
    FetchBlob,
    FetchCommits,
    Journal,
    Lock,
    MembersChanged,
    OperationHeard,
    OperationsSettled,
    Persist,
    Precompute,
    ProposalMade,
    Record,
    Rejected,
    Remembered,
    RoundOpened,
    Send,
    SetTimer,
    TimerName,
    Verify,
    VoteCast,
)
from p2p.rounds.quorum import make_qc, quorum_size, verify_qc
from p2p.rounds.rules import SHORT_ID, Facts
from p2p.rounds.signing import Signer
from p2p.rounds.state import AttemptState, Draft, Heard, OwnContribution, RoundState, Timing
from p2p.workload import Verdict

PHASES: tuple[Phase, ...] = ("prepare", "commit")
EARLY = Contribution | NewAttempt | Leave
"""Small messages that are kept for the next round, one of each member; others are repeated."""
MAX_CONTRIBUTIONS_PER_PEER = 2
"""What one member can make others fetch in one round by itself."""
MAX_QUOTED_PER_PEER = 4
"""With what leaders quote, whom a member that sends everybody another one may have told more."""
OFFER_FANOUT = 3
"""How many members are offered changes of the membership with each repetition."""


class RoundCore:
    """One member's part in the rounds of one room.

    ``journal`` is what survived the last stop; the core keeps it up to date and asks the driver
    to make each change durable before anything that depends on it leaves.
    """

    commit_phase: Phase = "commit"

    def __init__(
        self, genesis: Genesis, room_id: str, signer: Signer, journal: Journal, timing: Timing
    ) -> None:
        self.genesis = genesis
        self.room_id = room_id
        self.timing = timing
        self.journal = journal
        self.me = signer.peer_id
        self._signer = signer
        self._out: list[Effect] = []
        self._now = 0.0
        self._early: dict[tuple[str, str], Envelope] = {}
        self._heads: dict[str, int] = {}
        self._silent_through: int | None = None
        self.facts = Facts.of(genesis, room_id, journal.commits)
        self._admissions = Admissions(journal, signer, self.facts)
        self._offered = 0
        self.alive: frozenset[str] = frozenset(self.members)
        self._round = RoundState(started_at=0.0)
        self._attempt = AttemptState()

    # --- what others may look at -----------------------------------------------------------------
    @property
    def round(self) -> int:
        return self.facts.round

    @property
    def attempt(self) -> int:
        return self.journal.attempt

    @property
    def head(self) -> str:
        """The hash of the last commit; the room's id before the first."""
        return self.facts.parent

    @property
    def done(self) -> bool:
        return self.facts.done

    @property
    def membership(self) -> Membership:
        """By commit and by what is under way: whom to talk to."""
        return self._admissions.current

    @property
    def members(self) -> Mapping[str, Member]:
        return self.membership.members

    @property
    def quorum(self) -> int:
        return quorum_size(len(self.facts.voters), self.genesis.policy.quorum)

    @property
    def leader(self) -> str:
        return self.facts.leader(self.attempt)

    @property
    def contributed(self) -> bool:
        """Whether this node's contribution to the round is made: nothing is left to train."""
        return self.journal.contribution is not None

    @property
    def contributions(self) -> Mapping[str, Contribution]:
        return self._round.contributions

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        return self._round.verdicts

    @property
    def started_at(self) -> float:
        return self._round.started_at

    @property
    def cut(self) -> bool:
        """Whether this node has stopped waiting for contributions."""
        return self._round.cut

    @property
    def combining(self) -> bool:
        return self._attempt.draft is not None

    @property
    def deciding(self) -> bool:
        """Whether a proposal is being judged or voted on."""
        return self._attempt.heard is not None

    def expected(self) -> frozenset[str]:
        """The participants worth waiting for."""
        present = (self.alive | {self.me}) - self._round.left
        return frozenset(filter(self.membership.trains, present))

    @property
    def lacking(self) -> int:
        """How many more participants must be there before the round can have a result: until
        then it waits, however long, instead of being skipped at its deadline."""
        there = set(filter(self.membership.trains, self.alive | {self.me}))
        there |= self.contributors()
        return max(0, self.genesis.plan.min_contributions - len(there))

    def contributors(self) -> frozenset[str]:
        return frozenset(c.peer for c in self._round.contributions.values())

    def voted(self, phase: Phase) -> frozenset[str]:
        """Whose votes for the current attempt this node has counted."""
        counted = {peer for ballot_phase, peer in self._attempt.ballots if ballot_phase == phase}
        if (self.attempt, phase) in self.journal.votes:
            counted.add(self.me)
        return frozenset(counted)

    # --- events ----------------------------------------------------------------------------------
    def start(self, now: float) -> list[Effect]:
        """Begins, or goes on where the journal ends."""
        self._now = now
        self._open_round()
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
            self._on_commit(sender, commit, payload)
        except ProtocolError as error:
            self._out.append(Rejected(sender, error.cause))
        return self._flush()

    def on_timer(self, name: TimerName, now: float) -> list[Effect]:
        self._now = now
        if name == "resend":
            self._out.append(SetTimer("resend", self.timing.resend))
            self._offer_operations()
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

    def sign(self, change: Change) -> Operation:
        """An operation of this node's own, as yet known to nobody."""
        return Operation.of(self._signer.seal(change))

    def check_operation(self, operation: Operation) -> None:
        """Raises :class:`ProtocolError` when :meth:`on_operation` would refuse it."""
        self._admissions.learn(operation)

    def has_operation(self, operation: Operation) -> bool:
        """Whether it is remembered here, or has had its effect."""
        return self._admissions.has(operation)

    def next_number(self) -> int:
        """The ``seq`` of this node's next change of the membership."""
        return self._admissions.next_number(self.me)

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
        """This node's own work is done. Refused when the round has moved on or has one already."""
        self._now = now
        if own.round != self.round or self.done or self.contributed:
            reason = f"a contribution to round {own.round} came in round {self.round}"
            self._out.append(Rejected(self.me, reason))
            return self._flush()
        envelope = self._signer.seal(
            Contribution(
                peer=self.me,
                round=own.round,
                parent=self.head,
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
        self._go_on()
        return self._flush()

    def _go_on(self) -> None:
        if not self.done:
            self._look_for_cut()
            self._hurry()
            self._lead()

    def on_peer_head(self, peer: str, round_number: int, now: float) -> list[Effect]:
        """``peer`` works on ``round_number``: when that is ahead, its ledger is fetched."""
        self._now = now
        self._heads[peer] = max(round_number, self._heads.get(peer, 0))
        if round_number > self.round:
            self._out.append(FetchCommits(peer, self.round))
        self._try_to_remember()
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

    # --- plumbing --------------------------------------------------------------------------------
    def _flush(self) -> list[Effect]:
        out, self._out = self._out, []
        return out

    def _persist(self, record: Record) -> None:
        self.journal.apply(record)
        self._out.append(Persist(record))

    def _send(self, to: str, message: Envelope) -> None:
        if to != self.me:
            self._out.append(Send(to, message))

    # --- rounds ----------------------------------------------------------------------------------
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
        if self.journal.contribution is not None:
            self._learn(self.journal.contribution)
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

    def _look_for_cut(self) -> None:
        """Starts attempt 0 when there is nothing left worth waiting for."""
        state = self._round
        if state.cut or self.done:
            return
        if state.too_few and not self.lacking:
            # Whoever has just come gets as much time as everybody else.
            state.deadline_passed = False
            self._out.append(SetTimer("deadline", self.genesis.plan.deadline_ms / 1000))
        state.too_few = bool(self.lacking)
        missing = self.expected() - self.contributors()
        unchecked = state.contributions.keys() - state.verdicts.keys()
        good = {c.peer for id_, c in state.contributions.items() if self._is_good(id_)}
        enough = len(good) >= self.genesis.plan.min_contributions
        over = state.deadline_passed and not state.too_few
        if over or (not missing and not unchecked and enough):
            self._reach_cut()

    def _is_good(self, contribution_id: str) -> bool:
        verdict = self._round.verdicts.get(contribution_id)
        return verdict is not None and verdict.ok

    def _reach_cut(self) -> None:
        self._round.cut = True
        attempt = self.attempt
        self._out.append(Elected(self.round, attempt, self.leader))
        self._out.append(SetTimer("attempt", self._patience(attempt)))
        self._hurry()
        self._send(self.leader, self._own_report())
        if self._locked() is not None:
            self._send(self.leader, self._own_lock())
        self._guess_result()
        self._lead()

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

    def _patience(self, attempt: int) -> float:
        """Seconds for an attempt, spread by a hash so that not all members give up at once."""
        timing = self.timing
        digest = hashlib.sha256(f"{self.me}|{self.round}|{attempt}".encode()).digest()
        spread = 1 + timing.jitter * (2 * int.from_bytes(digest[:4], "big") / 2**32 - 1)
        return timing.base * spread * float(min(timing.factor ** min(attempt, 32), timing.cap))

    def _hurry(self) -> None:
        """Shortens an attempt whose leader is known to be away, once per voter and round."""
        away = self.leader not in self.alive and self.leader != self.me
        first_turn = self.attempt < len(self.facts.order)
        if self._round.cut and away and first_turn and not self._attempt.hurried:
            self._attempt.hurried = True
            self._out.append(SetTimer("attempt", self.timing.dead_leader))

    def _move(self, attempt: int) -> None:
        """Goes on to a later attempt, for good."""
        self._persist(AttemptMoved(self.round, attempt))
        self._attempt = AttemptState()
        self._out.append(SetTimer("grace", None))
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

    # --- messages --------------------------------------------------------------------------------
    def _receive(self, sender: str, envelope: Envelope) -> None:
        if not self._admissions.knows(envelope.signer):
            raise ProtocolError("a message is signed by a stranger")
        message = parse(envelope.type, envelope.payload)
        if isinstance(message, Operations):
            self._on_operations(envelope.signer, message)
            return
        if isinstance(message, Commit):
            self._on_commit(sender, message, envelope.payload)
            return
        round_number = message.round
        if round_number > self.round:
            if round_number == self.round + 1 and isinstance(message, EARLY):
                self._early[envelope.signer, envelope.type] = envelope
            self._out.append(FetchCommits(sender, self.round))
        elif round_number < self.round:
            self._answer_the_past(envelope, message)
        elif not self.done:
            self._dispatch(envelope, message)

    def _dispatch(self, envelope: Envelope, message: RoundMessage) -> None:
        match message:
            case Contribution():
                self._on_contribution(envelope)
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

    # --- the membership --------------------------------------------------------------------------
    def _on_operations(self, signer: str, message: Operations) -> None:
        self._admissions.acknowledged(signer, message.known)
        refused: ProtocolError | None = None
        for operation in message.offered:
            try:
                self._learn_operation(operation)
            except ProtocolError as error:
                refused = error
        held = tuple(op.id for op in message.offered if self._admissions.has(op))
        self._admissions.acknowledged(signer, held)
        if held:
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

    # --- a lost journal --------------------------------------------------------------------------
    def _try_to_remember(self) -> None:
        """Ends the silence of a node that lost its journal.

        It may have voted in any round up to the furthest one that had a quorum at work. Every
        such quorum shares an honest member with any ``n - q + 1 + f`` of the other voters, so once
        that many say how far they are, the round after the furthest of them is a fresh one.
        """
        if not self.journal.amnesia:
            return
        voters = set(self.facts.voters)
        heads = [head for peer, head in self._heads.items() if peer in voters - {self.me}]
        enough = len(voters) - self.quorum + 1 + self.facts.liars
        asked = len(heads) >= enough or voters == {self.me}
        if self._silent_through is None and asked and self.round >= max(heads, default=0):
            self._silent_through = self.round
        if voters == {self.me} or (self._silent_through or self.round) < self.round:
            self._persist(Remembered(self.round))

    # --- contributions ---------------------------------------------------------------------------
    def _on_contribution(self, envelope: Envelope) -> None:
        if self._learn(envelope):
            self._round.last_contribution_at = self._now
        known = envelope.id in self._round.contributions
        receipt = Receipt(
            round=self.round,
            contribution=envelope.id,
            verdict="stored" if known else "rejected",
        )
        self._send(envelope.signer, self._signer.seal(receipt))
        self._look_for_cut()
        self._lead()

    def _learn(self, envelope: Envelope, most: int = MAX_CONTRIBUTIONS_PER_PEER) -> bool:
        """Remembers a contribution and has its blob fetched; False when it was known or is one
        too many."""
        contribution = parse(envelope.type, envelope.payload)
        if not isinstance(contribution, Contribution):
            raise ProtocolError("a contribution was expected")
        rules.check_contribution(contribution, envelope.signer, self.facts)
        if not self._admissions.knows(envelope.signer):
            raise ProtocolError("a contribution came from a stranger")
        state = self._round
        of_peer = [c for c in state.contributions.values() if c.peer == contribution.peer]
        if envelope.id in state.contributions or len(of_peer) >= most:
            return False
        state.contributions[envelope.id] = contribution
        state.envelopes[envelope.id] = envelope
        if contribution.peer == self.me:
            state.own = envelope.id
            state.last_contribution_at = self._now
        self._out.append(FetchBlob(envelope.id, contribution))
        return True

    def _on_want(self, signer: str, want: Want) -> None:
        for id_, envelope in self._round.envelopes.items():
            if id_[:SHORT_ID] in want.contributions:
                self._send(signer, envelope)

    # --- the leader ------------------------------------------------------------------------------
    def _own_report(self) -> Envelope:
        lock = self._locked()
        return self._signer.seal(
            NewAttempt(
                round=self.round,
                attempt=self.attempt,
                parent=self.head,
                lock=None if lock is None else LockClaim(attempt=lock.attempt, value=lock.value),
                have=tuple(sorted(id_[:SHORT_ID] for id_ in self._round.contributions)),
            )
        )

    def _own_lock(self) -> Envelope:
        lock = self._locked()
        assert lock is not None
        return self._signer.seal(Prepared(body=lock.body, qc=lock.qc))

    def _may_vote(self) -> bool:
        return self.me in self.facts.voters and not self.journal.amnesia

    def _locked(self) -> Lock | None:
        return self.journal.lock

    def _best_lock(self) -> Lock | None:
        """The prepared value with the highest attempt that this node can prove."""
        locks = [lock for lock in (self._locked(), self._round.proof) if lock is not None]
        return max(locks, key=lambda lock: lock.attempt, default=None)

    def _on_new_attempt(self, envelope: Envelope, message: NewAttempt) -> None:
        if message.parent != self.head:
            raise ProtocolError("a member is on another history")
        signer = envelope.signer
        state = self._round
        if message.attempt > state.reached.get(signer, -1):
            state.reached[signer] = message.attempt
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
        result = rules.make_result(
            self.facts,
            self.attempt,
            draft.inputs,
            draft.excluded,
            draft.reports,
            draft.operations,
            blob,
        )
        listed = [self._round.envelopes[item.contribution] for item in result.listed]
        self._attempt.draft = None
        self._propose(result.to_bytes().decode(), None, draft.reports, listed)

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
            new_attempts=tuple(_text(envelope) for _, envelope in sorted(reports.items())),
            contributions=tuple(_text(envelope) for envelope in contributions),
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

    # --- the voter -------------------------------------------------------------------------------
    def _on_proposal(self, envelope: Envelope, proposal: Proposal) -> None:
        if not self._may_vote() or proposal.attempt < self.attempt:
            return
        if envelope.signer != self.facts.leader(proposal.attempt):
            raise ProtocolError("a proposal came from a member that does not lead this attempt")
        heard = self._attempt.heard
        if self._attempt.judging and heard is not None and heard.envelope == envelope:
            return
        value, result = value_of(proposal.body), parse_result(proposal.body)
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
        self._learn_quoted(proposal)
        rules.check_result(result, self.facts, self.attempt, reports, self._round.contributions)
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
            if (report.round, report.attempt, report.parent) != expected:
                raise ProtocolError("a proposal quotes a report of another attempt")
            if envelope.signer not in self.facts.members and envelope.signer not in after.members:
                raise ProtocolError("a proposal quotes the report of a stranger")
            reports[envelope.signer] = report
        if len(reports.keys() & set(self.facts.voters)) < self.quorum:
            raise ProtocolError("a proposal quotes fewer reports than a quorum")
        return reports

    def _learn_quoted(self, proposal: Proposal) -> None:
        for text in proposal.contributions:
            self._learn(self._signer.open(text), MAX_QUOTED_PER_PEER)

    def _retry_missing(self, result: Result) -> None:
        """A blob that could not be had before may be with the leader now."""
        verdicts = self._round.verdicts
        listed = (item.contribution for item in result.inputs)
        self._refetch(id_ for id_ in listed if verdicts.get(id_) == UNAVAILABLE)

    def _refetch(self, contributions: Iterable[str]) -> None:
        for id_ in list(contributions):
            del self._round.verdicts[id_]
            self._out.append(FetchBlob(id_, self._round.contributions[id_]))

    def _lock_allows(self, value: str, just: QC | None) -> bool:
        """The rule that keeps a value alive once a quorum may have committed it: a locked voter
        moves to another value only when a quorum prepared that one later."""
        lock = self._locked()
        if lock is None or lock.value == value:
            return True
        return just is not None and just.value == value and just.attempt >= lock.attempt

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
        """Votes for the proposal once every check of its content has come back."""
        heard = self._attempt.heard
        if heard is None or not self._attempt.judging:
            return
        state, result = self._round, heard.result
        if any(item.contribution not in state.verdicts for item in result.listed):
            return
        leader = heard.envelope.signer
        try:
            rules.judge_contents(result, state.verdicts.__getitem__, self.facts)
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

    # --- certificates ----------------------------------------------------------------------------
    def _on_vote(self, envelope: Envelope, vote: Vote) -> None:
        voter, state = envelope.signer, self._attempt
        if voter not in self.facts.voters:
            raise ProtocolError("a vote came from a member without one")
        if vote.attempt > self._round.reached.get(voter, -1):
            self._round.reached[voter] = vote.attempt
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
        lock = Lock(prepared.body, qc)
        proof = self._round.proof
        if proof is None or proof.attempt < qc.attempt:
            self._round.proof = lock
        if self._may_vote() and qc.attempt >= self.attempt:
            if qc.attempt > self.attempt:
                self._move(qc.attempt)
            self._vote("commit", qc.value, lock)
        self._lead()

    def _on_commit(self, sender: str, commit: Commit, payload: bytes) -> None:
        if commit.round > self.round:
            self._out.append(FetchCommits(sender, self.round))
        if commit.round != self.round or self.done:
            return
        if value_of(commit.body) != commit.qc.value:
            raise ProtocolError("a certificate is for another result")
        self._check_qc(commit.qc, self.commit_phase)
        self._check_body(parse_result(commit.body))
        self._commit(commit, payload)

    def _commit(self, commit: Commit, payload: bytes) -> None:
        value = commit.qc.value
        record = Committed(self.round, value, chain_hash(self.head, value), payload)
        last_contribution_at = self._round.last_contribution_at
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
        self._try_to_remember()
        self._open_round()

    # --- repetition and evidence -----------------------------------------------------------------
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
        listeners = [self.leader] if self.attempt == 0 else self.facts.voters
        for peer in listeners:
            self._send(peer, self._own_report())
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

    def _accuse(
        self, offence: Offence, accused: str, first: Envelope, second: Envelope | None = None
    ) -> None:
        """Keeps the proof of an offence, once per round, and spreads what others can check."""
        if (offence, accused) in self._round.accused:
            return
        self._round.accused.add((offence, accused))
        evidence = Evidence(
            offence=offence,
            accused=accused,
            round=self.round,
            first=_text(first),
            second=None if second is None else _text(second),
        )
        self._persist(Accused(self.round, evidence))
        envelope = self._signer.seal(evidence)
        if second is not None and len(envelope.to_bytes()) <= MAX_MESSAGE_BYTES:
            self._out.append(Broadcast(envelope))

    def _on_evidence(self, evidence: Evidence) -> None:
        if (evidence.offence, evidence.accused) in self._round.accused:
            return
        quoted = [self._signer.open(t) for t in (evidence.first, evidence.second) if t is not None]
        rules.check_evidence(evidence, quoted)
        self._round.accused.add((evidence.offence, evidence.accused))
        self._persist(Accused(self.round, evidence))


def _text(envelope: Envelope) -> str:
    return envelope.to_bytes().decode()
