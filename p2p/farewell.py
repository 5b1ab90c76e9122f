"""Telling a machine that it was removed: the members refuse it, so they have to call it.

A removed key reaches nobody any more, and what it would see of that is a network fault. The
members therefore bring it the operation that removed it, signed by the room's admins, at the
addresses where it used to be and wherever mDNS shows it. It checks the signatures itself: no member
can make another believe that it was removed, and silence proves nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Protocol

from p2p import clock
from p2p.errors import P2PError
from p2p.limits import FAREWELL_HINT_PAUSE, FAREWELL_RETRY_MAX, FAREWELL_RETRY_MIN
from p2p.tasks import TaskOwner

_log = logging.getLogger(__name__)


class FormerMemberClient(Protocol):
    """What telling needs of :class:`p2p.client.PeerClient`."""

    async def tell_former(self, peer_id: str, certificate: bytes, data: bytes) -> None:
        """Brings one envelope to a removed member. Raises NetworkError, TrustError."""
        ...


class Farewells:
    """Tries, less and less often, until each removed machine has taken its notice.

    ``notice(peer)`` are the sealed envelopes for a former member: of a removed one the removal, of
    a given-up key the commits up to the one in which the new key took its place. ``understood``
    says whether it can be seen that a machine has acted on its notice; None where there is nothing
    to see, and to have taken it is enough.
    """

    def __init__(
        self,
        client: FormerMemberClient,
        notice: Callable[[str], Sequence[bytes]],
        understood: Callable[[str], bool | None] = lambda peer: None,
    ) -> None:
        self._client = client
        self._notice = notice
        self._understood = understood
        self._certificates: dict[str, bytes] = {}
        self._told: set[str] = set()
        self._due: dict[str, tuple[float, float]] = {}
        self._tried: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._tasks = TaskOwner("farewells")

    async def start(self) -> None:
        self._tasks.spawn(self._run(), "farewells")

    async def stop(self) -> None:
        await self._tasks.cancel()

    def set_removed(self, certificates: Mapping[str, bytes]) -> None:
        """The keys that admins removed, with their certificates (DER)."""
        self._certificates = dict(certificates)
        for peer in certificates.keys() - self._due.keys() - self._told:
            self._due[peer] = (clock.now(), FAREWELL_RETRY_MIN)
        for peer in self._due.keys() - certificates.keys():
            del self._due[peer]
        self._changed.set()

    def on_hint(self, peer: str) -> bool:
        """Somebody may be found; whether it is one of ours, who is tried again soon then. Anybody
        on the network may say so, at any rate: the pauses still grow with each try."""
        if peer in self._due:
            soon = max(clock.now(), self._tried.get(peer, -inf) + FAREWELL_HINT_PAUSE)
            at, pause = self._due[peer]
            self._due[peer] = (min(at, soon), pause)
            self._changed.set()
        return peer in self._certificates

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            now = clock.now()
            peer, (at, pause) = min(
                self._due.items(), key=lambda entry: entry[1], default=("", (float("inf"), 0.0))
            )
            if at > now:
                wait = None if not peer else at - now
                # Not wait_for: Python 3.11's forgets a cancellation that comes with the event.
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                continue
            self._due[peer] = (now + pause, min(pause * 2, FAREWELL_RETRY_MAX))
            self._tried[peer] = now
            understood = self._understood(peer)
            if understood or (await self._tell(peer) and understood is None):
                self._told.add(peer)
                self._due.pop(peer, None)

    async def _tell(self, peer: str) -> bool:
        try:
            for envelope in self._notice(peer):
                await self._client.tell_former(peer, self._certificates[peer], envelope)
        except P2PError as error:
            _log.debug("%s was not told of its removal: %s", peer, error)
            return False
        except Exception:  # One farewell that cannot be said must not end those to all others.
            _log.exception("%s cannot be told of its removal", peer)
            return False
        return True
