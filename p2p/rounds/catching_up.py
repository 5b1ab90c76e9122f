"""Fetching what other members have of the ledger beyond ours.

That a member says it is ahead is a reason to ask it, and nothing more: only entries whose
certificates hold move this node on. Whoever claims much and delivers little, or delivers it
slowly, keeps nobody from asking the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from p2p import clock
from p2p.errors import P2PError, ProtocolError
from p2p.rounds.limits import LEDGER_PAUSE, LEDGER_TIMEOUT, MAX_PARALLEL_LEDGERS
from p2p.tasks import TaskOwner

_log = logging.getLogger(__name__)


class LedgerClient(Protocol):
    """What catching up needs of :class:`p2p.client.PeerClient`."""

    async def fetch_ledger(self, peer_id: str, from_round: int) -> list[bytes]:
        """Ledger entries from a round on; none when the peer has no more. Raises NetworkError,
        TrustError, ProtocolError."""
        ...


class CatchingUp:
    """Asks members for their ledgers, each by one task at most.

    ``round_now`` is the round this node works on. ``take_in(peer, payload)`` returns when an entry
    has been carried out and raises ProtocolError when it is refused; ``ended(peer, round)`` is
    told that a member had no entry of a round; ``misbehaved`` names one whose entries are false.
    """

    def __init__(
        self,
        client: LedgerClient,
        tasks: TaskOwner,
        *,
        round_now: Callable[[], int],
        take_in: Callable[[str, bytes], Awaitable[None]],
        ended: Callable[[str, int], None],
        misbehaved: Callable[[str], None],
    ) -> None:
        self._client = client
        self._tasks = tasks
        self._round_now = round_now
        self._take_in = take_in
        self._ended = ended
        self._misbehaved = misbehaved
        self._asking: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._turns = asyncio.Semaphore(MAX_PARALLEL_LEDGERS)

    @property
    def idle(self) -> bool:
        return not self._asking

    def ask(self, peer: str, claimed: int) -> None:
        """Gets what ``peer`` has; it says that it works on round ``claimed``."""
        if peer not in self._asking and clock.now() >= self._not_before.get(peer, 0.0):
            self._asking.add(peer)
            self._tasks.spawn(self._ask(peer, claimed), "catch up")

    async def _ask(self, peer: str, claimed: int) -> None:
        keeps_its_word = False
        try:
            async with self._turns, asyncio.timeout(LEDGER_TIMEOUT):
                keeps_its_word = await self._read(peer) >= claimed
        except ProtocolError as error:
            _log.info("the ledger of %s is refused: %s", peer[:8], error.cause)
            self._misbehaved(peer)
        except P2PError as error:
            keeps_its_word = True  # One that cannot be reached has said nothing false.
            _log.info("the ledger of %s: %s", peer[:8], error)
        except TimeoutError:
            _log.info("the ledger of %s comes too slowly", peer[:8])
        finally:
            self._asking.discard(peer)
            if not keeps_its_word:
                self._not_before[peer] = clock.now() + LEDGER_PAUSE

    async def _read(self, peer: str) -> int:
        """Takes in all that a member has; returns the round in which its ledger leaves us."""
        while True:
            first = self._round_now()
            entries = await self._client.fetch_ledger(peer, first)
            if not entries:
                self._ended(peer, first)
                return first
            for payload in entries:
                await self._take_in(peer, payload)
            if self._round_now() == first:
                raise ProtocolError("its entries lead no further")
