"""Finding members on the local network by mDNS: hints about where to dial, and nothing more.

mDNS is unauthenticated, ghosts of killed processes stay for up to 75 minutes, and old addresses
linger after a machine has moved. So a record only adds addresses to try; who answers there is
decided by TLS, whether it is there by probes, and whether it belongs to the room by signatures.
A network without multicast turns discovery off, never the node.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from zeroconf import (
    Error,
    InterfaceChoice,
    IPVersion,
    NonUniqueNameException,
    ServiceStateChange,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from p2p.addresses import Address
from p2p.errors import ProtocolError
from p2p.identity import public_key_of
from p2p.interfaces import is_loopback, own_hosts
from p2p.limits import (
    DISCOVERY_CLOSE_TIMEOUT,
    DISCOVERY_RETRY_MAX,
    DISCOVERY_RETRY_MIN,
    INTERFACE_POLL_INTERVAL,
    MAX_ADDRESSES_PER_PEER,
    MAX_BROWSED_NAMES,
    MAX_PARALLEL_RESOLVES,
    MAX_PENDING_RESOLVES,
    RESOLVE_TIMEOUT,
)
from p2p.tasks import TaskOwner

_log = logging.getLogger(__name__)

SERVICE_TYPE: Final = "_fedtui._tcp.local."
RECORD_VERSION: Final = "1"
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True)
class DiscoveryState:
    """Whether discovery works; ``reason`` says why not."""

    is_on: bool
    reason: str = ""

    def __str__(self) -> str:
        return "on" if self.is_on else f"off ({self.reason})"


class _Flooded(Exception):
    """More names than any network has: somebody invents them."""


def room_tag(room_id: str, day: int) -> str:
    """16 hex digits by which members of a room recognise each other's records on one day.

    It tells nothing to those who do not know the room id, and changes daily. ``day`` counts from
    the Unix epoch.
    """
    info = b"fedtui/v1 room tag" + day.to_bytes(4, "big")
    return HKDF(SHA256(), 8, salt=None, info=info).derive(bytes.fromhex(room_id)).hex()


def today() -> int:
    """The current day; a neighbour's clock may be a day off, so tags of three days are known."""
    return int(time.time()) // _DAY_SECONDS


class Discovery:
    """Announces one member and collects hints about others of the same room.

    ``on_hint(peer_id, addresses)`` is called from the event loop; a hint never means membership
    or liveness. ``interfaces`` lists the addresses of ours to speak on (``["127.0.0.1"]`` for a
    room on one machine); None means every real interface. With ``announce=False`` we look without
    being seen.
    """

    def __init__(
        self,
        peer_id: str,
        room_id: str,
        port: int,
        *,
        on_hint: Callable[[str, tuple[Address, ...]], None],
        interfaces: Sequence[str] | None = None,
        announce: bool = True,
        day: Callable[[], int] = today,
    ) -> None:
        self._peer_id = peer_id
        self._room_id = room_id
        self._port = port
        self._on_hint = on_hint
        self._interfaces = list(interfaces) if interfaces is not None else None
        self._announce = announce
        self._day = day
        self._on_loopback = only_loopback(interfaces)
        self._state = DiscoveryState(False, "not started")
        self._pending: set[str] = set()
        self._browsed = 0
        self._missed = False
        self._resolving = asyncio.Semaphore(MAX_PARALLEL_RESOLVES)
        self._rescan = asyncio.Event()
        self._supervisor = TaskOwner("discovery")
        self._resolvers = TaskOwner("discovery")

    @property
    def state(self) -> DiscoveryState:
        return self._state

    async def start(self) -> None:
        """Begins in the background; trouble shows in :attr:`state` and is retried."""
        self._supervisor.spawn(self._supervise(), "supervisor")

    def rescan(self) -> None:
        """Looks at the interfaces now: this machine woke up, or moved."""
        self._rescan.set()

    async def stop(self) -> None:
        """Withdraws the announcement and closes the sockets."""
        await self._supervisor.cancel()
        self._state = DiscoveryState(False, "stopped")

    # --- supervision ------------------------------------------------------------------------
    async def _supervise(self) -> None:
        delay = DISCOVERY_RETRY_MIN
        while True:
            try:
                await self._run()
            except NonUniqueNameException:
                continue  # Somebody has our random name: the next one is different.
            except Exception as error:  # Whatever a foreign library does, the node goes on.
                if self._state.is_on:
                    delay = DISCOVERY_RETRY_MIN
                self._state = DiscoveryState(False, str(error) or type(error).__name__)
                _log.info("discovery: %s", self._state)
            await self._pause(delay)
            delay = min(delay * 2, DISCOVERY_RETRY_MAX)

    async def _pause(self, seconds: float) -> None:
        """Waits before the next try, but not longer than until there is another network."""
        known, clock = self._snapshot(), asyncio.get_running_loop().time
        end = clock() + seconds
        while clock() < end and self._snapshot() == known:
            await self._next_look(min(INTERFACE_POLL_INTERVAL, seconds))

    async def _next_look(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rescan.wait()
        self._rescan.clear()

    async def _run(self) -> None:
        """One life of the mDNS sockets; ends with an exception."""
        zeroconf = open_mdns(self._interfaces)
        try:
            instance = f"{self._peer_id[:8]}-{secrets.token_hex(3)}.{SERVICE_TYPE}"
            known = self._snapshot()
            await zeroconf.zeroconf.async_wait_for_start()
            browser = self._browse(zeroconf)
            try:
                if self._announce:
                    await (await zeroconf.async_register_service(self._record(instance)))
                self._state = DiscoveryState(True)
                while True:
                    await self._next_look(INTERFACE_POLL_INTERVAL)
                    if self._browsed > MAX_BROWSED_NAMES:
                        raise _Flooded("somebody floods this network with invented records")
                    if self._missed and not self._pending:
                        await browser.async_cancel()
                        browser = self._browse(zeroconf)
                    if (current := self._snapshot()) != known:
                        known = current
                        await self._follow(zeroconf, instance)
            finally:
                await browser.async_cancel()
        finally:
            await self._resolvers.cancel()
            self._pending.clear()
            async with asyncio.timeout(DISCOVERY_CLOSE_TIMEOUT):
                await zeroconf.async_close()

    def _browse(self, zeroconf: AsyncZeroconf) -> AsyncServiceBrowser:
        """Hears of every record of ours that is there, also of those known before."""
        self._browsed, self._missed = 0, False
        return AsyncServiceBrowser(zeroconf.zeroconf, SERVICE_TYPE, handlers=[self._on_change])

    async def _follow(self, zeroconf: AsyncZeroconf, instance: str) -> None:
        """Interfaces or the day changed: zeroconf itself watches neither."""
        if self._interfaces is None:
            await zeroconf.async_update_interfaces()
        if self._announce:
            await (await zeroconf.async_update_service(self._record(instance)))

    def _snapshot(self) -> tuple[object, ...]:
        try:
            return self._day(), *own_addresses(self._interfaces)
        except OSError:  # No file descriptor left, for example: looked at again soon.
            return (self._day(),)

    def _record(self, instance: str) -> AsyncServiceInfo:
        tag = room_tag(self._room_id, self._day())
        return AsyncServiceInfo(
            SERVICE_TYPE,
            instance,
            port=self._port,
            properties={"v": RECORD_VERSION, "id": self._peer_id, "rt": tag},
            parsed_addresses=own_addresses(self._interfaces),
        )

    # --- hints ------------------------------------------------------------------------------
    def _on_change(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Removed:
            return
        if state_change is ServiceStateChange.Added:
            self._browsed += 1
            if self._browsed > MAX_BROWSED_NAMES:
                # zeroconf plans a query for each, and keeps it as long as the record says.
                self._rescan.set()
                return
        if name in self._pending:
            return
        if len(self._pending) == MAX_PENDING_RESOLVES:
            self._missed = True
            return
        self._pending.add(name)
        self._resolvers.spawn(self._resolve(zeroconf, name), "resolve")

    async def _resolve(self, zeroconf: Zeroconf, name: str) -> None:
        try:
            async with self._resolving:
                info = AsyncServiceInfo(SERVICE_TYPE, name)
                if not await info.async_request(zeroconf, RESOLVE_TIMEOUT * 1000):
                    return
            peer_id, addresses = self._read(info)
        except (ProtocolError, Error, OSError) as error:
            _log.debug("an mDNS record is not usable: %s", error)
            return
        finally:
            self._pending.discard(name)
        if peer_id != self._peer_id and addresses:
            self._on_hint(peer_id, addresses)

    def _read(self, info: AsyncServiceInfo) -> tuple[str, tuple[Address, ...]]:
        """The peer and the addresses in a record of this room. Raises ProtocolError otherwise."""
        text = info.decoded_properties
        peer_id, tag = text.get("id") or "", text.get("rt")
        days = range(self._day() - 1, self._day() + 2)
        if text.get("v") != RECORD_VERSION or tag not in {room_tag(self._room_id, d) for d in days}:
            raise ProtocolError("a record belongs to another room or version")
        public_key_of(peer_id)
        return peer_id, announced_addresses(info, on_loopback=self._on_loopback)


# --- for everything that speaks mDNS ----------------------------------------------------------
def open_mdns(interfaces: Sequence[str] | None) -> AsyncZeroconf:
    """The mDNS sockets on the given addresses of ours; None means every interface.

    Raises:
        OSError: there is no interface to speak on.
    """
    if interfaces is not None:
        return AsyncZeroconf(interfaces=list(interfaces))
    try:
        return AsyncZeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.All)
    except OSError:  # IPv6 is switched off here.
        return AsyncZeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.V4Only)


def own_addresses(interfaces: Sequence[str] | None) -> list[str]:
    """The addresses to announce: the given ones, or whatever this machine has."""
    return list(own_hosts(link_local=True) if interfaces is None else interfaces)


def announced_addresses(info: AsyncServiceInfo, *, on_loopback: bool) -> tuple[Address, ...]:
    """The addresses of a record that can be dialled from here.

    Raises:
        ProtocolError: it names a port that does not exist.
    """
    found: list[Address] = []
    for host in info.parsed_scoped_addresses()[: 2 * MAX_ADDRESSES_PER_PEER]:
        if _is_somewhere(host):
            address = Address.checked(host, info.port or 0)
            if on_loopback or not is_loopback(address.host):
                found.append(address)
    return tuple(found[:MAX_ADDRESSES_PER_PEER])


def only_loopback(interfaces: Sequence[str] | None) -> bool:
    """Whether everything happens on this machine."""
    return interfaces is not None and all(map(is_loopback, interfaces))


def _is_somewhere(host: str) -> bool:
    """Whether an address belongs to one machine, on a network that is named with it."""
    ip: Any = ipaddress.ip_address(host)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_unspecified or ip.is_multicast:
        return False
    return not (ip.version == 6 and ip.is_link_local and ip.scope_id is None)
