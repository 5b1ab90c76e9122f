"""A room: who founded it, who belongs to it, what it agreed on.

The genesis is a signed envelope; its id is the room's id, so nobody can change a word of it
without founding another room.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from p2p.envelope import Envelope
from p2p.errors import ProtocolError, TrustError
from p2p.identity import Identity
from p2p.limits import MAX_ADMINS, MAX_MEMBERS


def _base64(text: str) -> str:
    base64.b64decode(text, validate=True)
    return text


PeerId = Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{52}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=32)]
SignatureText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{86}$")]
Certificate = Annotated[str, StringConstraints(max_length=2048), AfterValidator(_base64)]
"""A self-signed X.509 certificate, base64 of DER."""
Role = Literal["admin", "participant", "observer"]
Device = Literal["server", "desktop", "laptop"]


class Payload(BaseModel):
    """Base of everything that is signed: unknown keys, coercions and mutation are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def to_bytes(self) -> bytes:
        """The UTF-8 JSON that gets signed; receivers keep these bytes and never re-encode them."""
        return self.model_dump_json(exclude_none=True).encode()


class Message(Payload):
    """A payload that is sent by itself; ``kind`` is the envelope's signed type."""

    kind: ClassVar[str]


class Signature(Payload):
    """One member's Ed25519 signature, over bytes that the context names."""

    peer: PeerId
    signature: SignatureText


class Permissions(Payload):
    """What a member may do beside watching. Voting follows from contributing.

    ``start_rounds`` counts where the plan has rounds wait for a word; ``see_previews`` decides to
    whom other members give the pictures they drew. Admins may do both in any case.
    """

    contribute: bool = True
    start_rounds: bool = False
    see_previews: bool = True


class Member(Payload):
    """An admitted identity.

    ``device`` says how likely the machine stays up: servers are asked to aggregate first. An
    observer never contributes, whatever its permissions say.
    """

    peer_id: PeerId
    name: Name
    role: Role = "participant"
    device: Device = "desktop"
    permissions: Permissions = Permissions()
    certificate: Certificate

    @property
    def trains(self) -> bool:
        return self.role != "observer" and self.permissions.contribute

    @property
    def starts_rounds(self) -> bool:
        return self.role == "admin" or self.permissions.start_rounds

    @property
    def sees_previews(self) -> bool:
        return self.role == "admin" or self.permissions.see_previews

    @property
    def certificate_der(self) -> bytes:
        return base64.b64decode(self.certificate)

    @classmethod
    def of(
        cls,
        identity: Identity,
        name: str,
        role: Role = "participant",
        device: Device = "desktop",
        permissions: Permissions | None = None,
    ) -> Member:
        """The member record of a key that is at hand."""
        certificate = base64.b64encode(identity.certificate_der()).decode()
        return cls(
            peer_id=identity.peer_id,
            name=name,
            role=role,
            device=device,
            permissions=permissions or Permissions(),
            certificate=certificate,
        )


class Policy(Payload):
    """Rules that only a new room can change.

    ``majority`` tolerates members that crash or sleep; ``two_thirds`` also fewer than a third
    that lie.
    """

    quorum: Literal["majority", "two_thirds"] = "majority"
    min_voters: Annotated[int, Field(ge=1, le=128)] = 2
    max_blob: Annotated[int, Field(ge=1024, le=1 << 30)] = 256 << 20


class Plan(Payload):
    """What the next round must do. ``task`` belongs to the workload and is opaque here.

    Durations are milliseconds counted from the moment a node saw the previous commit. ``ask`` is
    how many participants are asked for a contribution in each round (None: everybody); the
    previous commit decides which. With ``start_on_request`` a round begins when a member that may
    has said so (:class:`p2p.operations.RoundStart`), and its deadline counts from then.
    """

    rounds: Annotated[int, Field(ge=1, le=100_000)]
    deadline_ms: Annotated[int, Field(ge=1_000, le=7 * 24 * 3600 * 1000)]
    min_contributions: Annotated[int, Field(ge=1, le=128)] = 1
    ask: Annotated[int, Field(ge=1, le=128)] | None = None
    algorithm: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")] = "fedex"
    start_on_request: Literal[True] | None = None
    late: Literal["carry"] | None = None
    task: dict[str, Any]

    @model_validator(mode="after")
    def _asks_enough(self) -> Plan:
        if self.ask is not None and self.ask < self.min_contributions:
            raise ValueError("a round must ask at least as many as it needs contributions")
        if self.ask is not None and self.late is not None:
            raise ValueError("what is late cannot be carried where each round asks others")
        return self

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the plan's bytes; contributions name it."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


class Continuation(Payload):
    """The history that a room goes on from: another room, up to the commit of a round."""

    room: Digest
    round: Annotated[int, Field(ge=0, le=100_000)]
    head: Digest


class Genesis(Payload):
    """The first entry of a room's ledger. ``initial_blob`` names the state before round 1,
    ``initial_chunks`` its list of chunks (:mod:`p2p.blobs.chunks`). As many admins as
    ``admin_threshold`` must sign a change; all of them while the room has fewer.

    A room that ``continues`` another one was forked off by an admin when that one had lost its
    quorum for good: both may have gone on.
    """

    room_name: Name
    created_ms: Annotated[int, Field(ge=0, lt=1 << 53)]
    admins: Annotated[list[PeerId], Field(min_length=1, max_length=MAX_ADMINS)]
    admin_threshold: Annotated[int, Field(ge=1, le=MAX_ADMINS)] = 1
    policy: Policy
    members: Annotated[list[Member], Field(min_length=1, max_length=MAX_MEMBERS)]
    plan: Plan
    initial_blob: Digest
    initial_size: Annotated[int, Field(ge=1, le=1 << 30)]
    initial_chunks: Digest
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    continues: Continuation | None = None


def read_genesis(envelope: Envelope) -> Genesis:
    """The genesis inside its envelope.

    Raises:
        ProtocolError: the payload is none.
        TrustError: it is not signed by an admin it names.
    """
    envelope.json(max_nodes=32_768)
    try:
        genesis = Genesis.model_validate_json(envelope.payload)
    except ValueError as error:
        raise ProtocolError("a genesis is malformed") from error
    if envelope.signer not in genesis.admins:
        raise TrustError("a genesis is not signed by an admin of its room")
    return genesis
