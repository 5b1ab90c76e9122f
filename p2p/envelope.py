"""Signed messages: strict JSON inside an envelope whose signature covers type, room and bytes.

The receiver verifies the signature over the bytes it received and parses afterwards; it stores
and forwards those bytes unchanged. There is no canonical form, as in DSSE
(github.com/secure-systems-lab/dsse): what is signed is a length-prefixed concatenation

    "fedtui/v1" 00 | u16 len(type) | type | room id (32 bytes) | u32 len(payload) | payload

with big-endian lengths, so a signature is worthless in another room, for another type, or in
another protocol.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NoReturn

from p2p.errors import LimitError, ProtocolError
from p2p.identity import SIGNATURE_BYTES, Identity, public_key_of, verify
from p2p.limits import (
    MAX_JSON_DEPTH,
    MAX_JSON_INTEGER,
    MAX_JSON_NODES,
    MAX_LARGE_MESSAGE_BYTES,
    MAX_MESSAGE_BYTES,
)

GENESIS_ROOM: Final = "0" * 64
"""The room a genesis is signed for: its own id does not exist yet."""
GENESIS_TYPE: Final = "genesis"
_PREFIX: Final = b"fedtui/v1\0"
_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_ROOM = re.compile(r"[0-9a-f]{64}")
_INTEGER_DIGITS: Final = len(str(MAX_JSON_INTEGER))


@dataclass(frozen=True)
class Envelope:
    """A message whose signature has been checked (or just been made).

    ``payload`` is what was signed, not yet interpreted. ``room`` is 64 hex digits.
    """

    type: str
    payload: bytes
    signer: str
    signature: bytes
    room: str

    @cached_property
    def id(self) -> str:
        """SHA-256 (hex) of the signed bytes. It names the statement, not who made it: two members
        that sign the same payload share it, so payloads that must differ carry their author."""
        return hashlib.sha256(signed_bytes(self.room, self.type, self.payload)).hexdigest()

    def to_bytes(self) -> bytes:
        """The wire form; :func:`open_envelope` reads it back."""
        fields = {
            "t": self.type,
            "p": encode_base64(self.payload),
            "k": self.signer,
            "s": encode_base64(self.signature),
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    def json(self, *, max_nodes: int = MAX_JSON_NODES) -> Any:
        """The payload as strict JSON.

        Raises:
            ProtocolError: it is not.
        """
        return strict_json(self.payload, max_nodes=max_nodes)


def signed_bytes(room_id: str, type_: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: exactly what a signature covers.

    Raises:
        ProtocolError: ``room_id`` is not 64 hex digits or ``type_`` not a type name.
    """
    if not _ROOM.fullmatch(room_id):
        raise ProtocolError("a room id has 64 hexadecimal digits")
    if not _TYPE.fullmatch(type_):
        raise ProtocolError("a message type is 1 to 32 characters out of a-z, 0-9, _ and -")
    name = type_.encode()
    return b"".join(
        (
            _PREFIX,
            struct.pack(">H", len(name)),
            name,
            bytes.fromhex(room_id),
            struct.pack(">I", len(payload)),
            payload,
        )
    )


def seal(identity: Identity, room_id: str, type_: str, payload: bytes) -> Envelope:
    """Signs a payload for one room."""
    signature = identity.sign(signed_bytes(room_id, type_, payload))
    return Envelope(type_, payload, identity.peer_id, signature, room_id)


def seal_genesis(identity: Identity, payload: bytes) -> Envelope:
    """Signs a genesis; the ``id`` of the returned envelope is the new room's id."""
    return seal(identity, GENESIS_ROOM, GENESIS_TYPE, payload)


@dataclass(frozen=True)
class Sealed:
    """An envelope as it arrived: well-formed, its signature not checked yet."""

    type: str
    payload: bytes
    signer: str
    signature: bytes
    room: str

    def open(self) -> Envelope:
        """Checks the signature.

        Raises:
            ProtocolError: it does not fit.
        """
        covered = signed_bytes(self.room, self.type, self.payload)
        if not verify(self.signer, self.signature, covered):
            raise ProtocolError("a signature does not fit its message, room, type or signer")
        return Envelope(self.type, self.payload, self.signer, self.signature, self.room)


def read_envelope(data: bytes, room_id: str, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Sealed:
    """Decodes an envelope without checking its signature, to see whether that is worth while.

    Raises:
        ProtocolError: it is malformed; nothing else is ever raised, whatever ``data`` holds.
    """
    fields = strict_json(data, max_bytes=max_bytes, max_depth=1, max_nodes=9)
    if not isinstance(fields, dict) or fields.keys() != {"t", "p", "k", "s"}:
        raise ProtocolError("an envelope has exactly the fields t, p, k and s")
    if not all(isinstance(value, str) for value in fields.values()):
        raise ProtocolError("the fields of an envelope are strings")
    signature = decode_base64(fields["s"])
    if len(signature) != SIGNATURE_BYTES:
        raise ProtocolError(f"a signature has {SIGNATURE_BYTES} bytes")
    sealed = Sealed(fields["t"], decode_base64(fields["p"]), fields["k"], signature, room_id)
    public_key_of(sealed.signer)
    return sealed


def open_envelope(
    data: bytes, room_id: str, *, max_bytes: int = MAX_MESSAGE_BYTES, type_: str | None = None
) -> Envelope:
    """Decodes an envelope and checks its signature for ``room_id``.

    Whether the signer is a member, and may say this, is the caller's question.

    Raises:
        ProtocolError: anything is wrong with the bytes, the signature, or the type differs from
            ``type_``; nothing else is ever raised, whatever ``data`` holds.
    """
    sealed = read_envelope(data, room_id, max_bytes=max_bytes)
    if type_ is not None and sealed.type != type_:
        raise ProtocolError(f"a message of type {type_} was expected")
    return sealed.open()


def open_genesis(data: bytes) -> Envelope:
    """Decodes the envelope of a genesis; its ``id`` is the room's id.

    Raises:
        ProtocolError: as :func:`open_envelope`.
    """
    return open_envelope(data, GENESIS_ROOM, max_bytes=MAX_LARGE_MESSAGE_BYTES, type_=GENESIS_TYPE)


def encode_base64(data: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64(text: str) -> bytes:
    """Inverse of :func:`encode_base64`; other spellings of the same bytes are refused.

    Raises:
        ProtocolError: not canonical URL-safe base64 without padding.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("a field is not URL-safe base64") from error
    if encode_base64(data) != text:
        raise ProtocolError("a base64 field is not in its canonical spelling")
    return data


def strict_json(
    data: bytes,
    *,
    max_bytes: int = MAX_LARGE_MESSAGE_BYTES,
    max_depth: int = MAX_JSON_DEPTH,
    max_nodes: int = MAX_JSON_NODES,
) -> Any:
    """Parses UTF-8 JSON that came from a peer.

    Refused besides malformed input: floats, NaN, integers of 2**53 and more, duplicate keys,
    strings that are not NFC or hold surrogates, nesting above ``max_depth`` containers, more than
    ``max_nodes`` values and keys.

    Raises:
        ProtocolError: any of these. Never RecursionError or ValueError.
    """
    if len(data) > max_bytes:
        raise LimitError(f"a message has more than {max_bytes} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_int=_bounded_integer,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a message is not JSON as we accept it") from error
    _check_shape(value, max_depth, max_nodes)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ProtocolError("a key appears twice in one JSON object")
    return result


def _bounded_integer(digits: str) -> int:
    # Counted before int(): converting 900,000 digits takes time quadratic in their number.
    if len(digits.lstrip("-")) <= _INTEGER_DIGITS:
        number = int(digits)
        if abs(number) <= MAX_JSON_INTEGER:
            return number
    raise LimitError("an integer is 2**53 or more")


def _refuse_number(_: str) -> NoReturn:
    raise ProtocolError("numbers on the wire are integers")


def _check_shape(value: Any, max_depth: int, max_nodes: int) -> None:
    level, depth, nodes = [value], 0, 1
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_string(item)
            elif isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        nodes += len(below)
        if nodes > max_nodes:
            raise LimitError(f"a message has more than {max_nodes} values")
        if any(isinstance(item, dict | list) for item in level):
            depth += 1
        if depth > max_depth:
            raise LimitError(f"a message is nested deeper than {max_depth}")
        level = below


def _check_string(text: str) -> None:
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        raise ProtocolError("a string is not in Unicode normal form C")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ProtocolError("a string holds half of a surrogate pair") from error
