"""Every known address gets its chance, and only the right certificate wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from member_rig import LOOPBACK, Room, eventually, identity

from p2p import dialing
from p2p.addresses import Address
from p2p.client import ClientLimits
from p2p.dialing import MemberConnector, first_success, remote_address
from p2p.errors import NetworkError
from p2p.limits import MAX_CLIENT_CONNECTIONS_PER_PEER


async def test_an_address_that_another_member_has_now_does_not_hide_the_right_one(
    room: Room,
) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    ada.addresses.forget(bob.id)
    ada.addresses.hint(bob.id, [eve.address, bob.address])
    assert await ada.client.hello(bob.id, b"x") == b"answer to x"
    assert ada.addresses.of(bob.id)[0] == bob.address, "the winner is tried first from now on"
    assert eve.handler.hellos == []


async def test_a_silent_address_costs_a_moment_and_not_the_connection(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), LOOPBACK, 0)
    try:
        port = silent.sockets[0].getsockname()[1]
        ada.addresses.forget(bob.id)
        ada.addresses.hint(bob.id, [Address(LOOPBACK, port), bob.address])
        assert await ada.client.hello(bob.id, b"x") == b"answer to x"
    finally:
        silent.close()


async def test_nobody_at_any_address_is_a_network_error(room: Room) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    ada.addresses.forget(bob.id)
    with pytest.raises(NetworkError):
        await ada.client.hello(bob.id, b"x")
    ada.addresses.hint(bob.id, [eve.address, Address(LOOPBACK, 1)])
    with pytest.raises(NetworkError):
        await ada.client.hello(bob.id, b"x")


def attempt(
    name: str, log: list[str], *, after: float = 0.0, error: Exception | None = None
) -> Callable[[], Awaitable[str]]:
    async def run() -> str:
        log.append(name)
        await asyncio.sleep(after)
        if error is not None:
            raise error
        return name

    return run


async def test_attempts_start_apart_and_a_failure_starts_the_next() -> None:
    log: list[str] = []
    attempts = [
        attempt("hangs", log, after=60),
        attempt("fails", log, error=OSError("no")),
        attempt("works", log),
        attempt("never", log),
    ]
    assert await first_success(attempts, log.append, stagger=0.05) == "works"
    assert log == ["hangs", "fails", "works"]


async def test_a_second_success_is_discarded() -> None:
    log: list[str] = []
    discarded: list[str] = []
    both = [attempt("a", log, after=0.1), attempt("b", log, after=0.1)]
    won = await first_success(both, discarded.append, stagger=0.0)
    await asyncio.sleep(0.15)
    assert {won, *discarded} <= {"a", "b"}
    assert won not in discarded


async def test_the_last_error_is_told() -> None:
    with pytest.raises(OSError, match="second"):
        await first_success(
            [attempt("a", [], error=OSError("first")), attempt("b", [], error=OSError("second"))],
            lambda _: None,
        )
    with pytest.raises(OSError, match="no address"):
        await first_success([], lambda _: None)


async def test_a_connection_lost_at_once_counts_as_a_reset_one(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    connector = MemberConnector(ada.addresses, lambda _: pytest.fail("no relay is needed"))
    try:
        transport, _ = await connector._connect(
            ada.tls.client_context(bob.id), host=LOOPBACK, port=bob.address.port
        )
        assert remote_address(transport) == bob.address
        transport.abort()
        async with asyncio.timeout(60):
            while transport.get_extra_info("peername") is not None:  # noqa: ASYNC110
                await asyncio.sleep(0)
        with pytest.raises(ConnectionResetError):
            remote_address(transport)
    finally:
        await connector.close()


async def test_a_dial_goes_on_when_the_request_that_began_it_gave_up(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    reached, opened = asyncio.Event(), asyncio.Event()
    dialled: list[Address] = []
    connector = ada.client._session.connector
    connect = connector._connect

    async def slowly(*context: object, **where: Any) -> Any:
        dialled.append(Address(where["host"], where["port"]))
        reached.set()
        await opened.wait()
        return await connect(*context, **where)

    connector._connect = slowly
    waiting = asyncio.create_task(ada.client.hello(bob.id, b"x", 60.0))
    await reached.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    opened.set()
    assert await ada.client.hello(bob.id, b"y", 60.0) == b"answer to y"
    assert dialled == [bob.address], "the second request took over what the first had begun"


async def test_dials_that_came_to_nothing_are_not_kept(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removed machine is called for months, each time with a context of its own."""
    monkeypatch.setattr(dialing, "DIAL_TIMEOUT", 0.1)
    ada = await room.add(client=ClientLimits(connect=0.02, request=0.02))
    removed = identity(66)
    connector = ada.client._session.connector
    silent = await asyncio.start_server(lambda *_: asyncio.Event().wait(), LOOPBACK, 0)
    async with silent:
        place = Address(*silent.sockets[0].getsockname()[:2])
        ada.addresses.hint(removed.peer_id, [place])
        for _ in range(4):
            with pytest.raises(NetworkError):
                await ada.client.tell_former(removed.peer_id, removed.certificate_der(), b"x")
            await eventually(lambda: not connector._dials)
    assert len(connector._left) <= 1


async def test_closing_ends_a_dial_and_tells_whoever_waits_for_it(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    reached = asyncio.Event()

    async def never(*context: object, **where: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    ada.client._session.connector._connect = never
    waiting = asyncio.create_task(ada.client.hello(bob.id, b"x", 60.0))
    await reached.wait()
    await ada.client.reset()
    with pytest.raises(NetworkError):
        await waiting
    assert await ada.client.hello(bob.id, b"y", 60.0) == b"answer to y"


async def test_whoever_waits_for_a_place_in_the_pool_goes_on_after_a_reset(room: Room) -> None:
    ada, bob = await room.add(), await room.add(client=ClientLimits(connect=60.0, request=60.0))
    dialled = 0

    async def never(*context: object, **where: Any) -> Any:
        nonlocal dialled
        dialled += 1
        await asyncio.Event().wait()

    connector = bob.client._session.connector
    connector._connect = never
    places = MAX_CLIENT_CONNECTIONS_PER_PEER
    hellos = [asyncio.create_task(bob.client.hello(ada.id, b"x", 60.0)) for _ in range(places)]
    await eventually(lambda: dialled == places)
    hellos.append(asyncio.create_task(bob.client.hello(ada.id, b"x", 60.0)))
    bob.client.send(ada.id, b"a message")
    await eventually(lambda: sum(map(len, connector._waiters.values())) == 2)
    await bob.client.reset()
    outcomes = await asyncio.gather(*hellos, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {NetworkError}
    await eventually(lambda: ada.handler.messages == [(bob.id, b"a message")])


async def test_whoever_is_cancelled_while_waiting_for_a_place_is_cancelled(room: Room) -> None:
    ada, bob = await room.add(), await room.add(client=ClientLimits(connect=60.0))
    bob.client._session.connector._available_connections = lambda _: 0
    waiting = asyncio.create_task(bob.client.hello(ada.id, b"x", 60.0))
    await eventually(lambda: bool(bob.client._session.connector._waiters))
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
