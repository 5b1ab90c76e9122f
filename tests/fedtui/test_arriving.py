"""Another room without leaving the present one: two real rooms on loopback, and a node of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from member_rig import identity
from reception_rig import LOOPBACK, Host, host
from test_node import founded

from fedtui import rooms
from fedtui.errors import UsageError
from fedtui.node import Node
from fedtui.paths import Profile
from fedtui.settings import Settings

SETTINGS = Settings(host=LOOPBACK, interfaces=(LOOPBACK,), previews=False, name="Grace")


@pytest.fixture
async def ada(tmp_path: Path) -> AsyncIterator[Host]:
    """Somebody else's room."""
    async with host(tmp_path / "ada", identity(1)) as ada:
        yield ada


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    profile = Profile(tmp_path / "grace")
    profile.create()
    identity(2).save(profile.identity)
    return profile


@pytest.fixture
async def grace(profile: Profile) -> AsyncIterator[Node]:
    """A node of her own room, the attic."""
    made = Node(profile, SETTINGS, founded(profile, identity(2), b"the first adapter"))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def do(node: Node, name: str, **arguments: Any) -> dict[str, Any]:
    return await node.operations.run(name, arguments)


async def until(node: Node, arrived: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What is told once it has come so far."""
    told: dict[str, Any] = {}

    async def asked() -> bool:
        told.update(await do(node, "arriving"))
        return arrived(told)

    for _ in range(2400):
        if await asked():
            return told
        await asyncio.sleep(0.05)
    raise TimeoutError(told)


def over(told: dict[str, Any]) -> bool:
    return told["step"] in ("done", "failed")


async def test_a_member_joins_another_room_and_comes_back(
    ada: Host, grace: Node, profile: Profile
) -> None:
    attic = rooms.current(profile)
    link = (await ada.do("invite", auto_approve=True))["text"]
    assert (await do(grace, "enter_room", invite=link))["step"] == "looking"
    told = await until(grace, over)
    assert (told["step"], told["room"], told["switching"]) == ("done", ada.room.id, True)
    async with asyncio.timeout(30):
        await grace.wait_stopped()
    assert grace.switching
    assert rooms.current(profile).id == ada.room.id
    assert ada.peer.members[identity(2).peer_id].name == "Grace"
    await grace.stop()

    there = Node(profile, SETTINGS, rooms.current(profile))
    await there.start()
    try:
        listed = (await do(there, "rooms"))["rooms"]
        assert {room["room"]: room["active"] for room in listed} == {
            attic.id: False,
            ada.room.id: True,
        }
        back = await do(there, "switch", room=attic.id)
        assert back == {"room": attic.id, "name": "Attic", "switching": True}
        await there.wait_stopped()
    finally:
        await there.stop()
    assert rooms.current(profile).id == attic.id
    assert attic.paths.genesis.is_file(), "still a member of the first one"


async def test_who_waits_at_the_door_sees_the_words_and_can_stay(
    ada: Host, grace: Node, profile: Profile
) -> None:
    before = rooms.current(profile).id
    link = (await ada.do("invite"))["text"]
    await do(grace, "enter_room", invite=link)
    told = await until(grace, lambda told: told["step"] == "waiting")
    assert len(told["words"]) == 6
    with pytest.raises(UsageError, match="on its way"):
        await do(grace, "make_room", room="Cellar")
    assert await do(grace, "stay") == {"stayed": True}
    assert (await do(grace, "arriving"))["step"] == ""
    assert not grace.switching
    assert rooms.current(profile).id == before


async def test_what_is_refused_is_told_and_changes_nothing(
    ada: Host, grace: Node, profile: Profile
) -> None:
    before = rooms.current(profile).id
    invite = await ada.do("invite")
    await ada.do("revoke", id=invite["id"])
    await do(grace, "enter_room", invite=invite["text"])
    told = await until(grace, over)
    assert told["step"] == "failed"
    assert told["title"]
    assert not grace.switching
    assert rooms.current(profile).id == before
    with pytest.raises(UsageError, match="no invite"):
        await do(grace, "enter_room", invite="nonsense")


async def test_an_invite_to_the_present_room_moves_nobody(grace: Node, profile: Profile) -> None:
    link = (await do(grace, "invite"))["text"]
    await do(grace, "enter_room", invite=link)
    told = await until(grace, over)
    assert (told["step"], told["room"], told["switching"]) == (
        "done",
        rooms.current(profile).id,
        False,
    )
    assert not grace.switching


@pytest.mark.slow
async def test_a_member_makes_another_room_and_the_first_one_stays(
    grace: Node, profile: Profile
) -> None:
    attic = rooms.current(profile)
    wanted = {"room": "Cellar", "rounds": 2, "steps": 5, "needed": 1, "prompt": "night"}
    await do(grace, "make_room", **wanted)
    told = await until(grace, over)
    assert (told["name"], told["switching"]) == ("Cellar", True), told
    made = rooms.current(profile)
    assert (made.id, made.genesis.plan.rounds, made.task.steps) == (told["room"], 2, 5)
    assert [each.name for each in rooms.listed(profile)] == ["Attic", "Cellar"]
    assert attic.paths.genesis.is_file()
    async with asyncio.timeout(30):
        await grace.wait_stopped()
