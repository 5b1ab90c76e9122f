"""Around client isolation through a member that reaches both sides and learns nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from member_rig import LOOPBACK, PATIENCE, Member, RawConnection, Room, eventually, request

from p2p.addresses import Address
from p2p.errors import NetworkError
from p2p.pacing import Throttle
from p2p.relay import RelayLimits

NOWHERE = Address(LOOPBACK, 1)


async def three(room: Room) -> tuple[Member, Member, Member]:
    """Ada, Bob, and Eve, whom Bob has answered."""
    ada, bob, eve = [await room.add() for _ in range(3)]
    await eve.client.hello(bob.id, b"from eve")
    bob.handler.hellos.clear()
    return ada, bob, eve


def isolate(member: Member, *others: Member) -> None:
    for other in others:
        member.addresses.forget(other.id)
        member.addresses.hint(other.id, [NOWHERE])


async def test_a_member_out_of_reach_is_reached_through_another(room: Room) -> None:
    ada, bob, eve = await three(room)
    isolate(ada, bob)
    with pytest.raises(NetworkError):
        await ada.client.hello(bob.id, b"x")
    ada.client.relay_through(bob.id, eve.id)
    assert await ada.client.hello(bob.id, b"x") == b"answer to x"
    assert bob.handler.hellos[-1][:2] == (ada.id, b"x"), "bob sees who really calls"
    assert eve.handler.hellos == []
    assert ada.client.relay_of(bob.id) == eve.id
    assert ada.addresses.of(bob.id) == (NOWHERE,), "the relay's address is not bob's"


async def test_blobs_pass_whole(room: Room) -> None:
    ada, bob, eve = await three(room)
    data = bytes(range(256)) * 8192
    ref = await bob.store.put(data)
    isolate(ada, bob)
    ada.client.relay_through(bob.id, eve.id)
    received = [await ada.client.fetch_chunk(bob.id, ref, index) for index in range(ref.count)]
    assert b"".join(part.data for part in received) == data


async def test_messages_wait_and_go_through_the_relay(room: Room) -> None:
    ada, bob, eve = await three(room)
    isolate(ada, bob)
    ada.client.send(bob.id, b"hello bob")
    ada.client.relay_through(bob.id, eve.id)
    await eventually(lambda: (ada.id, b"hello bob") in bob.handler.messages)


async def test_the_direct_way_is_tried_once_at_a_time(room: Room) -> None:
    """A member that is reached through another may say ten times a second that it has moved."""
    ada, bob, eve = await three(room)
    isolate(ada, bob)
    ada.client.relay_through(bob.id, eve.id)
    callers: list[Any] = []
    silent = await asyncio.start_server(lambda *caller: callers.append(caller), LOOPBACK, 0)
    async with silent:
        place = Address(*silent.sockets[0].getsockname()[:2])
        ada.addresses.forget(bob.id)
        ada.addresses.hint(bob.id, [place])
        tries = [asyncio.ensure_future(ada.client.try_directly(bob.id)) for _ in range(40)]
        await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
        assert sum(task.done() for task in tries) == 39, "they left it to the first"
        assert len(callers) <= 1
        ada.addresses.hint(bob.id, [bob.address])
        await asyncio.wait(tries)
    await ada.client.try_directly(bob.id)
    assert ada.client.relay_of(bob.id) is None


async def test_the_relay_sees_only_ciphertext(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob, eve = await three(room)
    seen = bytearray()
    original = asyncio.StreamWriter.write

    def write(self: asyncio.StreamWriter, data: bytes) -> Any:
        seen.extend(data)
        return original(self, data)

    monkeypatch.setattr(asyncio.StreamWriter, "write", write)
    isolate(ada, bob)
    ada.client.relay_through(bob.id, eve.id)
    secret = b"a secret that is long enough to be found"
    assert await ada.client.hello(bob.id, secret) == b"answer to " + secret
    assert seen
    assert secret not in seen
    assert b"POST" not in seen


async def test_a_relay_that_goes_away_is_given_up(room: Room) -> None:
    ada, bob, eve = await three(room)
    isolate(ada, bob)
    ada.client.relay_through(bob.id, eve.id)
    await ada.client.hello(bob.id, b"x")
    await eve.server.stop()
    with pytest.raises(NetworkError):
        await ada.client.hello(bob.id, b"y")
    assert ada.client.relay_of(bob.id) is None


async def test_closing_all_connections_leaves_nothing_of_relayed_ones(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    ada, bob, eve = await three(room)
    isolate(ada, bob)
    ada.client.relay_through(bob.id, eve.id)
    for _ in range(3):
        await ada.client.hello(bob.id, b"x")
        await ada.client.reset()
    await eventually(lambda: not len(ada.client._pipes._tasks))
    gc.collect()  # Whose exceptions nobody has seen is told when they are forgotten.
    await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_direct_way_that_opens_again_is_taken(room: Room) -> None:
    ada, bob, eve = await three(room)
    isolate(ada, bob)
    ada.client.relay_through(bob.id, eve.id)
    await ada.client.try_directly(bob.id)
    assert ada.client.relay_of(bob.id) == eve.id
    ada.addresses.hint(bob.id, [bob.address])
    await ada.client.try_directly(bob.id)
    assert ada.client.relay_of(bob.id) is None
    assert await ada.client.hello(bob.id, b"x") == b"answer to x"
    assert ada.addresses.of(bob.id)[0] == bob.address


async def test_a_relay_does_not_lead_to_another_relay(room: Room) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    ada.client.relay_through(bob.id, eve.id)
    ada.client.relay_through(eve.id, bob.id)
    assert ada.client.relay_of(eve.id) is None
    isolate(eve, bob)
    isolate(ada, bob)
    with pytest.raises(NetworkError):
        await ada.client.hello(bob.id, b"x")


async def status_of(member: Member, to: Member, path: str) -> int:
    context = member.tls.client_context(to.id)
    raw = await RawConnection.open(to.address, context)
    try:
        return await raw.ask(request("POST", path, Transfer_Encoding="chunked"))
    finally:
        await raw.close()


async def test_only_other_members_are_relayed_to(room: Room) -> None:
    ada, eve = await room.add(), await room.add()
    assert await status_of(ada, eve, f"/v1/via/{ada.id}") == 404
    assert await status_of(ada, eve, f"/v1/via/{eve.id}") == 404
    assert await status_of(ada, eve, f"/v1/via/{'a' * 52}") == 404
    assert await status_of(ada, eve, "/v1/via/10.0.0.1:22") == 404


async def test_nobody_is_relayed_to_where_a_member_only_claims_to_be(room: Room) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    victim = await asyncio.start_server(lambda *_: asyncio.sleep(5), LOOPBACK, 0)
    place = Address(LOOPBACK, victim.sockets[0].getsockname()[1])
    try:
        eve.addresses.forget(bob.id)
        eve.addresses.hint(bob.id, [place])
        assert await status_of(ada, eve, f"/v1/via/{bob.id}") == 504
    finally:
        victim.close()


async def test_pipes_are_counted(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    eve = await room.add(relay=RelayLimits(pipes=3, per_peer=2))
    await eve.client.hello(bob.id, b"x")
    path = f"/v1/via/{bob.id}"
    held: list[RawConnection] = []
    try:
        for _ in range(2):
            raw = await RawConnection.open(eve.address, ada.tls.client_context(eve.id))
            assert await raw.ask(request("POST", path, Transfer_Encoding="chunked")) == 200
            held.append(raw)
        assert await status_of(ada, eve, path) == 429
    finally:
        for raw in held:
            await raw.close()
    async with asyncio.timeout(PATIENCE):
        # The places are free again.
        while await status_of(ada, eve, path) != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_an_idle_pipe_ends(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    eve = await room.add(relay=RelayLimits(idle=0.1))
    await eve.client.hello(bob.id, b"x")
    raw = await RawConnection.open(eve.address, ada.tls.client_context(eve.id))
    await raw.send(request("POST", f"/v1/via/{bob.id}", Transfer_Encoding="chunked"))
    assert b"200" in await raw.read_all()
    await raw.close()


async def test_a_pipe_in_which_only_one_side_speaks_is_not_idle(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    eve = await room.add(relay=RelayLimits(idle=0.4, rate=1 << 19))
    await eve.client.hello(bob.id, b"x")
    data = bytes(1 << 20)
    ref = await bob.store.put(data)
    isolate(ada, bob)
    ada.client.relay_through(bob.id, eve.id)
    received = await ada.client.fetch_chunk(bob.id, ref, 0)
    assert received.data == data


def test_a_caller_gets_its_rate_and_a_seconds_worth_at_once() -> None:
    throttle = Throttle(1000.0, now=0.0)
    assert throttle.delay(1000, 0.0) == 0.0
    assert throttle.delay(500, 0.0) == 0.5
    assert throttle.delay(500, 0.0) == 1.0
    assert throttle.delay(1000, 100.0) == 0.0, "rest is not saved up beyond a second"
    assert throttle.delay(1000, 100.0) == 1.0
