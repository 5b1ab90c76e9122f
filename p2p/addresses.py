"""Where peers may be reached: hints from anywhere, bounded, none of them believed.

An address only says where to dial; who answers is decided by TLS. So a wrong hint costs a
connection attempt and nothing else.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from p2p.errors import ProtocolError
from p2p.limits import MAX_ADDRESSES_PER_PEER, MAX_HINTED_PEERS


@dataclass(frozen=True, order=True)
class Address:
    """A numeric IP address (IPv6 link-local ones with their scope) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads ``10.0.0.7:47778`` or ``[fd00::7]:47778``.

        Raises:
            ProtocolError: anything else, host names included.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or len(port) > 5:
            raise ProtocolError("an address has the form HOST:PORT")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        return cls.checked(host, int(port))

    @classmethod
    def checked(cls, host: str, port: int) -> Address:
        """An address that can be dialled.

        Raises:
            ProtocolError: the host is no unicast IP address or the port is out of range.
        """
        try:
            ip = ipaddress.ip_address(host)
        except ValueError as error:
            raise ProtocolError("an address names a numeric IP address") from error
        # ::ffff:127.0.0.1 is 127.0.0.1, and must look like it to whoever asks what it is.
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_unspecified or ip.is_multicast:
            raise ProtocolError("an address must belong to one machine")
        if not 1 <= port <= 65_535:
            raise ProtocolError("a port is a number from 1 to 65535")
        return cls(str(ip), port)


class AddressBook:
    """Per peer the last addresses that worked or were hinted, best first.

    At most 8 per peer and 512 peers. The peer heard of longest ago makes room, but those that we
    reached before go last: anybody on the network can invent peers.
    """

    def __init__(self) -> None:
        self._peers: OrderedDict[str, list[Address]] = OrderedDict()
        self._worked: dict[str, set[Address]] = {}

    def hint(self, peer_id: str, addresses: Iterable[Address]) -> None:
        """Adds addresses that might work, behind the one that did last and before all older ones:
        a machine that moved is found where it was heard of since."""
        known = self._touch(peer_id)
        for address in addresses:
            if address in known:
                continue
            if len(known) == MAX_ADDRESSES_PER_PEER:
                known.pop()  # The oldest of all; the winner at the front stays.
            known.insert(min(1, len(known)), address)

    def worked(self, peer_id: str, address: Address) -> None:
        """Remembers that the peer itself (checked by TLS) answered at ``address``."""
        self._worked.setdefault(peer_id, set()).add(address)
        known = self._touch(peer_id)
        if address in known:
            known.remove(address)
        known.insert(0, address)
        del known[MAX_ADDRESSES_PER_PEER:]
        self._worked[peer_id] &= set(known)

    def proved(self, peer_id: str) -> tuple[Address, ...]:
        """Where the peer itself answered, the latest first."""
        worked = self._worked.get(peer_id, set())
        return tuple(address for address in self.of(peer_id) if address in worked)

    def remembered(self) -> dict[str, tuple[Address, ...]]:
        """Per peer the addresses at which it answered, the latest first."""
        return {peer: self.proved(peer) for peer in self._worked}

    def forget(self, peer_id: str) -> None:
        self._peers.pop(peer_id, None)
        self._worked.pop(peer_id, None)

    def of(self, peer_id: str) -> tuple[Address, ...]:
        """Addresses in the order in which to try them."""
        return tuple(self._peers.get(peer_id, ()))

    def _touch(self, peer_id: str) -> list[Address]:
        known = self._peers.setdefault(peer_id, [])
        self._peers.move_to_end(peer_id)
        if len(self._peers) > MAX_HINTED_PEERS:
            others = [peer for peer in self._peers if peer != peer_id]
            invented = (peer for peer in others if peer not in self._worked)
            self.forget(next(invented, others[0]))
        return known
