"""A machine without a room hears that there are rooms, and nothing else of them."""

from __future__ import annotations

import secrets

from member_rig import LOOPBACK, identity
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from p2p.discovery import SERVICE_TYPE, Discovery
from p2p.nearby import rooms_nearby

TRIES = 20
SECONDS = 3.0


def announced(number: int, room_id: str) -> Discovery:
    return Discovery(
        identity(number).peer_id,
        room_id,
        40_100 + number,
        on_hint=lambda peer, addresses: None,
        interfaces=[LOOPBACK],
    )


async def test_rooms_are_counted_and_not_their_members() -> None:
    """Other tests announce rooms on the same loopback interface, so two is the least."""
    ours, theirs = secrets.token_hex(32), secrets.token_hex(32)
    members = [announced(31, ours), announced(32, ours), announced(33, theirs)]
    for each in members:
        await each.start()
    try:
        for _ in range(TRIES):
            found = await rooms_nearby(SECONDS, [LOOPBACK])
            if found >= 2:
                break
        assert found >= 2
    finally:
        for each in members:
            await each.stop()


async def test_records_that_are_not_ours_do_not_count() -> None:
    """They are looked at one after the other: what is asserted is that none brings it down."""
    mdns = AsyncZeroconf(interfaces=[LOOPBACK])
    try:
        for i, properties in enumerate(
            ({"v": "1", "rt": "x" * 16}, {"v": "9", "rt": "0" * 16}, {b"v": b"\xff"}, {})
        ):
            name = f"{secrets.token_hex(4)}-{i}.{SERVICE_TYPE}"
            info = AsyncServiceInfo(
                SERVICE_TYPE, name, port=1, properties=properties, parsed_addresses=[LOOPBACK]
            )
            await (await mdns.async_register_service(info))
        assert await rooms_nearby(SECONDS, [LOOPBACK]) >= 0
    finally:
        await mdns.async_close()
