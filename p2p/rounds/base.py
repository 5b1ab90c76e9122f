"""What every part of the round state machine shares: its state, and what others may look at."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from p2p.envelope import Envelope
from p2p.membership import Membership
from p2p.messages import (
    QC,
    Commit,
    Contribution,
    Phase,
)
from p2p.room import Genesis, Member
from p2p.rounds import rules
from p2p.rounds.admission import Admissions
from p2p.rounds.effects import (
    Effect,
    Journal,
    Lock,
    Persist,
    Record,
    Send,
)
from p2p.rounds.quorum import quorum_size
from p2p.rounds.rules import Facts
from p2p.rounds.signing import Signer
from p2p.rounds.state import AttemptState, RoundState, Timing
from p2p.workload import Verdict


class RoundBase:
    """The state of one member in one round, and the small questions about it.

    The parts build on one another: taking in (:mod:`p2p.rounds.collecting`), proposing
    (:mod:`p2p.rounds.leading`), judging and voting (:mod:`p2p.rounds.voting`), and the events and
    rounds around them (:mod:`p2p.rounds.core`).
    """

    commit_phase: Phase = "commit"

    def __init__(
        self,
        genesis: Genesis,
        room_id: str,
        signer: Signer,
        journal: Journal,
        timing: Timing,
        vouched: Collection[str] = (),
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
        self._ends: dict[str, int] = {}
        self.facts = Facts.of(genesis, room_id, journal.commits)
        self._admissions = Admissions(journal, signer, self.facts, vouched)
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
        return frozenset(
            peer for peer in present if self.membership.trains(peer) and self.facts.asks(peer)
        )

    @property
    def lacking(self) -> int:
        """How many more participants must be there before the round can have a result: until
        then it waits, however long, instead of being skipped at its deadline."""
        there = set(filter(self.membership.trains, self.alive | {self.me}))
        there |= self.contributors()
        return max(0, self.genesis.plan.min_contributions - len(there))

    @property
    def held(self) -> bool:
        """Whether the round waits for somebody entitled to start it."""
        return not self.done and rules.is_held(self.facts, self.membership)

    def contributors(self) -> frozenset[str]:
        return frozenset(c.peer for c in self._round.contributions.values())

    def voted(self, phase: Phase) -> frozenset[str]:
        """Whose votes for the current attempt this node has counted."""
        counted = {peer for ballot_phase, peer in self._attempt.ballots if ballot_phase == phase}
        if (self.attempt, phase) in self.journal.votes:
            counted.add(self.me)
        return frozenset(counted)

    # --- what the parts ask ----------------------------------------------------------------------
    def _is_good(self, contribution_id: str) -> bool:
        verdict = self._round.verdicts.get(contribution_id)
        return verdict is not None and verdict.ok

    def _may_vote(self) -> bool:
        return self.me in self.facts.voters and not self.journal.amnesia

    def _locked(self) -> Lock | None:
        return self.journal.lock

    def _is_kept(self, result_blob: str) -> bool:
        return result_blob in self._round.kept

    def _patience(self, attempt: int) -> float:
        """Seconds for an attempt, spread by a hash so that not all members give up at once."""
        timing = self.timing
        digest = hashlib.sha256(f"{self.me}|{self.round}|{attempt}".encode()).digest()
        spread = 1 + timing.jitter * (2 * int.from_bytes(digest[:4], "big") / 2**32 - 1)
        return timing.base * spread * float(min(timing.factor ** min(attempt, 32), timing.cap))

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

    # --- what a part below asks of one above -----------------------------------------------------
    def _look_for_cut(self) -> None:
        """Something that was waited for may have come."""
        raise NotImplementedError

    def _go_on(self) -> None:
        """Something that held the round up may be gone."""
        raise NotImplementedError

    def _lead(self) -> None:
        raise NotImplementedError

    def _reach_cut(self) -> None:
        raise NotImplementedError

    def _begin_patience(self) -> None:
        """One more voter may have reached the attempt."""
        raise NotImplementedError

    def _follow(self) -> None:
        raise NotImplementedError

    def _move(self, attempt: int) -> None:
        raise NotImplementedError

    def _vote(self, phase: Phase, value: str, lock: Lock | None = None) -> None:
        raise NotImplementedError

    def _confirm(self) -> None:
        """The result of a certificate may be on this disk now."""
        raise NotImplementedError

    def _commit(self, commit: Commit, payload: bytes) -> None:
        raise NotImplementedError

    def _recognise_certificate(self, qc: QC) -> None:
        raise NotImplementedError
