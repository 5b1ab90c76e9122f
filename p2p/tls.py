"""Mutual TLS 1.3 between members: a stranger never gets past the handshake.

The ``ssl`` module has no verification callback, so the members' certificates themselves are the
only trust anchors, and the exact certificate is compared once more when the handshake completes,
before the connection is handed to anything that parses.

Things that are easy to undo and cost the room's privacy when undone, each with a test:

- ``verify_mode`` must be CERT_REQUIRED on the *listening* context: switching the context in
  ``sni_callback`` does not carry it over, and a client without certificate got in.
- ``num_tickets = 0``: a removed member resumed its session past the trust store.
- Contexts are built anew on every change of the membership, never changed while in use
  (CVE-2024-0397).
"""

from __future__ import annotations

import ssl
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from p2p.errors import TrustError
from p2p.identity import Identity, check_certificate

_OLDEST_SAFE_PYTHON: Final = (3, 11, 5)
"""CVE-2023-40217: client certificates could be bypassed before."""

CertificateCheck = Callable[[bytes], bool]


class PinnedSSLObject(ssl.SSLObject):
    """Ends the handshake with an error unless the context's pin accepts the peer's certificate."""

    def do_handshake(self) -> None:
        super().do_handshake()
        der = self.getpeercert(binary_form=True)
        context = self.context
        if der is None or not isinstance(context, PinnedContext) or not context.pin(der):
            raise ssl.SSLCertVerificationError(1, "the peer's certificate is not allowed here")


class PinnedContext(ssl.SSLContext):
    """TLS 1.3, a certificate from the peer required, nobody accepted until ``pin`` says so."""

    sslobject_class = PinnedSSLObject
    pin: CertificateCheck = staticmethod(lambda der: False)


class MemberTLS:
    """The contexts of one member: who may connect to us, and whom we believe we reached.

    ``certificates`` maps peer ids to DER certificates; our own entry is ignored.
    """

    def __init__(self, identity: Identity, certificates: Mapping[str, bytes] | None = None) -> None:
        if sys.version_info < _OLDEST_SAFE_PYTHON:
            raise TrustError(
                "this Python lets strangers past client certificates (CVE-2023-40217)",
                remedy="Install Python 3.11.9 or newer.",
            )
        self.identity: Final = identity
        self._certificates: dict[str, bytes] = {}
        self._peer_ids: dict[bytes, str] = {}
        self._clients: dict[str, PinnedContext] = {}
        self._any_member: PinnedContext | None = None
        self._server = self._server_context()
        self.listening_context: Final = self._new_context(ssl.PROTOCOL_TLS_SERVER)
        self.listening_context.sni_callback = self._use_current_members
        self.set_members(certificates or {})

    @property
    def members(self) -> frozenset[str]:
        """The peers that may connect and be connected to, without ourselves."""
        return frozenset(self._certificates)

    def set_members(self, certificates: Mapping[str, bytes]) -> None:
        """Replaces the whole membership. Handshakes that complete after it obey the new one.

        Raises:
            TrustError: a certificate is not exactly the one made from its peer's key; nothing
                has changed then.
        """
        others = {p: der for p, der in certificates.items() if p != self.identity.peer_id}
        for peer_id, der in others.items():
            check_certificate(der, peer_id)
        self._clients = {p: c for p, c in self._clients.items() if self._is_same(p, others)}
        self._any_member = None
        self._certificates = others
        self._peer_ids = {der: peer_id for peer_id, der in others.items()}
        self._server = self._server_context()

    def client_context(self, peer_id: str) -> ssl.SSLContext:
        """The context for connecting to one member: nobody else passes for it.

        Raises:
            TrustError: ``peer_id`` is not a member.
        """
        context = self._clients.get(peer_id)
        if context is None:
            expected = self._certificates.get(peer_id)
            if expected is None:
                raise TrustError(f"{peer_id} is not a member of this room")
            context = self._new_context(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cadata=expected)
            context.pin = lambda der: der == expected
            self._clients[peer_id] = context
        return context

    def former_context(self, peer_id: str, certificate: bytes) -> ssl.SSLContext:
        """The context for calling somebody who was removed: nobody else passes for it. It does not
        let that key connect to us.

        Raises:
            TrustError: the certificate is not the one made from the key.
        """
        check_certificate(certificate, peer_id)
        context = self._new_context(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=certificate)
        context.pin = lambda der: der == certificate
        return context

    def any_member_context(self) -> ssl.SSLContext:
        """The context for finding out which member answers somewhere; nobody else passes."""
        if self._any_member is None:
            context = self._new_context(ssl.PROTOCOL_TLS_CLIENT)
            if self._certificates:
                context.load_verify_locations(cadata=b"".join(self._certificates.values()))
            context.pin = lambda der: der in self._peer_ids
            self._any_member = context
        return self._any_member

    def peer_of(self, tls: object) -> str | None:
        """The member on the other end of a connection, or None when it is not (or no longer) one.

        ``tls`` is the transport's ``ssl_object``.
        """
        if not isinstance(tls, PinnedSSLObject):
            return None
        return self._peer_ids.get(tls.getpeercert(binary_form=True) or b"")

    def _is_same(self, peer_id: str, others: Mapping[str, bytes]) -> bool:
        return others.get(peer_id) == self._certificates[peer_id]

    def _server_context(self) -> PinnedContext:
        context = self._new_context(ssl.PROTOCOL_TLS_SERVER)
        if self._certificates:
            context.load_verify_locations(cadata=b"".join(self._certificates.values()))
        # Not a copy: a handshake begun before a removal must fail when it ends after it.
        context.pin = lambda der: der in self._peer_ids
        return context

    def _use_current_members(self, tls: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        tls.context = self._server

    def _new_context(self, protocol: int) -> PinnedContext:
        context = PinnedContext(protocol)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # The certificate is pinned; it names a key, not a host.
        context.verify_mode = ssl.CERT_REQUIRED
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0
        load_own_certificate(context, self.identity)
        return context


def load_own_certificate(context: ssl.SSLContext, identity: Identity) -> None:
    """Gives a context our key and certificate.

    ``ssl`` takes the private key from a file only: one of ours, for a moment, 0600 in 0700.
    """
    pem = ssl.DER_cert_to_PEM_cert(identity.certificate_der()).encode()
    with tempfile.NamedTemporaryFile(prefix="fedtui-", suffix=".pem", delete=False) as file:
        file.write(identity.private_key_pem() + pem)
    try:
        context.load_cert_chain(file.name)
    finally:
        Path(file.name).unlink()
