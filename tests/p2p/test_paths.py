"""Addresses that outlive a restart, places named by hand, and what a person is told of a way."""

from __future__ import annotations

import json
import socket
import tempfile
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from member_rig import LOOPBACK, Room, identity
from toy_room import ToyNode, toy_genesis, until

from p2p.addresses import Address, AddressBook
from p2p.errors import NetworkError, ProtocolError
from p2p.interfaces import own_hosts
from p2p.paths import parse_place, recall, remember

ADA, BOB = identity(1).peer_id, identity(2).peer_id


def test_addresses_that_worked_are_remembered_and_hints_are_not(tmp_path: Path) -> None:
    book, file = AddressBook(), tmp_path / "addresses.json"
    book.hint(ADA, [Address("10.0.0.9", 9)])
    for last in range(1, 12):
        book.worked(ADA, Address(f"10.0.0.{last}", 1))
    book.worked(BOB, Address("fd00::7", 2))
    remember(file, book.remembered())
    fresh = AddressBook()
    recall(file, fresh)
    assert fresh.of(ADA) == tuple(Address(f"10.0.0.{last}", 1) for last in range(11, 3, -1))
    assert fresh.of(BOB) == (Address("fd00::7", 2),)
    assert fresh.remembered() == book.remembered()


@given(st.one_of(st.binary(max_size=100), st.text(max_size=100).map(str.encode)))
def test_a_damaged_memory_is_no_trouble(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "addresses.json"
        file.write_bytes(data)
        recall(file, AddressBook())


@pytest.mark.parametrize(
    "stored",
    [[1], {"x": ["10.0.0.1:1"]}, {ADA: "10.0.0.1:1"}, {ADA: [1]}, {ADA: ["a.org:1"]}, {ADA: None}],
)
def test_a_forged_memory_is_ignored(tmp_path: Path, stored: object) -> None:
    file, book = tmp_path / "addresses.json", AddressBook()
    file.write_text(json.dumps(stored))
    recall(file, book)
    assert book.of(ADA) == ()


def test_a_place_is_a_name_or_an_address_with_a_port() -> None:
    assert parse_place("lab-3.local:47778") == ("lab-3.local", 47778)
    assert parse_place(" 10.0.0.7:1 ") == ("10.0.0.7", 1)
    assert parse_place("[fd00::7]:2") == ("fd00::7", 2)
    for text in ("", "x", ":1", "x:", "x:0", "x:65536", "x:1e3", "x:123456"):
        with pytest.raises(ProtocolError):
            parse_place(text)


async def test_who_answers_at_a_place_is_told_by_its_certificate(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    ada.addresses.forget(bob.id)
    peer, address = await ada.client.identify("localhost", bob.server.port)
    assert (peer, address) == (bob.id, bob.address)
    assert ada.addresses.of(bob.id) == (bob.address,)
    room.remove(bob)
    with pytest.raises(NetworkError, match="no member"):
        await ada.client.identify(LOOPBACK, bob.server.port)
    with pytest.raises(NetworkError, match="nobody answers"):
        await ada.client.identify(LOOPBACK, 1)


@pytest.mark.parametrize("host", ["gpu..lab", "x" * 64, "a" * 300, "gpu-1\x00.lab", "\udc80"])
async def test_a_place_that_cannot_exist_is_nobodys(room: Room, host: str) -> None:
    ada = await room.add()
    with pytest.raises(NetworkError, match="nobody answers"):
        await ada.client.identify(host, 1)


async def test_a_seed_or_a_remembered_address_is_enough_to_meet(tmp_path: Path) -> None:
    genesis = toy_genesis(2, rounds=1)
    ada = ToyNode(tmp_path, 0, genesis, interfaces=[])
    await ada.start(train=False)
    bob = ToyNode(tmp_path, 1, genesis, interfaces=[], seeds=[f"localhost:{ada.peer.port}"])
    await bob.start(train=False)
    try:
        await until(lambda: bob.peer._gossip.alive() == {ada.id})
        await until(lambda: ada.peer._gossip.alive() == {bob.id})
        await until(lambda: ways(bob) == {ada.id: "direct"} and ways(ada) == {bob.id: "direct"})
    finally:
        await bob.stop()
    again = ToyNode(tmp_path, 1, genesis, interfaces=[])
    await again.start(train=False)
    try:
        await until(lambda: again.peer._gossip.alive() == {ada.id})
    finally:
        await again.stop()
        await ada.stop()


def ways(node: ToyNode) -> dict[str, str]:
    return {peer.id: peer.reach for peer in node.peer.snapshot().peers if not peer.me}


Entry = namedtuple("Entry", "family address")
V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("adapters", "expected"),
    [
        ({"lo": ["127.0.0.1"], "eth0": ["10.0.0.7"], "docker0": ["172.17.0.1"]}, ("10.0.0.7",)),
        ({"wlan0": ["10.0.0.7"], "tun0": ["10.8.0.2"], "wg0": ["10.9.0.2"]}, ("10.0.0.7",)),
        ({"lo": ["127.0.0.1"], "tailscale0": ["100.64.0.1"]}, ("100.64.0.1",)),
        ({"eth0": ["fd00::7", "10.0.0.7", "fe80::1%eth0"]}, ("10.0.0.7", "fd00::7")),
        ({"lo": ["127.0.0.1", "::1"], "br-1": ["172.18.0.1"], "veth1": ["172.19.0.1"]}, ()),
    ],
)
def test_only_addresses_that_others_may_reach_are_ours(
    monkeypatch: pytest.MonkeyPatch, adapters: dict[str, list[str]], expected: tuple[str, ...]
) -> None:
    found = {
        name: [Entry(V6 if ":" in host else V4, host) for host in hosts]
        for name, hosts in adapters.items()
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
    assert own_hosts() == expected


def test_link_local_addresses_are_for_mdns_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"eth0": [Entry(V6, "fe80::1%eth0")]}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
    assert own_hosts() == ()
    assert own_hosts(link_local=True) == ("fe80::1",)


async def test_one_failure_does_not_end_the_look_at_the_network(tmp_path: Path) -> None:
    """A machine that had no file descriptor left once must notice its next address."""
    ada = ToyNode(tmp_path, 0, toy_genesis(1, rounds=1))
    await ada.start(train=False)
    looks: list[int] = []

    async def look() -> None:
        looks.append(1)
        if len(looks) == 1:
            raise OSError(24, "Too many open files")

    try:
        ada.peer._paths._every(0.01, look)
        await until(lambda: len(looks) > 2)
    finally:
        await ada.stop()


async def test_a_starved_machine_says_that_it_is_the_slow_one(tmp_path: Path) -> None:
    ada = ToyNode(tmp_path, 0, toy_genesis(1, rounds=1))
    await ada.start(train=False)
    try:
        assert ada.peer.snapshot().note == ""
        ada.peer._gossip._core._local.worse(by=6)
        assert "answers late" in ada.peer.snapshot().note
    finally:
        await ada.stop()
