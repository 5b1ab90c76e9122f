"""Joining between machines with networks of their own: one WiFi made of network namespaces.

The access point is a namespace with a bridge; like a real one it can keep its guests apart.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from demo_rig import PATIENCE
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


README = Path(__file__).parents[2] / "README.md"
SHORTER = ("--rounds", "1", "--steps", "2")
"""All that the walk changes in the README's commands."""


def written_commands() -> list[list[str]]:
    """What the README has a group type, in order."""
    section = README.read_text().partition("## Make a room for your group")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("fedtui ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.timeout(900)
def test_the_readme_is_enough_for_three_machines(wifi: Wifi, tmp_path: Path) -> None:
    """By its commands alone, where there is no screen: by link, by code, to a common adapter."""
    create, ada_starts, by_link, grace_starts, read_out, by_code = written_commands()
    ada, grace, alan = (
        Home(tmp_path / name, wifi.guest(number, f"10.77.0.{number}/24"), {})
        for number, name in enumerate(("ada", "grace", "alan"), start=1)
    )
    started = ada_starts[:1], grace_starts[:1]
    assert started == (["--data"], ["--data"])
    folders = [str(tmp_path / Path(words[1]).name) for words in (ada_starts, grace_starts)]
    for number, folder in enumerate(folders):
        ada.run("data", "sample", folder, "--count", "6", "--seed", str(number))
    try:
        told = ada.run(*create[: create.index("--rounds")], *SHORTER).stdout
        link = found(r"fedtui:[\w-]+", told)
        ada.serve(*started[0], folders[0])
        asking = grace.start(*(link if word.startswith("fedtui:") else word for word in by_link))
        ada.eventually(lambda: bool(ada.json("room", "requests")))
        told = ada.run("room", "requests").stdout
        ada.run("room", "approve", ada.json("room", "requests")[0]["request"])
        grace_saw = "".join(asking.communicate(timeout=PATIENCE))
        assert asking.returncode == 0, grace_saw
        words = found(r"(?:[a-z]+ ){5}[a-z]+(?=$|\n|  )", told)
        assert words in grace_saw, "both screens show the same six words"
        grace.serve(*started[1], folders[1])

        hosting = ada.start(*read_out)
        assert hosting.stdout is not None
        code = hosting.stdout.readline().strip()
        asking = alan.start(*(code if word == by_code[2] else word for word in by_code))
        hosting.communicate("y\n", timeout=PATIENCE)
        alan_saw = "".join(asking.communicate(timeout=PATIENCE))
        assert asking.returncode == 0, alan_saw

        for home in (ada, grace):
            home.eventually(lambda home=home: home.view()["round"]["phase"] == "DONE")
        assert ada.view()["head"] == grace.view()["head"]
        assert len(ada.json("rounds")[0]["inputs"]) == 2
    finally:
        for home in (ada, grace):
            home.terminate()
        for home in (ada, grace):
            home.stop()


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[0]


WRONG_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, at);
    const char *seconds = getenv("CLOCK_IS_WRONG_BY");
    if (!failed && seconds && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        at->tv_sec += atol(seconds);
    return failed;
}
time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
int gettimeofday(struct timeval *out, void *zone) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    out->tv_sec = at.tv_sec;
    out->tv_usec = at.tv_nsec / 1000;
    return 0;
}
"""
"""A library that machines with a wrong clock load first, OpenSSL's among its callers."""


@pytest.fixture
def wrong_clock(tmp_path: Path) -> dict[str, str]:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, to set a process's clock")
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(WRONG_CLOCK)
    _run(compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl")
    return {"LD_PRELOAD": str(library)}


@pytest.mark.parametrize("year", [1971, 2090])
def test_a_machine_whose_clock_is_wrong_by_decades_joins_and_stays(
    homes: tuple[Home, Home], wifi: Wifi, tmp_path: Path, wrong_clock: dict[str, str], year: int
) -> None:
    ada, _ = homes
    off = int(datetime(year, 6, 1, tzinfo=UTC).timestamp() - time.time())
    clock = {**wrong_clock, "CLOCK_IS_WRONG_BY": str(off)}
    alan = Home(tmp_path / "alan", wifi.guest(3, "10.77.0.3/24"), clock)
    assert str(year) in alan.run("doctor", code=0).stdout
    how = ("--code",) if year == 2090 else ()
    invite = ada.json("room", "invite", *how, "--auto-approve")["text"]
    try:
        alan.run("room", "join", invite, "--as", "Alan")
        alan.serve()
        for home in (ada, alan):
            home.eventually(
                lambda home=home: {p["state"] for p in home.view()["peers"]} == {"WATCH"}
            )
    finally:
        alan.stop()
