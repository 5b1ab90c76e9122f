"""Gossip on the wire: signed envelopes, one per line, the sender's own Hello first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from p2p.envelope import read_envelope, seal
from p2p.errors import LimitError, ProtocolError
from p2p.gossip.hello import HELLO_TYPE, Digest, Said, parse_said, type_of
from p2p.gossip.rumours import Statement
from p2p.identity import Identity
from p2p.limits import MAX_MESSAGE_BYTES, MAX_RUMOURS

_SEPARATOR: Final = b"\n"
"""An envelope is JSON without line breaks."""


class Codec:
    """Signs what one member says in one room, and opens what the others say.

    ``is_news`` tells what would change nothing: then its signature is not worth checking.
    """

    def __init__(self, identity: Identity, room_id: str) -> None:
        self._identity = identity
        self._room_id = room_id

    def speak(self, said: Said) -> Statement:
        envelope = seal(self._identity, self._room_id, type_of(said), said.to_bytes())
        return Statement(envelope.signer, said, envelope.to_bytes())

    def open_hello(self, signer: str, data: bytes) -> Statement:
        """One Hello that ``signer`` signed.

        Raises:
            ProtocolError: it is anything else.
        """
        sealed = read_envelope(data, self._room_id)
        if sealed.type != HELLO_TYPE:
            raise ProtocolError("a Hello was expected")
        if sealed.signer != signer:
            raise ProtocolError("a Hello is signed by another member than the one who sent it")
        envelope = sealed.open()
        return Statement(signer, parse_said(HELLO_TYPE, envelope.payload), data)

    def open_packet(
        self,
        sender: str,
        data: bytes,
        is_news: Callable[[str, Said], bool],
        most: int = MAX_RUMOURS,
    ) -> list[Statement]:
        """The Hello of ``sender`` and whatever else in its packet is news, ``most`` statements.

        Raises:
            ProtocolError: the packet is malformed, too long, or something in it is forged.
        """
        if len(data) > MAX_MESSAGE_BYTES:
            raise LimitError(f"a gossip packet has more than {MAX_MESSAGE_BYTES} bytes")
        first, *others = data.split(_SEPARATOR)
        if len(others) > most:
            raise LimitError(f"a gossip packet has more than {most} rumours")
        packet = [self.open_hello(sender, first)]
        for part in others:
            sealed = read_envelope(part, self._room_id)
            said = parse_said(sealed.type, sealed.payload)
            if isinstance(said, Digest) and sealed.signer != sender:
                raise ProtocolError("a digest is signed by another member than its sender")
            if is_news(sealed.signer, said):
                sealed.open()
                packet.append(Statement(sealed.signer, said, part))
        return packet


def to_bytes(packet: Iterable[Statement]) -> bytes:
    """The wire form of a packet."""
    return _SEPARATOR.join(statement.data for statement in packet)


def first_part(data: bytes) -> bytes:
    """The envelope of the Hello in a packet, verbatim, for somebody who did not get one."""
    return data.partition(_SEPARATOR)[0]
