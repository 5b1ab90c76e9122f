"""The invite link: everything a machine needs to find the inviter, to know it, and to be let in.

``fedtui:`` and URL-safe base64 of

    version 1 | room id (32) | inviter's public key (32) | secret (16) | head's round (4)
    | head (32) | expiry in ms since 1970 (8) | uses (2) | count (1) | addresses | check (4)

with big-endian numbers; an address is 4 or 6, that family's bytes and the port (2). ``check`` is
the beginning of the SHA-256 of all before it: it tells a link that was cut by a chat program from
one that is refused. One word without characters that a shell interprets, short enough for a QR
code on a terminal.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import struct
from dataclasses import dataclass, field
from typing import Final

from p2p.addresses import Address
from p2p.envelope import decode_base64, encode_base64
from p2p.errors import ProtocolError
from p2p.identity import peer_id_of, public_key_of
from p2p.limits import MAX_ADDRESSES_PER_PEER

SCHEME: Final = "fedtui:"
SECRET_BYTES: Final = 16
VERSION: Final = 1
_FIXED: Final = struct.Struct(">B32s32s16sI32sQHB")
_PORT: Final = struct.Struct(">H")
_CHECK_BYTES: Final = 4
_ADDRESS_BYTES: Final = {4: 4, 6: 16}
_MAX_TEXT: Final = 1024
_MAX_TIME: Final = 1 << 53


@dataclass(frozen=True)
class InviteLink:
    """An invite as it travels. ``head`` is the commit (64 hex digits) of round ``head_round`` that
    the newcomer may rely on; ``expires_ms`` is Unix time by the inviter's clock."""

    room: str
    inviter: str
    secret: bytes = field(repr=False)
    addresses: tuple[Address, ...]
    expires_ms: int
    uses: int
    head_round: int
    head: str

    def __str__(self) -> str:
        fixed = _FIXED.pack(
            VERSION,
            bytes.fromhex(self.room),
            public_key_of(self.inviter),
            self.secret,
            self.head_round,
            bytes.fromhex(self.head),
            self.expires_ms,
            self.uses,
            len(self.addresses),
        )
        body = fixed + b"".join(map(_pack_address, self.addresses))
        return SCHEME + encode_base64(body + _check(body))


def parse_link(text: str) -> InviteLink:
    """Reads a link; blanks and line breaks that a chat program put into it are ignored.

    Raises:
        ProtocolError: it is none, is damaged, or comes from a newer version. Nothing else.
    """
    text = re.sub(r"\s+", "", text[: 2 * _MAX_TEXT])
    if not text.lower().startswith(SCHEME):
        raise ProtocolError(f"an invite link begins with {SCHEME}")
    if len(text) > _MAX_TEXT:
        raise ProtocolError("an invite link is at most 1,024 characters long")
    try:
        data = decode_base64(text[len(SCHEME) :])
    except ProtocolError as error:
        raise _damaged() from error
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if not body or _check(body) != check:
        raise _damaged()
    # After the check: every version ends in it, and a damaged first character is no version.
    if body[0] != VERSION:
        raise ProtocolError(
            "the invite comes from another version of fedtui",
            remedy="Update fedtui on this machine, then try the same link again.",
        )
    if len(body) < _FIXED.size:
        raise _damaged()
    _, room, key, secret, head_round, head, expires, uses, count = _FIXED.unpack_from(body)
    if count > MAX_ADDRESSES_PER_PEER or expires > _MAX_TIME:
        raise _damaged()
    return InviteLink(
        room=room.hex(),
        inviter=peer_id_of(key),
        secret=secret,
        addresses=_unpack_addresses(body[_FIXED.size :], count),
        expires_ms=expires,
        uses=uses,
        head_round=head_round,
        head=head.hex(),
    )


def _check(body: bytes) -> bytes:
    return hashlib.sha256(b"fedtui/v1 link\0" + body).digest()[:_CHECK_BYTES]


def _pack_address(address: Address) -> bytes:
    ip = ipaddress.ip_address(address.host.partition("%")[0])
    return bytes((ip.version,)) + ip.packed + _PORT.pack(address.port)


def _unpack_addresses(data: bytes, count: int) -> tuple[Address, ...]:
    found: list[Address] = []
    for _ in range(count):
        size = _ADDRESS_BYTES.get(data[0], 0) if data else 0
        if not size or len(data) < 1 + size + _PORT.size:
            raise _damaged()
        (port,) = _PORT.unpack_from(data, 1 + size)
        host = str(ipaddress.ip_address(data[1 : 1 + size]))
        found.append(Address.checked(host, port))
        data = data[1 + size + _PORT.size :]
    if data:
        raise _damaged()
    return tuple(found)


def _damaged() -> ProtocolError:
    return ProtocolError(
        "the invite link is damaged: characters are missing or changed",
        remedy="Copy the whole link again, from fedtui: to its last character.",
    )
