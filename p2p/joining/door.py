"""TLS at the lobby's door, the only place where a machine without membership is spoken to.

TLS 1.3 with the inviter's own certificate and without one from the visitor: he proves his key by
signing his request. ``CERT_NONE`` on his side means that OpenSSL looks for no authority; that the
lobby holds the key of its certificate is checked in every TLS 1.3 handshake, and whose certificate
it is by the pin.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from p2p.errors import TrustError
from p2p.identity import Identity, certificate_owner
from p2p.tls import PinnedContext, load_own_certificate


def lobby_context(identity: Identity) -> ssl.SSLContext:
    """What the lobby listens with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_NONE
    load_own_certificate(context, identity)
    return context


def visitor_context(is_expected: Callable[[str], bool]) -> ssl.SSLContext:
    """What a joiner connects with; ``is_expected`` judges the peer id that the lobby shows."""

    def pin(der: bytes) -> bool:
        try:
            return is_expected(certificate_owner(der))
        except TrustError:
            return False

    context = PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.pin = pin
    return context
