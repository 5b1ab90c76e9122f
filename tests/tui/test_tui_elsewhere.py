"""Another room from the room's screen: each way there is a question, a journey, and a way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input
from tui_driver import shown, text, until
from tui_scenarios import ScriptedSource, training

from fedtui.errors import UsageError
from fedtui.tui.app import FedtuiApp
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.founding import FoundingScreen
from fedtui.tui.screens.line import LineScreen
from fedtui.tui.screens.room import RoomScreen
from fedtui.tui.screens.rooms import JourneyScreen, RoomsScreen

THERE = "c0" * 32
WORDS = ["river", "candy", "bronze", "apple", "moon", "chair"]
NOWHERE = {"step": "", "words": [], "room": "", "name": "", "switching": False}


def own(room: str, name: str, active: bool = False) -> dict[str, Any]:
    return {
        "room": room, "name": name, "active": active, "model": "tiny-landscapes", "rounds": 8,
        "done": 3,
    }  # fmt: skip


def listing(source: ScriptedSource, *others: dict[str, Any]) -> None:
    now: Any = source.now
    mine = own(now.room_id, now.room_name, active=True)
    source.answers["rooms"] = {"rooms": [mine, *others]}
    source.answers["rooms_nearby"] = {"count": 3}
    source.answers["arriving"] = NOWHERE


def asked(source: ScriptedSource, name: str) -> list[dict[str, Any]]:
    return [arguments for done, arguments in source.done if done == name]


def top(app: FedtuiApp, kind: type) -> Callable[[], bool]:
    return lambda: isinstance(app.screen, kind)


async def to_rooms(pilot: Pilot[None], app: FedtuiApp) -> None:
    await pilot.press("8")
    await until(pilot, top(app, RoomScreen))
    await pilot.press("o")
    await until(pilot, top(app, RoomsScreen))


async def agree(pilot: Pilot[None], app: FedtuiApp) -> str:
    """Says yes to the question; returns what was asked."""
    await until(pilot, top(app, ConfirmScreen))
    said = text(app)
    await pilot.press("right", "enter")
    return said


async def test_the_rooms_of_this_machine_are_listed_with_the_one_it_works_for(
    folder: Path,
) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        listing(source, own(THERE, "cellar [b]\x1b[31m"), own("d" * 64, "x" * 10_000))
        await to_rooms(pilot, app)
        await until(pilot, lambda: "3 rooms announce themselves" in text(app))
        assert "now for sunflower-42." in text(app)
        assert "cellar [b]" in text(app)
        assert "\x1b" not in text(app)
        await pilot.press("enter")  # where it is already
        await until(pilot, lambda: "works for sunflower-42 already" in text(app))
        assert not asked(source, "switch")
        await pilot.press("o")
        await until(pilot, top(app, RoomsScreen))
        await pilot.press("escape")
        await until(pilot, top(app, RoomScreen))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_working_for_another_room_asks_first_and_is_followed_to_its_end(
    folder: Path, size: tuple[int, int]
) -> None:
    view = training(folder)
    async with shown(view, size) as (pilot, app, source):
        listing(source, own(THERE, "cellar"))
        source.answers["switch"] = {"room": THERE, "name": "cellar", "switching": True}
        await to_rooms(pilot, app)
        await pilot.press("down", "enter")
        await until(pilot, top(app, ConfirmScreen))
        await pilot.press("enter")  # No has the focus
        await until(pilot, top(app, RoomScreen))
        assert not asked(source, "switch")
        await pilot.press("o")
        await until(pilot, top(app, RoomsScreen))
        await pilot.press("down", "enter")
        said = await agree(pilot, app)
        assert "Work for cellar from now on?" in said
        assert "stops working for sunflower-42" in " ".join(said.split())
        await until(pilot, top(app, JourneyScreen))
        assert asked(source, "switch") == [{"room": THERE}]
        assert "starts anew, for cellar" in text(app)
        await pilot.press("escape")  # it is under way
        source.now = UsageError("no node is running")
        await until(pilot, lambda: bool(app.feed.lost))
        assert isinstance(app.screen, JourneyScreen)
        source.now = replace(view, room_id=THERE, room_name="cellar")
        await until(pilot, top(app, RoomScreen))
        await until(pilot, lambda: "works for cellar now" in text(app))


async def test_a_room_is_made_by_name_and_plan(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        listing(source)
        source.answers["make_room"] = {**NOWHERE, "step": "making"}
        source.answers["arriving"] = {**NOWHERE, "step": "making"}
        await to_rooms(pilot, app)
        await pilot.press("n")
        await until(pilot, top(app, LineScreen))
        app.screen.query_one(Input).value = "Attic [b]"
        await pilot.press("enter")
        await until(pilot, top(app, FoundingScreen))
        app.screen.query_one("#rounds", Input).value = "5"
        await pilot.press("enter")
        said = await agree(pilot, app)
        assert "Make Attic [b], and work for it?" in said
        await until(pilot, top(app, JourneyScreen))
        wanted = {"steps": 40, "needed": 2, "on_request": False, "model": "", "prompt": ""}
        assert asked(source, "make_room") == [{"room": "Attic [b]", "rounds": 5, **wanted}]
        assert "Making the room" in text(app)
        arrived = {**NOWHERE, "step": "done", "room": THERE, "name": "Attic", "switching": True}
        source.answers["arriving"] = arrived
        await until(pilot, lambda: "starts anew, for Attic" in text(app))


async def test_who_joins_sees_the_words_and_may_stay(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        listing(source)
        source.answers["enter_room"] = {**NOWHERE, "step": "looking"}
        source.answers["arriving"] = {**NOWHERE, "step": "waiting", "words": WORDS}
        source.answers["stay"] = {"stayed": True}
        await to_rooms(pilot, app)
        await pilot.press("J")
        await until(pilot, top(app, LineScreen))
        app.screen.query_one(Input).value = "7-river-candy-bronze"
        await pilot.press("enter")
        assert "Ask to be let in" in await agree(pilot, app)
        await until(pilot, lambda: " ".join(WORDS) in text(app))
        assert asked(source, "enter_room") == [{"invite": "7-river-candy-bronze"}]
        await pilot.press("escape")
        await until(pilot, lambda: bool(asked(source, "stay")))
        await until(pilot, lambda: "This machine stays here" in text(app))
        assert isinstance(app.screen, RoomScreen)


async def test_a_refusal_is_told_and_this_machine_stays(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        listing(source)
        source.answers["enter_room"] = {**NOWHERE, "step": "looking"}
        source.answers["arriving"] = {
            **NOWHERE, "step": "failed", "title": "the invite is [b]used up\x1b[31m",
            "cause": "one machine came by it", "remedy": "ask for a new one",
        }  # fmt: skip
        await to_rooms(pilot, app)
        await pilot.press("J")
        await until(pilot, top(app, LineScreen))
        app.screen.query_one(Input).value = "fedtui:x"
        await pilot.press("enter")
        await agree(pilot, app)
        await until(pilot, lambda: "the invite is [b]used up" in text(app))
        assert isinstance(app.screen, RoomScreen)


async def test_a_window_that_only_watches_may_look_and_no_more(folder: Path) -> None:
    async with shown(training(folder), observe=True) as (pilot, app, source):
        listing(source, own(THERE, "cellar"))
        await to_rooms(pilot, app)
        await pilot.press("down", "enter")
        await agree(pilot, app)
        await until(pilot, lambda: "only watches" in text(app))
        assert not asked(source, "switch")


async def test_a_demo_offers_no_other_room(folder: Path) -> None:
    async with shown(training(folder), owns_room=True) as (pilot, app, source):
        listing(source)
        await pilot.press("8")
        await until(pilot, top(app, RoomScreen))
        await pilot.press("o")
        await pilot.pause(0.3)
        assert not asked(source, "rooms")


async def test_a_network_that_cannot_be_listened_to_is_said(folder: Path) -> None:
    async with shown(training(folder), (80, 24), look=None) as (pilot, app, source):
        listing(source)
        source.answers["rooms_nearby"] = UsageError("the network cannot be listened to")
        await to_rooms(pilot, app)
        await until(pilot, lambda: "a link still works" in text(app))
        assert not app._notifications
