"""Joining between machines with networks of their own: one WiFi made of network namespaces.

The access point is a namespace with a bridge; like a real one it can keep its guests apart.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from joining_rig import Home


def _can_make_networks() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("ip", "bridge"))):
        return False
    name = f"fedtui-{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return made.returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not _can_make_networks(), reason="needs Linux, root and iproute2 with network namespaces"
    ),
]


class Wifi:
    """An access point and the machines on it; ``guest`` adds one with an address."""

    def __init__(self) -> None:
        self._tag = secrets.token_hex(3)
        self._point = f"ap-{self._tag}"
        self._names = [self._point]
        _ip("netns", "add", self._point)
        self._inside("link", "add", "br0", "type", "bridge")
        self._inside("link", "set", "br0", "up")

    def guest(self, number: int, address: str) -> list[str]:
        """The command that goes before those of a new machine."""
        name = f"g{number}-{self._tag}"
        port = f"p{number}"
        self._names.append(name)
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "add", "wlan0", "type", "veth", "peer", port, "netns", self._point)
        self._inside("link", "set", port, "master", "br0", "up")
        _ip("-n", name, "addr", "add", address, "dev", "wlan0")
        _ip("-n", name, "link", "set", "wlan0", "up")
        return ["ip", "netns", "exec", name]

    def isolate(self, number: int) -> None:
        """This guest may speak with the access point only, as many public networks have it."""
        _run("ip", "netns", "exec", self._point,
             "bridge", "link", "set", "dev", f"p{number}", "isolated", "on")  # fmt: skip

    def close(self) -> None:
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def _inside(self, *arguments: str) -> None:
        _ip("-n", self._point, *arguments)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.fixture
def wifi() -> Iterator[Wifi]:
    wifi = Wifi()
    yield wifi
    wifi.close()


@pytest.fixture
def homes(wifi: Wifi, tmp_path: Path) -> Iterator[tuple[Home, Home]]:
    """Ada, who has made a room and runs her node, and Grace, who is new."""
    ada = Home(tmp_path / "ada", wifi.guest(1, "10.77.0.1/24"), {})
    grace = Home(tmp_path / "grace", wifi.guest(2, "10.77.0.2/24"), {})
    ada.run("room", "create", "Attic", "--as", "Ada")
    ada.serve()
    yield ada, grace
    for home in (ada, grace):
        home.terminate()
    for home in (ada, grace):
        home.stop()


def test_a_code_is_enough_on_one_network_and_the_two_find_each_other(
    homes: tuple[Home, Home],
) -> None:
    ada, grace = homes
    code = ada.json("room", "invite", "--code", "--auto-approve")["text"]
    grace.run("room", "join", code, "--as", "Grace")
    grace.serve()
    for home in homes:
        home.eventually(lambda home=home: {p["state"] for p in home.view()["peers"]} == {"WATCH"})


def test_without_mdns_a_link_works_and_a_code_says_what_to_do(
    homes: tuple[Home, Home], wifi: Wifi
) -> None:
    """The access point floods no multicast, as many do."""
    ada, grace = homes
    for number in (1, 2):
        _run("ip", "netns", "exec", wifi._point,
             "bridge", "link", "set", "dev", f"p{number}", "mcast_flood", "off")  # fmt: skip
    code = ada.json("room", "invite", "--code", "--auto-approve")
    refused = grace.run("room", "join", code["text"], code=3)
    assert "--at HOST:PORT" in refused.stderr
    (address,) = [a for a in code["addresses"] if a.startswith("10.77.")]
    grace.run("room", "join", code["text"], "--at", address)


def test_a_network_that_keeps_its_guests_apart_is_named(
    homes: tuple[Home, Home], wifi: Wifi
) -> None:
    ada, grace = homes
    link = ada.json("room", "invite", "--auto-approve")["text"]
    for number in (1, 2):
        wifi.isolate(number)
    refused = grace.run("room", "join", link, code=3)
    assert "client isolation" in refused.stderr


def test_another_network_is_named(homes: tuple[Home, Home], wifi: Wifi, tmp_path: Path) -> None:
    ada, _ = homes
    link = ada.json("room", "invite", "--auto-approve")["text"]
    alan = Home(tmp_path / "alan", wifi.guest(3, "10.88.0.3/24"), {})
    refused = alan.run("room", "join", link, code=3)
    assert "10.88.0.0/24" in refused.stderr
    assert "same network" in refused.stderr
