"""What members tell one another every second: that they are there, and how far they are."""

from __future__ import annotations

import json
from typing import Annotated, Final

from pydantic import Field, StringConstraints, ValidationError, field_validator

from p2p.envelope import Envelope, strict_json
from p2p.errors import ProtocolError
from p2p.limits import MAX_JSON_INTEGER, MAX_STATUS_BYTES
from p2p.room import Payload
from p2p.text import clean_text

HELLO_TYPE: Final = "hello"

Counter = Annotated[int, Field(ge=0, le=MAX_JSON_INTEGER)]
StatusKey = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Status = dict[StatusKey, bool | int | str]
"""Shown to people, never acted upon: names to whole numbers, flags and cleaned short texts."""

_MAX_STATUS_TEXT: Final = 64


class Hello(Payload):
    """One probe or its answer.

    ``incarnation`` grows with every start of a node (it keeps it on disk) and ``seq`` with every
    Hello of one incarnation, so an older Hello that arrives late is recognised. ``round`` is the
    round being worked on, ``head`` the commit it follows, ``attempt`` the current attempt.
    ``port`` is where the sender listens. ``leaving`` says that it is shutting down.
    """

    incarnation: Counter
    seq: Counter
    round: Counter
    head: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,64}$")]
    attempt: Counter
    port: Annotated[int, Field(ge=1, le=65_535)]
    leaving: bool = False
    status: Annotated[Status, Field(max_length=32, default_factory=dict)]

    @field_validator("status")
    @classmethod
    def _harmless(cls, status: Status) -> Status:
        if len(json.dumps(status, ensure_ascii=False).encode()) > MAX_STATUS_BYTES:
            raise ValueError(f"a status has more than {MAX_STATUS_BYTES} bytes")
        return {key: _cleaned(value) for key, value in status.items()}

    @property
    def order(self) -> tuple[int, int]:
        """Later Hellos of one peer compare greater."""
        return self.incarnation, self.seq


def parse_hello(envelope: Envelope) -> Hello:
    """The Hello inside an envelope.

    Raises:
        ProtocolError: the payload is no Hello.
    """
    if envelope.type != HELLO_TYPE:
        raise ProtocolError("a Hello was expected")
    strict_json(envelope.payload, max_nodes=128)
    try:
        return Hello.model_validate_json(envelope.payload)
    except ValidationError as error:
        raise ProtocolError(f"a Hello is malformed: {error.error_count()} faults") from error


def _cleaned(value: bool | int | str) -> bool | int | str:
    if not isinstance(value, str):
        return value
    try:
        return clean_text(value, _MAX_STATUS_TEXT)
    except ProtocolError as error:
        raise ValueError(error.cause) from error
