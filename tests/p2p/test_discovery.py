"""Discovery gives hints, to members of one room, and is never fatal."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from member_rig import LOOPBACK, eventually, identity
from zeroconf import NonUniqueNameException, ServiceStateChange
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from p2p import discovery as discovery_module
from p2p.addresses import Address
from p2p.discovery import SERVICE_TYPE, Discovery, room_tag, today
from p2p.errors import ProtocolError
from p2p.limits import MAX_ADDRESSES_PER_PEER, MAX_BROWSED_NAMES

ROOM_ID = secrets.token_hex(32)
"""Another one in every test process: they all share the loopback interface."""


@dataclass
class Seen:
    discovery: Discovery
    hints: dict[str, tuple[Address, ...]] = field(default_factory=dict)


def make(number: int, room_id: str = ROOM_ID, **options: Any) -> Seen:
    hints: dict[str, tuple[Address, ...]] = {}
    options.setdefault("interfaces", [LOOPBACK])
    found = Discovery(
        identity(number).peer_id,
        room_id,
        40_000 + number,
        on_hint=hints.__setitem__,
        **options,
    )
    return Seen(found, hints)


@pytest.fixture
async def running() -> AsyncIterator[list[Seen]]:
    started: list[Seen] = []
    yield started
    for seen in started:
        await seen.discovery.stop()


async def test_two_members_find_one_another(running: list[Seen]) -> None:
    ada, bob = make(1), make(2)
    for seen in (ada, bob):
        await seen.discovery.start()
        running.append(seen)
    await eventually(lambda: identity(2).peer_id in ada.hints and identity(1).peer_id in bob.hints)
    assert ada.hints == {identity(2).peer_id: (Address(LOOPBACK, 40_002),)}
    await eventually(lambda: ada.discovery.state.is_on)
    assert str(ada.discovery.state) == "on"


async def test_another_room_is_not_noticed(running: list[Seen]) -> None:
    ada, bob, other = make(1), make(2), make(3, room_id="cd" * 32)
    for seen in (other, ada, bob):
        await seen.discovery.start()
        running.append(seen)
    await eventually(lambda: identity(2).peer_id in ada.hints)
    await eventually(lambda: other.discovery.state.is_on)
    assert identity(3).peer_id not in ada.hints
    assert other.hints == {}


async def test_without_announcing_we_see_and_are_not_seen(running: list[Seen]) -> None:
    ada, quiet = make(1), make(2, announce=False)
    for seen in (ada, quiet):
        await seen.discovery.start()
        running.append(seen)
    await eventually(lambda: identity(1).peer_id in quiet.hints)
    assert ada.hints == {}


async def test_forged_records_are_dropped(running: list[Seen]) -> None:
    ada, bob = make(1), make(2)
    await ada.discovery.start()
    running.append(ada)
    forger = AsyncZeroconf(interfaces=[LOOPBACK])
    tag = room_tag(ROOM_ID, today())
    eve = identity(66).peer_id
    forged = [
        {"v": "1", "id": "x" * 52, "rt": tag},
        {"v": "1", "id": eve, "rt": "0" * 16},
        {"v": "2", "id": eve, "rt": tag},
        {"v": "1", "rt": tag},
        {},
        {"v": b"\xff\xfe", "id": b"\xff", "rt": b"\xff"},
    ]
    try:
        for number, properties in enumerate(forged):
            info = AsyncServiceInfo(
                SERVICE_TYPE,
                f"evil{number}.{SERVICE_TYPE}",
                port=1,
                properties=properties,
                parsed_addresses=[LOOPBACK],
            )
            await forger.async_register_service(info, cooperating_responders=True)
        await bob.discovery.start()
        running.append(bob)
        await eventually(lambda: identity(2).peer_id in ada.hints)
        assert set(ada.hints) == {identity(2).peer_id}
        await eventually(lambda: ada.discovery.state.is_on)
    finally:
        await forger.async_close()


async def test_trouble_turns_it_off_with_a_reason_and_is_retried(
    running: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0
    real_open = discovery_module.open_mdns

    def open_late(interfaces: Sequence[str] | None) -> AsyncZeroconf:
        nonlocal opened
        opened += 1
        if opened <= 2:
            raise OSError(19, "No such device")
        return real_open(interfaces)

    monkeypatch.setattr(discovery_module, "open_mdns", open_late)
    monkeypatch.setattr(discovery_module, "DISCOVERY_RETRY_MIN", 0.02)
    ada = make(1)
    await ada.discovery.start()
    running.append(ada)
    await eventually(lambda: "No such device" in str(ada.discovery.state))
    assert str(ada.discovery.state).startswith("off (")
    await eventually(lambda: ada.discovery.state.is_on)
    assert opened == 3


async def test_a_machine_without_file_descriptors_looks_again(
    running: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = iter([True] * 4)
    real_open, real_own = discovery_module.open_mdns, discovery_module.own_addresses

    def refuse() -> None:
        if next(fails, False):
            raise OSError(24, "Too many open files")

    def open_late(interfaces: Sequence[str] | None) -> AsyncZeroconf:
        refuse()
        return real_open(interfaces)

    def own_late(interfaces: Sequence[str] | None) -> list[str]:
        refuse()
        return real_own(interfaces)

    monkeypatch.setattr(discovery_module, "open_mdns", open_late)
    monkeypatch.setattr(discovery_module, "own_addresses", own_late)
    monkeypatch.setattr(discovery_module, "DISCOVERY_RETRY_MIN", 0.02)
    ada = make(1)
    await ada.discovery.start()
    running.append(ada)
    await eventually(lambda: ada.discovery.state.is_on)
    assert next(fails, False) is False


async def test_invented_names_cost_a_bounded_number_of_plans(
    running: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each name zeroconf plans queries as long as its record says, 136 years at most."""
    ada = make(1)
    monkeypatch.setattr(discovery_module, "DISCOVERY_RETRY_MIN", 0.02)
    monkeypatch.setattr(discovery_module, "DISCOVERY_RETRY_MAX", 0.02)
    lives: list[AsyncZeroconf] = []
    real_open = discovery_module.open_mdns

    def open_mdns(interfaces: Sequence[str] | None) -> AsyncZeroconf:
        lives.append(real_open(interfaces))
        return lives[-1]

    monkeypatch.setattr(discovery_module, "open_mdns", open_mdns)
    await ada.discovery.start()
    running.append(ada)
    await eventually(lambda: ada.discovery.state.is_on)
    first = lives[0].zeroconf
    for number in range(2 * MAX_BROWSED_NAMES):
        name = f"{number}.{SERVICE_TYPE}"
        ada.discovery._on_change(first, SERVICE_TYPE, name, ServiceStateChange.Added)
    await eventually(lambda: first.done)
    await eventually(lambda: len(lives) > 1 and ada.discovery.state.is_on)


async def test_a_record_for_which_there_was_no_time_is_read_later(
    running: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = make(1), make(2)
    monkeypatch.setattr(discovery_module, "MAX_PENDING_RESOLVES", 0)
    for seen in (ada, bob):
        await seen.discovery.start()
        running.append(seen)
    await eventually(lambda: ada.discovery.state.is_on and bob.discovery.state.is_on)
    await eventually(lambda: ada.discovery._missed)
    monkeypatch.setattr(discovery_module, "MAX_PENDING_RESOLVES", 256)
    ada.discovery.rescan()
    await eventually(lambda: identity(2).peer_id in ada.hints)


async def test_a_taken_instance_name_is_replaced(
    running: list[Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    real_register = AsyncZeroconf.async_register_service

    async def register(self: AsyncZeroconf, info: Any, *args: Any, **options: Any) -> Any:
        names.append(info.name)
        if len(names) == 1:
            raise NonUniqueNameException
        return await real_register(self, info, *args, **options)

    monkeypatch.setattr(AsyncZeroconf, "async_register_service", register)
    monkeypatch.setattr(discovery_module, "DISCOVERY_RETRY_MIN", 3600.0)
    ada = make(1)
    await ada.discovery.start()
    running.append(ada)
    await eventually(lambda: ada.discovery.state.is_on)
    assert len(set(names)) == 2
    assert all(name.startswith(identity(1).peer_id[:8] + "-") for name in names)


async def test_stopping_before_it_is_on_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    ada = make(1)
    await ada.discovery.start()
    await asyncio.sleep(0.05)
    await ada.discovery.stop()
    await eventually(lambda: asyncio.all_tasks() <= before)


# --- records --------------------------------------------------------------------------------
def record(**changes: Any) -> AsyncServiceInfo:
    fields = {"v": "1", "id": identity(2).peer_id, "rt": room_tag(ROOM_ID, 100)}
    options = {"port": 1, "parsed_addresses": ["10.0.0.7"]} | changes
    properties = fields | options.pop("text", {})
    return AsyncServiceInfo(SERVICE_TYPE, f"x.{SERVICE_TYPE}", properties=properties, **options)


def reader(**options: Any) -> Discovery:
    options.setdefault("interfaces", None)
    return make(1, day=lambda: 100, **options).discovery


async def test_a_record_tells_peer_and_addresses() -> None:
    assert reader()._read(record()) == (identity(2).peer_id, (Address("10.0.0.7", 1),))


@pytest.mark.parametrize("day", [99, 100, 101])
async def test_a_neighbours_clock_may_be_a_day_off(day: int) -> None:
    assert reader()._read(record(text={"rt": room_tag(ROOM_ID, day)}))


@pytest.mark.parametrize("day", [98, 102])
async def test_old_tags_are_not_recognised(day: int) -> None:
    with pytest.raises(ProtocolError):
        reader()._read(record(text={"rt": room_tag(ROOM_ID, day)}))


async def test_addresses_that_cannot_be_dialled_are_left_out() -> None:
    hosts = ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "fe80::1", "10.0.0.7", "fd00::7"]
    hosts += ["::ffff:127.0.0.1", "::ffff:0.0.0.0"]
    _, addresses = reader()._read(record(parsed_addresses=hosts))
    assert {a.host for a in addresses} == {"10.0.0.7", "fd00::7"}
    _, addresses = reader(interfaces=[LOOPBACK])._read(record(parsed_addresses=["127.0.0.1"]))
    assert [a.host for a in addresses] == ["127.0.0.1"]


async def test_addresses_per_record_are_bounded() -> None:
    hosts = [f"10.0.0.{i}" for i in range(1, 100)]
    _, addresses = reader()._read(record(parsed_addresses=hosts))
    assert len(addresses) == MAX_ADDRESSES_PER_PEER


@pytest.mark.parametrize("name", ["", "x", "\x1b.local.", "a" * 300, f"{'a' * 100}.{SERVICE_TYPE}"])
async def test_a_malformed_name_is_ignored(name: str) -> None:
    seen = make(1)
    await seen.discovery._resolve(None, name)  # type: ignore[arg-type]
    assert seen.hints == {}


@given(st.binary(max_size=200))
def test_any_txt_record_is_a_hint_or_a_protocol_error(text: bytes) -> None:
    async def read() -> None:
        info = AsyncServiceInfo(SERVICE_TYPE, f"x.{SERVICE_TYPE}", port=1, properties=text)
        with pytest.raises(ProtocolError):
            reader()._read(info)

    asyncio.run(read())


def test_a_tag_tells_rooms_and_days_apart_and_nothing_else() -> None:
    tags = {room_tag(r, d) for r in (ROOM_ID, "cd" * 32) for d in (1, 2)}
    assert len(tags) == 4
    assert all(len(tag) == 16 for tag in tags)
    assert room_tag("ab" * 32, 20_000) == "a2018ff41ebae0a2"


async def test_what_is_announced_names_no_person_host_or_room() -> None:
    info = make(1).discovery._record(f"{identity(1).peer_id[:8]}-abcdef.{SERVICE_TYPE}")
    assert set(info.decoded_properties) == {"v", "id", "rt"}
    assert len(info.text) <= 120
    assert info.server in {None, info.name}
