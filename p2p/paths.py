"""Keeping the ways to the others open while networks change, machines sleep and walls appear.

What is remembered, from the best to the last resort: addresses announced by mDNS, addresses at
which a member answered before (on disk), addresses that members say of themselves, addresses given
by hand, seeds, and relays.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from p2p.addresses import Address, AddressBook
from p2p.client import PeerClient
from p2p.discovery import Discovery
from p2p.durable import publish
from p2p.envelope import strict_json
from p2p.errors import NetworkError, ProtocolError
from p2p.gossip.driver import Gossip
from p2p.gossip.effects import Liveness
from p2p.identity import public_key_of
from p2p.interfaces import own_hosts
from p2p.limits import (
    DIRECT_RETRY_INTERVAL,
    INTERFACE_POLL_INTERVAL,
    MAX_ADDRESSES_PER_PEER,
    MAX_SEEDS,
    PATHS_SAVE_INTERVAL,
    PROBE_FANOUT,
    SEED_INTERVAL,
)
from p2p.tasks import TaskOwner

_log = logging.getLogger(__name__)

FILE_NAME: Final = "addresses.json"


Reach = Literal["", "direct", "one_way", "relayed"]
PATIENCE_TURNS: Final = 3
"""Of probing the whole room: a member that has not called for longer does not reach us."""


@dataclass(frozen=True)
class Way:
    """How we and a member reach one another: ``direct`` is both ways, ``one_way`` only one of us
    reaches the other, ``relayed`` through the member ``relay``, and empty not known."""

    reach: Reach
    address: Address | None = None
    relay: str = ""


class Paths:
    """The background work around one node's addresses.

    ``interfaces`` fixes our own addresses (None: whatever the machine has). ``seeds`` are
    ``HOST:PORT`` of members that are usually there.
    """

    def __init__(
        self,
        directory: Path,
        book: AddressBook,
        client: PeerClient,
        gossip: Gossip,
        discovery: Discovery,
        *,
        interfaces: Sequence[str] | None,
        seeds: Sequence[str] = (),
    ) -> None:
        self._file = directory / FILE_NAME
        self._book = book
        self._client = client
        self._gossip = gossip
        self._discovery = discovery
        self._interfaces = interfaces
        self._seeds = [parse_place(seed) for seed in seeds[:MAX_SEEDS]]
        self._saved: dict[str, tuple[Address, ...]] = {}
        self._hosts = tuple(interfaces) if interfaces is not None else own_hosts()
        self._tasks = TaskOwner("paths")

    async def start(self) -> None:
        await asyncio.to_thread(recall, self._file, self._book)
        self._saved = self._book.remembered()
        self._gossip.set_hosts(self._hosts)
        if self._interfaces is None:
            self._every(INTERFACE_POLL_INTERVAL, self._follow_interfaces)
        self._every(PATHS_SAVE_INTERVAL, self._save)
        self._every(DIRECT_RETRY_INTERVAL, self._leave_relays)
        if self._seeds:
            self._tasks.spawn(self._ask_seeds(), "seeds")

    async def stop(self) -> None:
        await self._tasks.cancel()
        await self._save()

    async def add(self, host: str, port: int) -> str:
        """Finds out which member answers at a place that somebody named; returns its id.

        Raises:
            NetworkError: nobody answers there, or no member.
        """
        peer_id, address = await self._client.identify(host, port)
        self._gossip.on_hint(peer_id, [address])
        return peer_id

    def of(self, peer_id: str, now: float) -> Way:
        """How a member is reached at ``now`` (monotonic seconds)."""
        health = self._gossip.peers().get(peer_id)
        address = next(iter(self._book.of(peer_id)), None)
        relay = self._client.relay_of(peer_id)
        if health is None or health.state not in {Liveness.ALIVE, Liveness.SUSPECT}:
            return Way("", address)
        if relay is not None:
            return Way("relayed", None, relay)
        patience = max(10.0, PATIENCE_TURNS * len(self._gossip.peers()) / PROBE_FANOUT)
        calls = health.called is not None and now - health.called <= patience
        answers = health.rtt is not None and not health.failures
        if answers and calls:
            return Way("direct", address)
        return Way("one_way" if answers or calls else "", address)

    def on_woke(self) -> None:
        """This machine slept: everything about its networks may have changed."""
        if self._interfaces is None:
            self._tasks.spawn(self._follow_interfaces(), "interfaces after a sleep")
        self._discovery.rescan()

    def on_witnessed(self, peer_id: str, helper: str) -> None:
        """``helper`` reaches a member that does not answer us."""
        self._client.relay_through(peer_id, helper)

    def on_located(self, peer_id: str) -> None:
        """There is a new address of a member: perhaps it needs no relay any more."""
        if self._client.relay_of(peer_id) is not None:
            self._tasks.spawn(self._client.try_directly(peer_id), "direct way")

    # --- inside -----------------------------------------------------------------------------
    def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.spawn(self._repeat(seconds, work), work.__name__.strip("_"))

    async def _repeat(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception:  # For months: one time without file descriptors must not end it.
                _log.exception("%s failed", work.__name__.strip("_"))

    async def _follow_interfaces(self) -> None:
        hosts = await asyncio.to_thread(own_hosts)
        if hosts == self._hosts:
            return
        _log.info("this machine's addresses are now %s", ", ".join(hosts) or "none")
        lost = set(self._hosts) - set(hosts)
        self._hosts = hosts
        self._gossip.set_hosts(hosts)
        self._discovery.rescan()
        if lost:  # Connections that began at an address we no longer have are dead.
            await self._client.reset()

    async def _save(self) -> None:
        current = self._book.remembered()
        if current != self._saved:
            await asyncio.to_thread(remember, self._file, current)
            self._saved = current

    async def _leave_relays(self) -> None:
        for peer_id in self._gossip.alive():
            if self._client.relay_of(peer_id) is not None:
                await self._client.try_directly(peer_id)

    async def _ask_seeds(self) -> None:
        while True:
            alone = not self._gossip.alive()
            for host, port in self._seeds if alone else ():
                try:
                    await self.add(host, port)
                except NetworkError as error:
                    _log.info("seed %s port %d: %s", host, port, error.cause)
            await asyncio.sleep(SEED_INTERVAL)


def parse_place(text: str) -> tuple[str, int]:
    """The host (a name or an address) and the port in ``HOST:PORT``.

    Raises:
        ProtocolError: it has another form.
    """
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or len(port) > 5:
        raise ProtocolError(
            "an address has the form HOST:PORT", remedy="For example 192.168.1.17:47778."
        )
    if not 1 <= int(port) <= 65_535:
        raise ProtocolError("a port is a number from 1 to 65535")
    return host, int(port)


def recall(file: Path, book: AddressBook) -> None:
    """Reads what :func:`remember` wrote; a file that is damaged or missing is no trouble."""
    try:
        stored = strict_json(file.read_bytes())
        for peer_id, texts in dict(stored).items():
            public_key_of(peer_id)
            addresses = [Address.parse(text) for text in list(texts)[:MAX_ADDRESSES_PER_PEER]]
            for address in reversed(addresses):
                book.worked(peer_id, address)
    except FileNotFoundError:
        return
    except (OSError, ProtocolError, TypeError, ValueError, AttributeError) as error:
        _log.warning("%s is ignored: %s", file, error)


def remember(file: Path, addresses: dict[str, tuple[Address, ...]]) -> None:
    """Writes the addresses that worked, all or nothing; a full disk only costs the memory."""
    texts = {peer: [str(address) for address in known] for peer, known in addresses.items()}
    try:
        publish(file, json.dumps(texts, indent=1).encode())
    except OSError as error:
        _log.warning("%s cannot be written: %s", file, error)
