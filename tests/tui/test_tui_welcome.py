"""The first run: a name, a look at the machine, three ways on."""

from __future__ import annotations

import asyncio

from textual.pilot import Pilot
from textual.widgets import Input
from tui_driver import WAIT_S, until

from fedtui.doctor import Check
from fedtui.room_plan import RoomPlan
from fedtui.tui.welcome import Choice, WelcomeApp


def seen(app: WelcomeApp) -> str:
    rows = app.screen._compositor.render_strips(app.screen.size)
    return "\n".join(strip.text for strip in rows)


async def healthy() -> Check:
    return Check("trainer", "ok", "cpu, ready after 7.1 s")


async def wait_for(pilot: Pilot[Choice], words: str) -> None:
    app = pilot.app
    assert isinstance(app, WelcomeApp)
    for _ in range(int(WAIT_S / 0.05)):
        if words in seen(app):
            return
        await pilot.pause(0.05)
    raise AssertionError(seen(app))


async def test_joining_takes_a_name_and_a_code() -> None:
    app = WelcomeApp("lena", healthy)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await wait_for(pilot, "✓ cpu, ready after 7.1 s")
        assert "Their pictures never leave their machines." in seen(app)
        await pilot.press("enter", *"7-river", "enter")
        await pilot.pause()
    assert app.return_value == Choice("join", "lena", "7-river")


async def test_making_a_room_and_changing_the_name() -> None:
    app = WelcomeApp("", healthy)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("down", "enter", *"sunflower", "enter")
        await wait_for(pilot, "The others need a name")
        await pilot.press(*"amir", "enter")
        await pilot.pause()
        field = app.query_one("#text", Input)
        field.focus()
        await pilot.press("enter")
        await wait_for(pilot, "The plan of sunflower")
        await pilot.press("enter")
        await pilot.pause()
    assert app.return_value == Choice("create", "amir", "sunflower")


async def to_the_plan(pilot: Pilot[Choice]) -> None:
    await pilot.press("down", "enter", *"sunflower", "enter")
    await wait_for(pilot, "The plan of sunflower")


async def press_button(pilot: Pilot[Choice]) -> None:
    button = pilot.app.screen.query_one("#yes")
    button.focus()
    # One that was pressed a moment ago takes no second press.
    await until(
        pilot,
        lambda: pilot.app.screen.focused is button and not button.has_class("-active"),
    )
    await pilot.press("enter")


async def test_the_plan_of_a_new_room_is_chosen_and_wrong_numbers_are_refused() -> None:
    app = WelcomeApp("lena", healthy)
    async with app.run_test(size=(80, 24)) as pilot:
        await to_the_plan(pilot)
        rounds = app.screen.query_one("#rounds", Input)
        for wrong in ("0", "", "-3", "9999999"):
            rounds.value = wrong
            await press_button(pilot)
            await until(pilot, lambda: app.screen.focused is rounds)
            await wait_for(pilot, "Rounds in all: a number between 1 and 100,000")
        rounds.value = "8"
        await pilot.press("enter", "enter", "enter", "enter")
        await pilot.press(*"a fox", "enter", "space")
        await press_button(pilot)
        await pilot.pause()
    plan = RoomPlan(rounds=8, on_request=True, prompt="a fox")
    assert app.return_value == Choice("create", "lena", "sunflower", plan)


async def test_going_back_from_the_plan_keeps_the_name_and_makes_nothing() -> None:
    app = WelcomeApp("lena", healthy, plan=RoomPlan(rounds=12))
    async with app.run_test(size=(60, 20)) as pilot:
        await to_the_plan(pilot)
        assert app.screen.query_one("#rounds", Input).value == "12", "as it was chosen before"
        await pilot.press("escape")
        await pilot.pause()
        assert app.is_running
        assert app.query_one("#text", Input).value == "sunflower"


async def test_rooms_on_the_network_are_counted_once_they_are_heard() -> None:
    heard = iter((0, 2))

    async def nearby() -> int:
        return next(heard)

    app = WelcomeApp("lena", healthy, nearby=nearby)
    async with app.run_test(size=(80, 24)) as pilot:
        await wait_for(pilot, "2 rooms are on this network: ask for an invite")


async def test_looking_around_needs_nothing() -> None:
    app = WelcomeApp("lena", healthy)
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.press("down", "down", "enter")
        await pilot.pause()
    assert app.return_value == Choice("demo", "lena")


async def test_what_went_wrong_is_told_and_escape_goes_back() -> None:
    async def forever() -> Check:
        await asyncio.sleep(3600)
        raise AssertionError

    app = WelcomeApp("lena", forever, "this is no invite [b]")
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        assert "this is no invite [b]" in seen(app)
        await pilot.press("enter", "x", "escape")
        await pilot.pause()
        assert not app.query_one("#text").display
        await wait_for(pilot, "looking at this machine… ")
        await pilot.press("f10")
        await pilot.pause()
    assert app.return_value is None
