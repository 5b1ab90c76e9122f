"""A code finds its lobby by mDNS, whose record tells nothing about who or what."""

from __future__ import annotations

import asyncio
import getpass
import socket
from contextlib import aclosing
from pathlib import Path

import pytest
from lobby_rig import joiner, open_lobby
from member_rig import LOOPBACK, PATIENCE, identity
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from p2p.addresses import Address
from p2p.joining import nearby
from p2p.joining.nearby import SERVICE_TYPE, Announcer, lobbies


async def first(nameplate: int) -> tuple[Address, ...]:
    found = lobbies(nameplate, [LOOPBACK])
    async with asyncio.timeout(PATIENCE), aclosing(found):
        async for addresses in found:
            return addresses
    raise AssertionError


async def test_a_code_is_all_that_is_needed(tmp_path: Path) -> None:
    announcer = Announcer([LOOPBACK])
    async with open_lobby(tmp_path) as open_:
        open_.lobby._on_change = announcer.announce
        code = (await open_.opened(open_.book.create_code(lifetime=600))).code
        assert code is not None
        joined = await joiner(2).by_code(code, interfaces=[LOOPBACK])
        assert joined.room == open_.room.genesis.id
    await announcer.stop()


async def test_the_record_names_no_user_machine_key_or_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records: list[AsyncServiceInfo] = []
    register = AsyncZeroconf.async_register_service

    async def note(self: AsyncZeroconf, info: AsyncServiceInfo, **more: object) -> object:
        records.append(info)
        return await register(self, info, **more)

    monkeypatch.setattr(AsyncZeroconf, "async_register_service", note)
    announcer = Announcer([LOOPBACK])
    announcer.announce(frozenset({7, 12}), 4711)
    assert await first(12) == (Address(LOOPBACK, 4711),)
    await announcer.stop()
    (record,) = records
    said = f"{record.name} {record.server} {record.properties}".lower()
    assert record.decoded_properties == {"v": "1", "n": "7,12"}
    for private in (getpass.getuser(), socket.gethostname(), identity(1).peer_id[:8], "attic"):
        assert private.lower() not in said


async def test_another_number_and_another_version_are_not_found() -> None:
    info = AsyncServiceInfo(
        SERVICE_TYPE, f"x.{SERVICE_TYPE}", port=1, properties={"v": "2", "n": "7"},
        parsed_addresses=[LOOPBACK],
    )  # fmt: skip
    assert nearby._read(info, 7, on_loopback=True) == ()
    info = AsyncServiceInfo(
        SERVICE_TYPE, f"x.{SERVICE_TYPE}", port=1, properties={"v": "1", "n": "77,17"},
        parsed_addresses=[LOOPBACK],
    )  # fmt: skip
    assert nearby._read(info, 7, on_loopback=True) == ()
    assert nearby._read(info, 17, on_loopback=True) == (Address(LOOPBACK, 1),)
