"""What the round state machine asks its driver to do, and what it asks it to remember.

Effects are carried out in order. A :class:`Persist` is on disk before anything after it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from p2p.blobs.chunks import BlobRef
from p2p.envelope import Envelope
from p2p.membership import Membership
from p2p.messages import QC, Contribution, Evidence, Phase, Result
from p2p.operations import Operation
from p2p.workload import Verdict

TimerName = Literal["deadline", "attempt", "grace", "resend"]


# --- what survives kill -9 -----------------------------------------------------------------------
@dataclass(frozen=True)
class Lock:
    """A value that a quorum prepared: the only one this node may vote for without better proof."""

    body: str
    qc: QC

    @property
    def attempt(self) -> int:
        return self.qc.attempt

    @property
    def value(self) -> str:
        return self.qc.value


@dataclass(frozen=True)
class AttemptMoved:
    round: int
    attempt: int


@dataclass(frozen=True)
class VoteCast:
    """A vote that is about to be signed; with a commit vote, the lock that goes with it."""

    round: int
    attempt: int
    phase: Phase
    value: str
    lock: Lock | None = None


@dataclass(frozen=True)
class ProposalMade:
    """The only proposal this node will ever make for an attempt."""

    round: int
    attempt: int
    envelope: Envelope


@dataclass(frozen=True)
class Contributed:
    round: int
    envelope: Envelope


@dataclass(frozen=True)
class Committed:
    """A ledger entry; ``payload`` holds the verbatim bytes of the Commit."""

    round: int
    value: str
    commit_hash: str
    payload: bytes


@dataclass(frozen=True)
class Accused:
    """Proof of an offence, kept for people for ever; it changes nothing in the protocol."""

    round: int
    evidence: Evidence


@dataclass(frozen=True)
class Forgot:
    """The journal turned out to lack something this node has said."""

    round: int


@dataclass(frozen=True)
class Remembered:
    """The journal was lost once; from ``round`` on this node may vote again."""

    round: int


@dataclass(frozen=True)
class OperationHeard:
    """A change of the membership, with all signatures known so far, that no commit holds yet."""

    round: int
    operation: Operation


@dataclass(frozen=True)
class OperationsSettled:
    """These have been committed, or can never be."""

    round: int
    ids: tuple[str, ...]


Record = (
    Forgot | Remembered | AttemptMoved | VoteCast | ProposalMade | Contributed | Committed | Accused
    | OperationHeard | OperationsSettled
)  # fmt: skip


@dataclass
class Journal:
    """Everything a node must still know after a crash: its ledger and its word in this round.

    ``amnesia`` means that it was damaged and lost: the node must not vote until it is sure to be
    past every round in which it may have voted.
    """

    commits: list[Committed] = field(default_factory=list)
    attempt: int = 0
    votes: dict[tuple[int, Phase], str] = field(default_factory=dict)
    lock: Lock | None = None
    proposals: dict[int, Envelope] = field(default_factory=dict)
    contribution: Envelope | None = None
    operations: dict[str, Operation] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)
    amnesia: bool = False

    @property
    def round(self) -> int:
        """The round being worked on: the one after the last commit."""
        return len(self.commits) + 1

    def copy(self) -> Journal:
        """An independent journal with the same content."""
        return replace(
            self,
            commits=list(self.commits),
            votes=dict(self.votes),
            proposals=dict(self.proposals),
            operations=dict(self.operations),
            evidence=list(self.evidence),
        )

    def apply(self, record: Record) -> None:
        """Takes a record in. Records of another round than the current one change nothing."""
        if record.round != self.round:
            return
        match record:
            case AttemptMoved():
                self.attempt = max(self.attempt, record.attempt)
            case VoteCast():
                self.attempt = max(self.attempt, record.attempt)
                self.votes[record.attempt, record.phase] = record.value
                if record.lock is not None:
                    self.lock = record.lock
            case ProposalMade():
                self.proposals[record.attempt] = record.envelope
            case Contributed():
                self.contribution = record.envelope
            case Committed():
                self.commits.append(record)
                self.attempt, self.lock, self.contribution = 0, None, None
                self.votes.clear()
                self.proposals.clear()
            case Forgot():
                self.amnesia = True
            case Remembered():
                self.amnesia = False
            case OperationHeard():
                self.operations[record.operation.id] = record.operation
            case OperationsSettled():
                for id_ in record.ids:
                    self.operations.pop(id_, None)
            case Accused():
                self.evidence.append(record.evidence)


# --- effects -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Send:
    to: str
    message: Envelope


@dataclass(frozen=True)
class Broadcast:
    """To every other member."""

    message: Envelope


@dataclass(frozen=True)
class SetTimer:
    """Replaces the timer of this name; ``after`` (seconds) None stops it."""

    name: TimerName
    after: float | None


@dataclass(frozen=True)
class Persist:
    record: Record


@dataclass(frozen=True)
class FetchBlob:
    """Get a contribution's blob and have it checked; ``on_checked`` is called in any case."""

    id: str
    contribution: Contribution


@dataclass(frozen=True)
class Part:
    """One input of a combination; parts are sorted by ``id``."""

    id: str
    peer: str
    blob: str
    weight: int


@dataclass(frozen=True)
class Combine:
    """Compute the result of this attempt; ``on_combined`` is called unless it fails."""

    round: int
    attempt: int
    parts: tuple[Part, ...]
    previous: BlobRef


@dataclass(frozen=True)
class Precompute:
    """The leader will most likely propose the result of these: a voter may begin to recompute."""

    parts: tuple[Part, ...]
    previous: BlobRef


@dataclass(frozen=True)
class Verify:
    """Recompute a proposed result; ``on_verified`` is called in any case."""

    round: int
    value: str
    parts: tuple[Part, ...]
    previous: BlobRef
    result: BlobRef


@dataclass(frozen=True)
class KeepResult:
    """Have a prepared result on this disk, safe from a power cut; ``on_result_kept`` is called in
    any case. ``holders`` have recomputed it, and it follows from ``parts`` and ``previous``."""

    result: BlobRef
    holders: tuple[str, ...]
    parts: tuple[Part, ...]
    previous: BlobRef


@dataclass(frozen=True)
class CommitRound:
    """A round is decided, and durable by the time this effect is reached."""

    record: Committed
    result: Result
    qc: QC
    last_contribution_at: float | None


@dataclass(frozen=True)
class FetchCommits:
    """Get what ``peer`` has of the ledger beyond ours: one :meth:`on_commit` for each entry, then
    :meth:`on_ledger_end`. It said that it works on ``round``, which proves nothing."""

    peer: str
    round: int


@dataclass(frozen=True)
class MembersChanged:
    """Whom to connect to has changed: the members by commit and by what is under way."""

    membership: Membership


@dataclass(frozen=True)
class RoundOpened:
    round: int
    parent: str


@dataclass(frozen=True)
class Elected:
    round: int
    attempt: int
    peer: str


@dataclass(frozen=True)
class Rejected:
    """Something of a peer that was not acted on, and why; for the log."""

    peer: str
    reason: str


Effect = (
    Send | Broadcast | SetTimer | Persist | FetchBlob | Combine | Precompute | Verify | KeepResult
    | CommitRound | FetchCommits | MembersChanged | RoundOpened | Elected | Rejected
)  # fmt: skip

UNAVAILABLE = Verdict(False, "blob unavailable")
"""What ``on_checked`` gets when no source delivered the bytes: no word about their content."""
