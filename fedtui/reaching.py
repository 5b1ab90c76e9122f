"""Addresses that a person names, for networks on which the machines do not find one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedtui.control.operations import Operations
from fedtui.errors import UsageError
from fedtui.inviting import translated
from p2p.errors import P2PError, ProtocolError
from p2p.paths import parse_place
from p2p.peer import Peer
from p2p.status import display_name


@dataclass(frozen=True)
class PlaceGiven:
    """``place``: HOST:PORT of a member."""

    place: str


class Reaching:
    """What the owner of a node may tell it about the way to others."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def offer(self, operations: Operations) -> None:
        """Adds what the control API can ask for."""
        operations.add("add_address", PlaceGiven, self._add_address)

    async def _add_address(self, wanted: PlaceGiven) -> dict[str, Any]:
        """Connects, learns from the certificate which member it is, and remembers the place."""
        host, port = checked_place(wanted.place)
        try:
            peer_id = await self._peer.add_address(host, port)
        except P2PError as error:
            raise translated(error) from error
        member = self._peer.members.get(peer_id)
        name = "" if member is None else display_name(member)
        return {"peer": peer_id, "name": name, "address": wanted.place.strip()}


def checked_place(place: str) -> tuple[str, int]:
    """The host and the port in ``HOST:PORT``. Raises :class:`UsageError`."""
    try:
        return parse_place(place)
    except ProtocolError as error:
        raise UsageError(f"{place!r} is no address", error.cause, error.remedy) from error
