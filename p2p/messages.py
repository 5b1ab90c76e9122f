"""What members sign: the payloads of every envelope of the round protocol.

All numbers are integers, all sequences are bounded, unknown keys are refused. An envelope that is
quoted inside another payload travels as its verbatim text, so that its signature stays checkable.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints, ValidationError

from p2p.blobs.chunks import BlobRef
from p2p.errors import ProtocolError
from p2p.limits import MAX_LARGE_MESSAGE_BYTES, MAX_MEMBERS
from p2p.operations import Operation, Reason, read_payload
from p2p.room import Digest, Message, Payload, PeerId, Signature

MAX_SAMPLES: Final = (1 << 29) - 1
"""Weights stay below 2**29, so that a float32 value times a weight is exact in float64."""
MAX_ENVELOPE_TEXT: Final = 128 << 10
MAX_BODY_TEXT: Final = 256 << 10

MAX_LISTED: Final = 4 * MAX_MEMBERS
"""Contributions that one message may name: a member may be seen with several."""
MAX_ATTEMPT: Final = (1 << 20) - 1
MAX_OPERATIONS: Final = 32
"""Changes of the membership that one result may hold; the others wait for the next round."""
MAX_REPORTS: Final = MAX_MEMBERS + MAX_OPERATIONS
"""Who may have reported: members, and those whom the result admits."""
MAX_PRESENT: Final = MAX_REPORTS + MAX_LISTED
"""Who may have been heard from: those, and whoever a contribution was left out of."""
MAX_OFFERED: Final = 8
"""Operations in one message: with 16 signatures each they stay below 64 KiB."""

MAX_SMALL_PAYLOAD: Final = 16 << 10
"""Longer payloads share a few places of their own in what is remembered of parsing: 1024 messages
of 1 MiB would fill the memory."""
MAX_LARGE_REMEMBERED: Final = 8

Phase = Literal["prepare", "commit"]
Offence = Literal["double_vote", "double_proposal", "wrong_result"]
RoundNumber = Annotated[int, Field(ge=1, le=100_000)]
AttemptNumber = Annotated[int, Field(ge=0, le=MAX_ATTEMPT)]
ShortId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
EnvelopeText = Annotated[str, StringConstraints(max_length=MAX_ENVELOPE_TEXT)]
ProofText = Annotated[str, StringConstraints(max_length=MAX_LARGE_MESSAGE_BYTES)]
BodyText = Annotated[str, StringConstraints(max_length=MAX_BODY_TEXT)]
BlobSize = Annotated[int, Field(ge=1, le=1 << 30)]


class Contribution(Message):
    """What one participant trained in a round: the manifest of a blob, never the blob itself.

    It names its author, because the id of an envelope does not depend on who signed it. ``chunks``
    is the digest of the blob's list of chunks (:mod:`p2p.blobs.chunks`).
    """

    kind = "contribution"

    peer: PeerId
    round: RoundNumber
    parent: Digest
    plan: Digest
    blob: Digest
    size: BlobSize
    chunks: Digest
    samples: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]
    steps: Annotated[int, Field(ge=0, lt=1 << 31)]
    loss_milli: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None

    @property
    def ref(self) -> BlobRef:
        return BlobRef(self.blob, self.size, self.chunks)


class Receipt(Message):
    """The receiver's word that it has a manifest: evidence against censorship, and the end of
    the sender's repetitions."""

    kind = "receipt"

    round: RoundNumber
    contribution: Digest
    verdict: Literal["stored", "late", "rejected"]
    reason: Reason | None = None


class LockClaim(Payload):
    """The lock a voter says it holds. Its certificate travels as :class:`Prepared`."""

    attempt: AttemptNumber
    value: Digest


class NewAttempt(Message):
    """A member is ready for an attempt. ``have`` names the contributions it knows, sorted."""

    kind = "newattempt"

    round: RoundNumber
    attempt: AttemptNumber
    parent: Digest
    lock: LockClaim | None = None
    have: Annotated[tuple[ShortId, ...], Field(max_length=MAX_LISTED)] = ()


class Want(Message):
    """A leader asks for manifests that a :class:`NewAttempt` named and it never saw."""

    kind = "want"

    round: RoundNumber
    contributions: Annotated[tuple[ShortId, ...], Field(min_length=1, max_length=MAX_LISTED)]


class ResultInput(Payload):
    """A contribution that entered the result."""

    contribution: Digest
    peer: PeerId
    blob: Digest
    weight: Annotated[int, Field(ge=1, le=MAX_SAMPLES)]


class Exclusion(Payload):
    """A contribution that did not, and why."""

    contribution: Digest
    peer: PeerId
    reason: Reason


class Result(Payload):
    """What a round is agreed to have been. Its hash is the value that voters sign.

    ``operations`` change the membership, in this order; contributions and ``next_voters`` are
    judged by the membership they lead to. ``present`` are the members heard from in this round,
    the basis of ``next_voters``. Without inputs the round was skipped and the result is the
    previous one.
    """

    round: RoundNumber
    attempt: AttemptNumber
    proposer: PeerId
    parent: Digest
    algorithm: Annotated[str, StringConstraints(max_length=32)]
    inputs: Annotated[tuple[ResultInput, ...], Field(max_length=MAX_MEMBERS)]
    excluded: Annotated[tuple[Exclusion, ...], Field(max_length=MAX_LISTED)]
    result_blob: Digest
    result_size: BlobSize
    result_chunks: Digest
    operations: Annotated[tuple[Operation, ...], Field(max_length=MAX_OPERATIONS)] = ()
    present: Annotated[tuple[PeerId, ...], Field(max_length=MAX_PRESENT)]
    next_voters: Annotated[tuple[PeerId, ...], Field(min_length=1, max_length=MAX_MEMBERS)]
    next_plan: Digest

    @property
    def ref(self) -> BlobRef:
        return BlobRef(self.result_blob, self.result_size, self.result_chunks)

    @property
    def skipped(self) -> bool:
        return not self.inputs

    @property
    def listed(self) -> tuple[ResultInput | Exclusion, ...]:
        """Every contribution the result speaks of."""
        return (*self.inputs, *self.excluded)


class Vote(Message):
    """One voter's word for one value in one phase of one attempt.

    The bytes are a fixed template, so that all signatures of a certificate are over the same
    bytes and those need not travel with each of them.
    """

    kind = "vote"
    _TEMPLATE: ClassVar[re.Pattern[bytes]] = re.compile(
        rb'\{"a":(0|[1-9][0-9]{0,6}),"ph":"(prepare|commit)","r":([1-9][0-9]{0,5}),'
        rb'"v":"([0-9a-f]{64})"\}'
    )

    attempt: AttemptNumber
    phase: Phase
    round: RoundNumber
    value: Digest

    def to_bytes(self) -> bytes:
        return vote_bytes(self.round, self.attempt, self.phase, self.value)

    @classmethod
    def from_bytes(cls, data: bytes) -> Vote:
        """Reads exactly what :meth:`to_bytes` writes.

        Raises:
            ProtocolError: any other bytes.
        """
        match = cls._TEMPLATE.fullmatch(data)
        if match is None:
            raise ProtocolError("a vote is not written as the template says")
        attempt, phase, round_number, value = (part.decode() for part in match.groups())
        fields = {"attempt": int(attempt), "phase": phase, "round": int(round_number)}
        try:
            return cls.model_validate({**fields, "value": value})
        except ValidationError as error:
            raise ProtocolError("a vote names an impossible round or attempt") from error


def vote_bytes(round_number: int, attempt: int, phase: Phase, value: str) -> bytes:
    """The one encoding of a vote: these keys, this order, no blanks."""
    return f'{{"a":{attempt},"ph":"{phase}","r":{round_number},"v":"{value}"}}'.encode()


class QC(Payload):
    """A quorum certificate: one vote, signed by distinct voters."""

    round: RoundNumber
    attempt: AttemptNumber
    phase: Phase
    value: Digest
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=MAX_MEMBERS)]


class Proposal(Message):
    """The leader's value for an attempt and what a voter needs to judge it.

    ``body`` is the verbatim payload of a :class:`Result`; ``just`` certifies that an earlier
    attempt prepared it; the rest are envelopes.
    """

    kind = "proposal"

    round: RoundNumber
    attempt: AttemptNumber
    body: BodyText
    just: QC | None = None
    new_attempts: Annotated[tuple[EnvelopeText, ...], Field(max_length=MAX_REPORTS)]
    contributions: Annotated[tuple[EnvelopeText, ...], Field(max_length=MAX_LISTED)]


class Prepared(Message):
    """A value with the certificate that a quorum prepared it: what a voter locks on."""

    kind = "prepared"

    body: BodyText
    qc: QC

    @property
    def round(self) -> int:
        return self.qc.round


class Commit(Message):
    """An entry of the ledger: a result and the certificate that makes it the round's."""

    kind = "commit"

    body: BodyText
    qc: QC

    @property
    def round(self) -> int:
        return self.qc.round


class Evidence(Message):
    """Two envelopes nobody honest would have signed, or one that can be refuted by recomputing."""

    kind = "evidence"

    offence: Offence
    accused: PeerId
    round: RoundNumber
    first: ProofText
    second: ProofText | None = None


class Leave(Message):
    """A participant will not contribute to this round: a courtesy that spares others the wait."""

    kind = "leave"

    round: RoundNumber


class Operations(Message):
    """Changes of the membership that are under way, and which of them the sender has.

    ``known`` answers an offer: those need not be sent again.
    """

    kind = "operations"

    offered: Annotated[tuple[Operation, ...], Field(max_length=MAX_OFFERED)] = ()
    known: Annotated[tuple[Digest, ...], Field(max_length=MAX_OFFERED)] = ()


RoundMessage = (
    Contribution | Receipt | NewAttempt | Want | Vote | Proposal | Prepared | Commit | Evidence
    | Leave
)  # fmt: skip
AnyMessage = RoundMessage | Operations

MESSAGES: Final[dict[str, type[AnyMessage]]] = {
    model.kind: model
    for model in (
        Contribution, Receipt, NewAttempt, Want, Vote, Proposal, Prepared, Commit, Evidence, Leave,
        Operations,
    )
}  # fmt: skip


def parse(kind: str, payload: bytes) -> AnyMessage:
    """The message of a payload; repetitions of the same bytes are rarely parsed again.

    Raises:
        ProtocolError: an unknown kind, or content that breaks its model.
    """
    remembered = _small_message if len(payload) <= MAX_SMALL_PAYLOAD else _large_message
    return remembered(kind, payload)


def _read_message(kind: str, payload: bytes) -> AnyMessage:
    model = MESSAGES.get(kind)
    if model is None:
        raise ProtocolError(f"messages of type {kind[:32]!r} are not known here")
    if model is Vote:
        return Vote.from_bytes(payload)
    return read_payload(model, payload)


def parse_result(body: str) -> Result:
    """Reads the quoted result of a proposal or commit.

    Raises:
        ProtocolError: it is none.
    """
    remembered = _small_result if len(body) <= MAX_SMALL_PAYLOAD else _large_result
    return remembered(body)


def _read_result(body: str) -> Result:
    return read_payload(Result, body.encode())


_small_message = lru_cache(maxsize=1024)(_read_message)
_large_message = lru_cache(maxsize=MAX_LARGE_REMEMBERED)(_read_message)
_small_result = lru_cache(maxsize=256)(_read_result)
_large_result = lru_cache(maxsize=MAX_LARGE_REMEMBERED)(_read_result)


def value_of(body: str) -> str:
    """The value that is voted on: SHA-256 of the result's verbatim bytes."""
    return hashlib.sha256(body.encode()).hexdigest()


def chain_hash(previous: str, value: str) -> str:
    """``commit_hash_r = SHA-256(commit_hash_{r-1} | value_r)``, hex in and out."""
    return hashlib.sha256(bytes.fromhex(previous) + bytes.fromhex(value)).hexdigest()
