"""What members say and pass on: that they are there, how far they are, and whom they miss."""

from __future__ import annotations

import json
from typing import Annotated, Final

from pydantic import Field, StringConstraints, ValidationError, field_validator

from p2p.addresses import Address
from p2p.envelope import Envelope, strict_json
from p2p.errors import ProtocolError
from p2p.limits import (
    MAX_ADDRESSES_PER_PEER,
    MAX_JSON_INTEGER,
    MAX_MEMBERS,
    MAX_STATUS_BYTES,
)
from p2p.room import Payload, PeerId
from p2p.text import clean_text

HELLO_TYPE: Final = "hello"
ACCUSATION_TYPE: Final = "accusation"
DIGEST_TYPE: Final = "digest"

Counter = Annotated[int, Field(ge=0, le=MAX_JSON_INTEGER)]
StatusKey = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Status = dict[StatusKey, bool | int | str]
"""Shown to people, never acted upon: names to whole numbers, flags and cleaned short texts."""

Host = Annotated[str, StringConstraints(max_length=64)]

_MAX_STATUS_TEXT: Final = 64


class Hello(Payload):
    """What a member says of itself; its neighbours pass it on.

    ``incarnation`` grows with every start of a node and whenever it contradicts an accusation,
    ``seq`` with every Hello of one start, so an older Hello that arrives late is recognised.
    ``round`` is the round being worked on, ``head`` the commit it follows, ``attempt`` the current
    attempt. ``port`` is where the sender listens and ``hosts`` its addresses on the networks it
    is connected to. ``leaving`` says that it is shutting down.
    """

    incarnation: Counter
    seq: Counter
    round: Counter
    head: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,64}$")]
    attempt: Counter
    port: Annotated[int, Field(ge=1, le=65_535)]
    hosts: Annotated[tuple[Host, ...], Field(max_length=MAX_ADDRESSES_PER_PEER)] = ()
    leaving: bool = False
    status: Annotated[Status, Field(max_length=32, default_factory=dict)]

    @field_validator("status")
    @classmethod
    def _harmless(cls, status: Status) -> Status:
        if len(json.dumps(status, ensure_ascii=False).encode()) > MAX_STATUS_BYTES:
            raise ValueError(f"a status has more than {MAX_STATUS_BYTES} bytes")
        return {key: _cleaned(value) for key, value in status.items()}

    @field_validator("hosts")
    @classmethod
    def _unicast(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_address(host, 1).host for host in hosts)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the member says it may be reached."""
        return tuple(Address.checked(host, self.port) for host in self.hosts)

    @property
    def order(self) -> tuple[int, int]:
        """Later Hellos of one peer compare greater."""
        return self.incarnation, self.seq


class Accusation(Payload):
    """The signer got no answer from ``peer``, which had ``incarnation`` then.

    Only the accused ends it, with a Hello of a greater incarnation. It takes no right from
    anybody: every member waits for confirmations and judges for itself.
    """

    peer: PeerId
    incarnation: Counter


class Digest(Payload):
    """What the signer knows: per member the incarnation and ``seq`` of its newest Hello.

    The answer are the newer Hellos of the members listed.
    """

    known: Annotated[dict[PeerId, tuple[Counter, Counter]], Field(max_length=MAX_MEMBERS)]


Said = Hello | Accusation | Digest
_TYPES: Final[dict[str, type[Said]]] = {
    HELLO_TYPE: Hello,
    ACCUSATION_TYPE: Accusation,
    DIGEST_TYPE: Digest,
}


def type_of(said: Said) -> str:
    """The envelope type under which something is signed."""
    return next(name for name, model in _TYPES.items() if isinstance(said, model))


def parse_said(type_: str, payload: bytes) -> Said:
    """What a gossip envelope says.

    Raises:
        ProtocolError: it is none, or malformed.
    """
    model = _TYPES.get(type_)
    if model is None:
        raise ProtocolError(f"a {type_} is not gossip")
    strict_json(payload, max_nodes=5 * MAX_MEMBERS)
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        raise ProtocolError(f"a {type_} is malformed: {error.error_count()} faults") from error


def parse_hello(envelope: Envelope) -> Hello:
    """The Hello inside an envelope.

    Raises:
        ProtocolError: the payload is no Hello.
    """
    said = parse_said(envelope.type, envelope.payload)
    if not isinstance(said, Hello):
        raise ProtocolError("a Hello was expected")
    return said


def _address(host: str, port: int) -> Address:
    try:
        return Address.checked(host, port)
    except ProtocolError as error:
        raise ValueError(error.cause) from error


def _cleaned(value: bool | int | str) -> bool | int | str:
    if not isinstance(value, str):
        return value
    try:
        return clean_text(value, _MAX_STATUS_TEXT)
    except ProtocolError as error:
        raise ValueError(error.cause) from error
