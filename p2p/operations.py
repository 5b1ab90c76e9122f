"""What admins sign: changes of a room's membership. Members sign that they leave, and start rounds.

An operation is a verbatim payload with the signatures of as many admins as the room's threshold
asks for, all over the same bytes. It is worth something by itself, whoever delivers it.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache
from typing import Annotated, Final, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from p2p.envelope import Envelope, encode_base64, strict_json
from p2p.errors import ProtocolError
from p2p.limits import MAX_ADMINS, MAX_LARGE_JSON_NODES, MAX_LARGE_MESSAGE_BYTES
from p2p.room import Certificate, Digest, Member, Message, Payload, PeerId, Signature

MAX_REASON: Final = 160
MAX_CHANGE_TEXT: Final = 4 << 10
MAX_SIGNATURES: Final = MAX_ADMINS + 2
"""All admins, and the two keys of a member that changes its own."""

Reason = Annotated[str, StringConstraints(min_length=1, max_length=MAX_REASON)]


class Change(Message):
    """One wish of one admin. ``seq`` counts the changes that ``author`` ever signed here; of two
    about the same subject the later one holds. ``after`` is the commit the author knew last."""

    author: PeerId
    seq: Annotated[int, Field(ge=1, lt=1 << 53)]
    after: Digest

    @property
    def subject(self) -> str:
        """Whom or what it is about: a peer id, or a word."""
        raise NotImplementedError


class MemberAdd(Change):
    """Admits a key, or replaces the record of a member."""

    kind = "member-add"

    member: Member

    @property
    def subject(self) -> str:
        return self.member.peer_id


class MemberRemove(Change):
    """Removes a key for good. Signed by its own key alone it means that the member left."""

    kind = "member-remove"

    peer: PeerId
    reason: Reason | None = None

    @property
    def subject(self) -> str:
        return self.peer


class KeyChange(Change):
    """Gives a member another key, from the commit that holds it on: signed by the old key, which is
    its author, and by the new one. Of an admin's key as many admins must sign as of any change.
    Name, role and rights stay what they are."""

    kind = "key-change"

    key: PeerId
    certificate: Certificate

    @property
    def subject(self) -> str:
        return self.author


class AdminChange(Change):
    """Replaces the admins; needs the thresholds of the old ones and of the new ones."""

    kind = "admin-change"

    admins: Annotated[tuple[PeerId, ...], Field(min_length=1, max_length=MAX_ADMINS)]
    threshold: Annotated[int, Field(ge=1, le=MAX_ADMINS)]

    @property
    def subject(self) -> str:
        return "admins"


class RoundStart(Change):
    """Lets rounds begin, up to and including ``through``, in a room whose plan has them wait."""

    kind = "round-start"

    through: Annotated[int, Field(ge=1, le=100_000)]

    @property
    def subject(self) -> str:
        return "rounds"


class RoomFork(Change):
    """Goes on in another room, from a commit of this one: the last resort when the quorum is lost
    for good. ``genesis`` is the new room's id."""

    kind = "room-fork"

    genesis: Digest
    round: Annotated[int, Field(ge=0, le=100_000)]
    head: Digest

    @property
    def subject(self) -> str:
        return "fork"


AnyChange = MemberAdd | MemberRemove | KeyChange | AdminChange | RoundStart | RoomFork


def is_goodbye(change: AnyChange) -> bool:
    """Whether a member leaves by itself."""
    return isinstance(change, MemberRemove) and change.author == change.peer


CHANGES: Final[dict[str, type[AnyChange]]] = {
    model.kind: model
    for model in (MemberAdd, MemberRemove, KeyChange, AdminChange, RoundStart, RoomFork)
}


class Operation(Payload):
    """A change with its signatures, each over the same ``body`` and sorted by peer."""

    type: Annotated[str, StringConstraints(max_length=32)]
    body: Annotated[str, StringConstraints(max_length=MAX_CHANGE_TEXT)]
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=MAX_SIGNATURES)]

    @classmethod
    def of(cls, envelope: Envelope) -> Operation:
        """The operation that a sealed :class:`Change` begins."""
        signature = Signature(peer=envelope.signer, signature=encode_base64(envelope.signature))
        return cls(type=envelope.type, body=envelope.payload.decode(), signatures=(signature,))

    @cached_property
    def id(self) -> str:
        """SHA-256 (hex) of what is signed, whoever has signed it so far."""
        return hashlib.sha256(f"{self.type}\n{self.body}".encode()).hexdigest()

    @cached_property
    def change(self) -> AnyChange:
        """What it says.

        Raises:
            ProtocolError: the type is unknown, or the body breaks its model.
        """
        return _read_change(self.type, self.body)

    @property
    def signers(self) -> frozenset[str]:
        return frozenset(entry.peer for entry in self.signatures)

    def joined(self, other: Operation) -> Operation:
        """With the signatures of both, which are of the same change; of one member that has signed
        twice, the one that is here already."""
        assert self.id == other.id
        signatures = {entry.peer: entry for entry in (*other.signatures, *self.signatures)}
        kept = tuple(signatures[peer] for peer in sorted(signatures)[:MAX_SIGNATURES])
        return self.model_copy(update={"signatures": kept})


@lru_cache(maxsize=1024)
def _read_change(type_: str, body: str) -> AnyChange:
    model = CHANGES.get(type_)
    if model is None:
        raise ProtocolError(f"changes of type {type_!r} are not known here")
    return read_payload(model, body.encode())


P = TypeVar("P", bound=Payload)


def read_payload(model: type[P], payload: bytes) -> P:
    """Reads the payload of a message.

    Raises:
        ProtocolError: it is no JSON as we accept it, or breaks its model.
    """
    strict_json(payload, max_bytes=MAX_LARGE_MESSAGE_BYTES, max_nodes=MAX_LARGE_JSON_NODES)
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ProtocolError(f"a {model.__name__} breaks its rules at {where!r}") from error
