"""The addresses under which other machines may reach this one."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import psutil

from p2p.limits import MAX_ADDRESSES_PER_PEER

_VIRTUAL: Final = ("docker", "virbr", "br-", "veth", "vboxnet", "vmnet", "cni", "lxc", "podman")
"""Prefixes of adapters whose addresses no other machine can reach."""
_TUNNELS: Final = ("tun", "tap", "wg", "utun", "tailscale", "zt", "ppp", "ipsec")
"""Prefixes of VPNs: an address there is worth naming only when there is no other."""


def own_hosts(*, link_local: bool = False) -> tuple[str, ...]:
    """Our addresses, IPv4 first, at most 8: not loopback, no containers, and those of a VPN only
    on a machine that has nothing else.

    ``link_local`` includes IPv6 addresses that mean something on one network only, without their
    scope: mDNS tells the receiver which network it was.
    """
    local: list[str] = []
    tunnels: list[str] = []
    for name, entries in psutil.net_if_addrs().items():
        if name.startswith(_VIRTUAL):
            continue
        place = tunnels if name.startswith(_TUNNELS) else local
        place += [
            entry.address.partition("%")[0]
            for entry in entries
            if entry.family in {socket.AF_INET, socket.AF_INET6}
            and _is_worth_naming(entry.address, link_local)
        ]
    hosts = sorted(set(local or tunnels), key=lambda host: (":" in host, host))
    return tuple(hosts[:MAX_ADDRESSES_PER_PEER])


def is_loopback(host: str) -> bool:
    """Whether an address (IPv6 perhaps with its scope) is this machine talking to itself."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def is_link_local(host: str) -> bool:
    """Whether an address means something on one network only, so that nobody announces it."""
    return ipaddress.ip_address(host.partition("%")[0]).is_link_local


def _is_worth_naming(host: str, link_local: bool) -> bool:
    ip = ipaddress.ip_address(host.partition("%")[0])
    return not ip.is_loopback and (link_local or ip.version == 4 or not ip.is_link_local)
