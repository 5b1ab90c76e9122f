"""What the round protocol needs of cryptography, so that a simulator may use a cheap stand-in."""

from __future__ import annotations

import base64
from typing import Protocol

from p2p.envelope import Envelope, open_envelope, seal, signed_bytes
from p2p.identity import Identity, check_certificate, verify
from p2p.limits import MAX_LARGE_MESSAGE_BYTES
from p2p.room import Message


class Verifier(Protocol):
    """Verifies what members of one room signed there."""

    def verify(self, peer: str, kind: str, payload: bytes, signature: bytes) -> bool:
        """Whether ``peer`` said so in this room."""
        ...

    def check_certificate(self, certificate: str, peer: str) -> None:
        """Whether a certificate (base64) is the one of a key; raises
        :class:`p2p.errors.P2PError`."""
        ...


class Signer(Verifier, Protocol):
    """Signs in one room in the name of one member, too."""

    @property
    def peer_id(self) -> str: ...

    def seal(self, message: Message) -> Envelope: ...

    def open(self, text: str) -> Envelope:
        """Verifies a quoted envelope; raises :class:`p2p.errors.ProtocolError`."""
        ...


class EnvelopeVerifier:
    """Ed25519 through :mod:`p2p.envelope`, for whoever checks and has no key of its own."""

    def __init__(self, room_id: str) -> None:
        self._room_id = room_id

    def verify(self, peer: str, kind: str, payload: bytes, signature: bytes) -> bool:
        return verify(peer, signature, signed_bytes(self._room_id, kind, payload))

    def check_certificate(self, certificate: str, peer: str) -> None:
        check_certificate(base64.b64decode(certificate), peer)


class EnvelopeSigner(EnvelopeVerifier):
    """Ed25519 through :mod:`p2p.envelope`: what every real node uses."""

    def __init__(self, identity: Identity, room_id: str) -> None:
        super().__init__(room_id)
        self._identity = identity

    @property
    def peer_id(self) -> str:
        return self._identity.peer_id

    def seal(self, message: Message) -> Envelope:
        return seal(self._identity, self._room_id, message.kind, message.to_bytes())

    def open(self, text: str) -> Envelope:
        return open_envelope(text.encode(), self._room_id, max_bytes=MAX_LARGE_MESSAGE_BYTES)
