"""How both sides of a lobby prove that they hold the same invite. No I/O.

The transcript covers the lobby's TLS certificate, the joiner's Hello and the lobby's Challenge,
byte for byte; both proofs are keyed with it. So a relay that speaks TLS with its own key, another
room, or a key swapped in flight ends in proofs that do not fit. The joiner proves first: a lobby
that proved first would answer guesses without spending any.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from p2p.errors import ProtocolError
from p2p.joining.words import FINGERPRINT_WORDS, as_words

_TAG: Final = b"fedtui/v1 join"
_KEY_BYTES: Final = 32
_ELEMENT_BYTES: Final = 33
"""The side's letter and a point on Ed25519."""


class CodeSide(Protocol):
    """One side of SPAKE2; ``start`` and ``finish`` once each, in this order."""

    def start(self) -> bytes: ...

    def finish(self, inbound_side_and_message: bytes) -> bytes: ...


def invite_id(secret: bytes) -> str:
    """The public name (32 hex digits) of a link's invite: it tells nothing about the secret."""
    return _derive(secret, b"", b"invite id", 16).hex()


def joiner_side(password: bytes, joiner: str, inviter: str, certificate: bytes) -> CodeSide:
    """SPAKE2 as the joiner does it, bound to both keys and to the certificate TLS showed."""
    return _Side(SPAKE2_A(password, *_identities(joiner, inviter, certificate)))


def inviter_side(password: bytes, joiner: str, inviter: str, certificate: bytes) -> CodeSide:
    """SPAKE2 as the lobby does it, bound to the same."""
    return _Side(SPAKE2_B(password, *_identities(joiner, inviter, certificate)))


def transcript(certificate: bytes, hello: bytes, challenge: bytes) -> bytes:
    """SHA-256 of what was said before the proofs, and of who TLS says the lobby is."""
    parts = (_TAG, certificate, hello, challenge)
    return hashlib.sha256(b"".join(struct.pack(">I", len(p)) + p for p in parts)).digest()


@dataclass(frozen=True)
class Proofs:
    """What each side must say, and six words that people may compare on both screens."""

    joiner: str = field(repr=False)
    inviter: str = field(repr=False)
    words: tuple[str, ...]

    @classmethod
    def of(cls, secret: bytes, seen: bytes) -> Proofs:
        """``secret`` is a link's secret or SPAKE2's key, ``seen`` the transcript."""
        key = _derive(secret, seen, b"proofs", _KEY_BYTES)
        return cls(
            joiner=_mac(key, b"joiner").hex(),
            inviter=_mac(key, b"inviter").hex(),
            words=as_words(_mac(key, b"words"), FINGERPRINT_WORDS),
        )


def same(first: str, second: str) -> bool:
    """Compares proofs without telling through time where they differ."""
    return hmac.compare_digest(first.encode(), second.encode())


class _Side:
    """Translates the errors of the library, whose decoder raises more than its own family."""

    def __init__(self, side: SPAKE2_A | SPAKE2_B) -> None:
        self._side = side

    def start(self) -> bytes:
        return bytes(self._side.start())

    def finish(self, inbound_side_and_message: bytes) -> bytes:
        if len(inbound_side_and_message) != _ELEMENT_BYTES:
            raise ProtocolError("a SPAKE2 element is malformed")
        try:
            return bytes(self._side.finish(inbound_side_and_message))
        except (SPAKEError, NotOnCurve, ValueError, AssertionError) as error:
            raise ProtocolError("a SPAKE2 element is malformed") from error


def _identities(joiner: str, inviter: str, certificate: bytes) -> tuple[bytes, bytes]:
    lobby = hashlib.sha256(certificate).digest()
    return _TAG + b" joiner " + joiner.encode(), _TAG + b" inviter " + inviter.encode() + lobby


def _derive(secret: bytes, salt: bytes, purpose: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt=salt, info=_TAG + b" " + purpose).derive(secret)


def _mac(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, _TAG + b" " + purpose, hashlib.sha256).digest()
