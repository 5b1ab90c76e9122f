"""What the two sides of a lobby say: length-prefixed strict JSON, one object per frame.

joiner                                      lobby
  Hello  ------------------------------------>    an invite is looked up, a guess is spent
               <---------------------- Challenge
  Proof  ------------------------------------>    checked; the guess is given back
               <------------------------ Welcome  with the lobby's own proof
  Request (a signed envelope) --------------->
               <------------------------ Waiting  every few seconds while a person decides
               <----------------------- Admitted  or Refused, at any point above
"""

from __future__ import annotations

import asyncio
import struct
from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from p2p.envelope import strict_json
from p2p.errors import LimitError, ProtocolError
from p2p.joining.code import MAX_NAMEPLATE
from p2p.joining.refusals import Refusal
from p2p.limits import (
    MAX_ADDRESSES_PER_PEER,
    MAX_LARGE_JSON_NODES,
    MAX_LARGE_MESSAGE_BYTES,
    MAX_LOBBY_FRAME_BYTES,
    MAX_MEMBERS,
)
from p2p.room import Digest, Member, Payload, PeerId

PROTOCOL: Final = 1
REQUEST_TYPE: Final = "join"
"""The signed type of the envelope by which a machine asks to be admitted."""
MAX_ADMITTED_BYTES: Final = 2 * MAX_LARGE_MESSAGE_BYTES
MAX_TOLD_OPERATIONS: Final = 8 * MAX_MEMBERS
"""Changes of the membership since the genesis, as many as a newcomer can be told."""
_LENGTH: Final = struct.Struct(">I")

Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,96}$")]
Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Mac = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AddressText = Annotated[str, StringConstraints(max_length=64)]
Version = Annotated[int, Field(ge=1, le=1000)]
EnvelopeText = Annotated[str, StringConstraints(max_length=MAX_LARGE_MESSAGE_BYTES)]


class Hello(Payload):
    """``invite`` names a link's invite, ``nameplate`` and ``element`` (SPAKE2) a code's."""

    say: Literal["hello"] = "hello"
    oldest: Version
    newest: Version
    peer: PeerId
    nonce: Nonce
    invite: Nonce | None = None
    room: Digest | None = None
    nameplate: Annotated[int, Field(ge=1, le=MAX_NAMEPLATE)] | None = None
    element: Base64 | None = None


class Challenge(Payload):
    say: Literal["challenge"] = "challenge"
    version: Version
    room: Digest
    nonce: Nonce
    element: Base64 | None = None


class Proof(Payload):
    say: Literal["proof"] = "proof"
    mac: Mac


class Welcome(Payload):
    say: Literal["welcome"] = "welcome"
    mac: Mac


class Request(Payload):
    """``envelope`` is an :class:`Asking` signed for the room by the joiner's identity."""

    say: Literal["request"] = "request"
    envelope: Annotated[str, StringConstraints(max_length=MAX_LOBBY_FRAME_BYTES)]


class Asking(Payload):
    """What the joiner signs. ``transcript`` binds it to this conversation and no other."""

    transcript: Digest
    member: Member


class Waiting(Payload):
    say: Literal["waiting"] = "waiting"


class Admitted(Payload):
    """All a new member needs: the genesis, the operations since, and where members are."""

    say: Literal["admitted"] = "admitted"
    genesis: EnvelopeText
    operations: Annotated[tuple[EnvelopeText, ...], Field(max_length=MAX_TOLD_OPERATIONS)] = ()
    addresses: Annotated[
        dict[PeerId, Annotated[tuple[AddressText, ...], Field(max_length=MAX_ADDRESSES_PER_PEER)]],
        Field(max_length=MAX_MEMBERS),
    ]
    head_round: Annotated[int, Field(ge=0, le=100_000)]
    head: Digest


class Refused(Payload):
    """``clock_ms`` is the lobby's Unix time, so that wrong clocks can be told from late guests."""

    say: Literal["refused"] = "refused"
    reason: Refusal
    clock_ms: Annotated[int, Field(ge=0, lt=1 << 53)]


Spoken = Hello | Challenge | Proof | Welcome | Request | Waiting | Admitted | Refused
P = TypeVar("P", bound=Payload)
S = TypeVar("S", bound=Spoken)


async def read_frame(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    """The next frame's bytes.

    Raises:
        LimitError: it announces more than ``max_bytes``; nothing of it is read.
        ProtocolError: the connection ends inside a frame.
        EOFError: it ends between frames.
        OSError: it breaks.
    """
    try:
        head = await reader.readexactly(_LENGTH.size)
        (size,) = _LENGTH.unpack(head)
        if not 1 <= size <= max_bytes:
            raise LimitError(f"a lobby frame has 1 to {max_bytes} bytes")
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        if not error.partial and error.expected == _LENGTH.size:
            raise EOFError("the other side closed the connection") from error
        raise ProtocolError("a lobby frame is cut off") from error


def frame(message: Spoken) -> bytes:
    """A message with its length in front."""
    body = message.to_bytes()
    return _LENGTH.pack(len(body)) + body


def read(kind: type[P], data: bytes) -> P:
    """The message that must come now, from bytes nobody vouches for.

    Raises:
        ProtocolError: anything else came.
    """
    strict_json(data, max_bytes=MAX_ADMITTED_BYTES, max_nodes=MAX_LARGE_JSON_NODES)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ProtocolError(f"a {kind.__name__} breaks its rules at {where!r}") from error


def read_answer(data: bytes, *kinds: type[S]) -> S | Refused:
    """As :func:`read`, for the joiner: one of ``kinds``, or a refusal, which may always come."""
    said = strict_json(data, max_bytes=MAX_ADMITTED_BYTES, max_nodes=MAX_LARGE_JSON_NODES)
    word = said.get("say") if isinstance(said, dict) else None
    if word == _word(Refused):
        return read(Refused, data)
    for kind in kinds:
        if word == _word(kind):
            return read(kind, data)
    raise ProtocolError("the lobby said something that does not come here")


def _word(kind: type[Payload]) -> str:
    return str(kind.model_fields["say"].default)
