"""Finding the lobby of a spoken code on the local network, by mDNS.

The record says that an invite with this number is open at this port, and nothing else: no key, no
room, no user, no machine. Anybody can announce the same number; SPAKE2 decides, and whoever
pretends gets one guess at 33 bits.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Final

from zeroconf import Error, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from p2p.addresses import Address
from p2p.discovery import (
    Discovery,
    announced_addresses,
    only_loopback,
    open_mdns,
    own_addresses,
)
from p2p.errors import NetworkError, ProtocolError
from p2p.limits import DISCOVERY_CLOSE_TIMEOUT, MAX_LOBBIES_TRIED, RESOLVE_TIMEOUT
from p2p.tasks import TaskOwner

_log = logging.getLogger(__name__)

SERVICE_TYPE: Final = "_fedtui-join._tcp.local."
_VERSION: Final = "1"
_MAX_NUMBERS_TEXT: Final = 255


class Announcer:
    """Announces the numbers of the codes that are open; nothing while there are none."""

    def __init__(self, interfaces: Sequence[str] | None) -> None:
        self._interfaces = interfaces
        self._owner = TaskOwner("announcing codes")
        self._current: asyncio.Task[None] | None = None

    def announce(self, nameplates: frozenset[int], port: int) -> None:
        """Replaces what is announced."""
        if self._current is not None:
            self._current.cancel()
            self._current = None
        if nameplates and port:
            self._current = self._owner.spawn(self._run(nameplates, port), "record")

    async def stop(self) -> None:
        await self._owner.cancel()

    async def _run(self, nameplates: frozenset[int], port: int) -> None:
        try:
            zeroconf = open_mdns(self._interfaces)
        except OSError as error:
            _log.info("codes are not announced: %s", error)
            return
        numbers = ",".join(map(str, sorted(nameplates)))[:_MAX_NUMBERS_TEXT]
        record = AsyncServiceInfo(
            SERVICE_TYPE,
            f"{secrets.token_hex(6)}.{SERVICE_TYPE}",
            port=port,
            properties={"v": _VERSION, "n": numbers},
            parsed_addresses=own_addresses(self._interfaces),
        )
        try:
            await (await zeroconf.async_register_service(record))
            await asyncio.Event().wait()
        except (Error, OSError) as error:
            _log.info("codes are not announced: %s", error)
        finally:
            # Closing withdraws the record.
            with suppress(TimeoutError):
                async with asyncio.timeout(DISCOVERY_CLOSE_TIMEOUT):
                    await zeroconf.async_close()


async def lobbies(
    nameplate: int, interfaces: Sequence[str] | None = None
) -> AsyncGenerator[tuple[Address, ...], None]:
    """Addresses of lobbies that announce a number, as they are found; at most four of them.

    Runs until the caller stops it.

    Raises:
        NetworkError: this machine has no network to look on.
    """
    found: asyncio.Queue[AsyncServiceInfo] = asyncio.Queue(maxsize=64)
    owner = TaskOwner("looking for a code")
    try:
        zeroconf = open_mdns(interfaces)
    except OSError as error:
        raise NetworkError(f"this machine is on no network: {error}") from error

    def changed(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is not ServiceStateChange.Removed and len(owner) < found.maxsize:
            owner.spawn(resolve(zeroconf, name), "resolve")

    async def resolve(zeroconf: Zeroconf, name: str) -> None:
        info = AsyncServiceInfo(SERVICE_TYPE, name)
        with suppress(Error, OSError, asyncio.QueueFull):
            if await info.async_request(zeroconf, RESOLVE_TIMEOUT * 1000):
                found.put_nowait(info)

    browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE_TYPE, handlers=[changed])
    seen: set[tuple[Address, ...]] = set()
    try:
        while len(seen) < MAX_LOBBIES_TRIED:
            addresses = _read(await found.get(), nameplate, only_loopback(interfaces))
            if addresses and addresses not in seen:
                seen.add(addresses)
                yield addresses
    finally:
        await owner.cancel()
        await _close(browser, zeroconf)


async def whereabouts(
    room_id: str, peer_id: str, interfaces: Sequence[str] | None, seconds: float
) -> tuple[str, ...]:
    """The hosts at which a member of a room announces itself now; none when nothing is heard.

    Only who knows the room's id recognises its records.
    """
    found: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()

    def hint(peer: str, addresses: tuple[Address, ...]) -> None:
        if peer == peer_id and not found.done():
            found.set_result(tuple(address.host for address in addresses))

    looking = Discovery("", room_id, 0, on_hint=hint, interfaces=interfaces, announce=False)
    await looking.start()
    try:
        async with asyncio.timeout(seconds):
            return await found
    except TimeoutError:
        return ()
    finally:
        await looking.stop()


def _read(info: AsyncServiceInfo, nameplate: int, on_loopback: bool) -> tuple[Address, ...]:
    """The addresses of a record with this number, or nothing."""
    try:
        text = info.decoded_properties
        numbers = (text.get("n") or "")[:_MAX_NUMBERS_TEXT].split(",")
        if text.get("v") == _VERSION and str(nameplate) in numbers:
            return announced_addresses(info, on_loopback=on_loopback)
    except (ProtocolError, ValueError) as error:
        _log.debug("an mDNS record is not usable: %s", error)
    return ()


async def _close(browser: AsyncServiceBrowser, zeroconf: AsyncZeroconf) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCOVERY_CLOSE_TIMEOUT):
            await browser.async_cancel()
            await zeroconf.async_close()
