"""What the round state machine keeps in memory only, and what it is configured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from p2p.blobs.chunks import BlobRef
from p2p.envelope import Envelope
from p2p.messages import (
    Contribution,
    Exclusion,
    NewAttempt,
    Offence,
    Phase,
    Result,
    ResultInput,
    Vote,
)
from p2p.operations import Operation
from p2p.rounds.effects import Lock
from p2p.workload import Verdict


@dataclass(frozen=True)
class Timing:
    """Durations in seconds. ``base`` is attempt 0's patience once everything is there; later
    attempts take ``factor`` times as long each, up to ``cap`` times ``base``."""

    base: float = 6.0
    factor: float = 1.5
    cap: float = 11.0
    jitter: float = 0.2
    grace: float = 0.3
    check_share: float = 0.5
    dead_leader: float = 0.5
    resend: float = 2.0


@dataclass(frozen=True)
class OwnContribution:
    """What this node trained for ``round``: its blob is already durable in the blob store."""

    round: int
    blob: BlobRef
    samples: int
    steps: int
    loss_milli: int | None = None


@dataclass(frozen=True)
class Draft:
    """A leader's choice, frozen while its result is computed."""

    inputs: tuple[ResultInput, ...]
    excluded: tuple[Exclusion, ...]
    reports: Mapping[str, Envelope]
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Heard:
    """The proposal of the current attempt, as received from its leader or made here."""

    envelope: Envelope
    value: str
    body: str
    result: Result


@dataclass
class RoundState:
    """What a restart may forget, for one round. ``kept`` are results (SHA-256) that are on this
    disk to stay, ``keeping`` those under way there."""

    started_at: float
    contributions: dict[str, Contribution] = field(default_factory=dict)
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    extra: set[str] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    verified: dict[str, Verdict] = field(default_factory=dict)
    verifying: set[str] = field(default_factory=set)
    reached: dict[str, int] = field(default_factory=dict)
    ahead: dict[str, Envelope] = field(default_factory=dict)
    proof: Lock | None = None
    kept: set[str] = field(default_factory=set)
    keeping: set[str] = field(default_factory=set)
    accused: set[tuple[Offence, str]] = field(default_factory=set)
    deadline_passed: bool = False
    too_few: bool = False
    cut: bool = False
    own: str | None = None
    last_contribution_at: float | None = None


@dataclass
class AttemptState:
    """What a restart may forget, for one attempt."""

    reports: dict[str, tuple[Envelope, NewAttempt]] = field(default_factory=dict)
    ballots: dict[tuple[Phase, str], tuple[Envelope, Vote]] = field(default_factory=dict)
    gathering: bool = False
    grace_over: bool = False
    checks_over: bool = False
    draft: Draft | None = None
    heard: Heard | None = None
    judging: bool = False
    prepared: Envelope | None = None
    patient: bool = False
    hurried: bool = False
