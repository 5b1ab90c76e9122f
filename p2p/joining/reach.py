"""Connecting to a lobby, and saying in words why it did not work."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import psutil

from p2p.addresses import Address
from p2p.joining.refusals import Unreachable
from p2p.limits import (
    CONNECT_TIMEOUT,
    DIAL_STAGGER,
    HANDSHAKE_TIMEOUT,
    MAX_LOBBY_FRAME_BYTES,
    TLS_SHUTDOWN_TIMEOUT,
)

_SERVER_NAME: Final = "fedtui"
_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN})
_CLOSED: Final = frozenset({errno.ECONNREFUSED, errno.ECONNRESET})

Failure = Literal["closed", "silent", "no_route", "wrong_machine", "interrupted"]
"""How one address failed. ``closed``: a machine said that nothing listens there."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Door:
    """An open connection to a lobby. ``certificate`` is the one TLS verified, DER."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: Address
    certificate: bytes

    async def close(self) -> None:
        self.writer.close()
        try:
            async with asyncio.timeout(TLS_SHUTDOWN_TIMEOUT):
                await self.writer.wait_closed()
        except (OSError, TimeoutError):
            pass


async def connect(addresses: Sequence[Address], context: ssl.SSLContext) -> Door:
    """The first address that answers with the expected key, tried a quarter second apart.

    Raises:
        Unreachable: none does.
    """
    failures: dict[Address, Failure] = {}
    waiting: set[asyncio.Task[Door | None]] = set()
    try:
        for address in addresses:
            waiting.add(asyncio.create_task(_dial(address, context, failures)))
            done, waiting = await asyncio.wait(
                waiting, timeout=DIAL_STAGGER, return_when=asyncio.FIRST_COMPLETED
            )
            if door := _first(done):
                return door
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if door := _first(done):
                return door
    finally:
        for task in waiting:
            task.cancel()
        for late in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(late, Door):
                late.writer.close()
    raise explain(failures, own_networks())


def _first(done: set[asyncio.Task[Door | None]]) -> Door | None:
    doors = [door for task in done if (door := task.result()) is not None]
    for spare in doors[1:]:
        spare.writer.close()
    return doors[0] if doors else None


async def _dial(
    address: Address, context: ssl.SSLContext, failures: dict[Address, Failure]
) -> Door | None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT + HANDSHAKE_TIMEOUT):
            reader, writer = await asyncio.open_connection(
                address.host,
                address.port,
                ssl=context,
                server_hostname=_SERVER_NAME,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT,
                limit=MAX_LOBBY_FRAME_BYTES,
            )
    except (OSError, TimeoutError) as error:
        failures[address] = _kind(error)
        return None
    tls = writer.get_extra_info("ssl_object")
    return Door(reader, writer, address, tls.getpeercert(binary_form=True) or b"")


def _kind(error: OSError | TimeoutError) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "wrong_machine"
    if isinstance(error, ssl.SSLError | ConnectionAbortedError):
        return "interrupted"
    if error.errno in _NO_ROUTE:
        return "no_route"
    if error.errno in _CLOSED:
        return "closed"
    # asyncio reports the end of a connection within the handshake without a number.
    return "interrupted" if isinstance(error, ConnectionError) else "silent"


def own_networks() -> tuple[Network, ...]:
    """The networks this machine has an address in."""
    found: list[Network] = []
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if not entry.netmask or entry.family.name not in {"AF_INET", "AF_INET6"}:
                continue
            host = entry.address.partition("%")[0]
            found.append(ipaddress.ip_network(f"{host}/{_prefix(entry.netmask)}", strict=False))
    return tuple(found)


def _prefix(netmask: str) -> int:
    return int(ipaddress.ip_address(netmask)).bit_count()


def explain(failures: Mapping[Address, Failure], networks: Sequence[Network]) -> Unreachable:
    """The most telling of several failures, in words."""
    kinds = set(failures.values())
    where = ", ".join(map(str, list(failures)[:3]))
    outside = [net for net in networks if not net.is_loopback and not net.is_link_local]
    if "wrong_machine" in kinds:
        return Unreachable(
            "wrong_machine",
            f"another machine than the inviter's answers at {where}",
            "Its address has changed, or somebody is in between. Ask for a new invite.",
        )
    if "closed" in kinds:
        return Unreachable(
            "closed",
            f"the machine at {where} answers, but no invite is open there",
            "Start fedtui on the inviter's machine. If it runs, the invite is used up, expired or"
            " withdrawn: ask for a new one.",
        )
    if "interrupted" in kinds:
        return Unreachable(
            "interrupted",
            f"the connection to {where} was cut before anything was said",
            "Many may be joining at this moment: wait some seconds and try again.",
        )
    if not outside and not any(ipaddress.ip_address(a.host).is_loopback for a in failures):
        return Unreachable(
            "no_network", "this machine is on no network", "Connect to the WiFi the room uses."
        )
    if not any(ipaddress.ip_address(a.host) in net for a in failures for net in networks):
        here = ", ".join(map(str, outside[:2]))
        return Unreachable(
            "wrong_network",
            f"the inviter is at {where}, this machine is in {here}: nobody answers across",
            "Connect both machines to the same network. A guest WiFi is another network.",
        )
    return Unreachable(
        "isolated",
        f"both machines are in one network, but nobody answers at {where}",
        "Is the inviter's machine awake, and does its firewall let fedtui in? Otherwise this WiFi"
        " keeps its guests apart (client isolation): use a cable, another WiFi or a phone's"
        " hotspot.",
    )
