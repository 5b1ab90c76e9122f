"""What nobody wishes to happen to an interface: it stays up, says what is wrong, and goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from test_tui_hostile import assert_harmless, poisoned, poisoned_answers
from textual import events
from tui_driver import settle, shown, strips, text, until
from tui_scenarios import examined, identity, landscape, several_rounds, training

from fedtui.control.late import LateClient
from fedtui.control.operations import Operations
from fedtui.control.server import ControlServer
from fedtui.events import Event
from fedtui.tui.app import FedtuiApp
from fedtui.tui.limits import PROMPT_CHARS
from fedtui.tui.places import PLACES, WALL
from fedtui.tui.widgets.field import Field
from fedtui.tui.widgets.peertable import PeerTable
from fedtui.view import ChangeView, NodeView, RequestView

LONG = "x" * 10_000
MEGABYTE = 1 << 20


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_two_hundred_members_with_endless_names_fit_every_screen(
    folder: Path, size: tuple[int, int]
) -> None:
    view = poisoned(several_rounds(folder), [LONG] * 4)
    many = tuple(
        replace(view.peers[i % len(view.peers)], id=identity(i), me=i == 0) for i in range(200)
    )
    request = RequestView("r", "p9", LONG, LONG, (LONG,), LONG, LONG, LONG, 1.0, "p1")
    change = ChangeView("c" * 64, LONG, LONG, (LONG,), 1, 9)
    view = replace(view, peers=many, requests=(request,), changes=(change,))
    async with shown(view, size, examine=examined) as (pilot, app, source):
        source.answers |= poisoned_answers(LONG)
        for place in (*PLACES, WALL):
            await app.action_place(place.id)
            await settle(pilot)
            await pilot.press("end")
            await pilot.pause()
            rows = strips(app)
            assert_harmless(rows)
            assert len(rows) == size[1]
            assert all(cell_len(row.text) == size[0] for row in rows), place.id
        await app.action_place("peers")
        await pilot.press("end")
        table = app.screen.query_one(PeerTable)
        await until(
            pilot, lambda: table.selected is not None and table.selected.id == identity(199)
        )


class Node:
    """A node of some version behind a real control socket."""

    def __init__(self, view: NodeView) -> None:
        self.operations = Operations()
        self._view = view

    def view(self) -> NodeView:
        return self._view

    def past_events(self, since: int) -> list[Event]:
        return []

    async def follow_events(self, since: int) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield {}

    def request_stop(self) -> None:
        """Nothing runs."""


async def test_a_node_that_dies_and_is_upgraded_is_told_and_followed(folder: Path) -> None:
    control = folder / "control.sock"
    server = ControlServer(Node(training(folder)), control)
    await server.start()
    app = FedtuiApp(LateClient(control))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "sunflower-42" in text(app))
        await server.stop()
        await until(pilot, lambda: "✗ NODE GONE" in text(app))
        assert "q, then fedtui, starts it again" in text(app)
        assert "amir-mbp" in text(app), "what was known stays to be read"
        newer = replace(training(folder), version="9.0.0")
        newer = replace(
            newer,
            round=replace(newer.round, phase="HATCHING"),  # type: ignore[arg-type]
            peers=(replace(newer.peers[0], state="NAP"), *newer.peers[1:]),  # type: ignore[arg-type]
        )
        again = ControlServer(Node(newer), control)
        await again.start()
        await until(pilot, lambda: "HATCHING" in text(app))
        assert "NODE GONE" not in text(app)
        await until(pilot, lambda: "NAP" in text(app))
        await pilot.press("8")
        await until(pilot, lambda: "this node cannot" in text(app))
        assert app.is_running
    await again.stop()


async def test_previews_that_never_come_leave_words_and_not_a_hole(folder: Path) -> None:
    view = replace(several_rounds(folder), previews=())
    async with shown(view, (80, 24)) as (pilot, app, _source):
        for place in ("dash", "gallery", "wall"):
            await app.action_place(place)
            await settle(pilot)
            assert "picture" in text(app).lower(), place
            assert "draw" in text(app), place


async def test_a_folder_deleted_while_it_is_shown_is_told_and_another_can_be_chosen(
    folder: Path,
) -> None:
    moons = folder / "moons"
    moons.mkdir()
    for i in range(3):
        landscape(moons / f"{i}.png", i / 3)
    files = [{"file": f"{i}.png", "caption": "x", "width": 64, "height": 64} for i in range(3)]
    there = {"folder": str(moons), "usable": 3, "pictures": files, "problems": []}
    view = replace(training(folder), dataset=str(moons))
    async with shown(view) as (pilot, app, source):
        source.answers["check_folder"] = there
        await pilot.press("5")
        await until(pilot, lambda: "0.png" in text(app))
        await settle(pilot)
        shutil.rmtree(moons)
        source.answers["check_folder"] = FileNotFoundError(f"{moons} is no folder")
        await pilot.press("j")
        await until(pilot, lambda: "the file is missing" in text(app))
        await pilot.press("o", "enter")
        await until(pilot, lambda: "is no folder" in "".join(text(app).split("\n")))
        assert "Choose a folder" in text(app)


async def test_a_megabyte_pasted_into_the_prompt_is_cut_and_told(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press("6")
        await settle(pilot)
        await pilot.press("p")
        prompt = app.screen.query_one("#field-prompt", Field)
        prompt.value = ""
        prompt.post_message(events.Paste("one\nline and \x1b[31manother " * (MEGABYTE // 25)))
        await until(pilot, lambda: "characters of" in text(app))
        assert len(prompt.value) == PROMPT_CHARS
        assert prompt.value.startswith("one line and [31manother one line")
        assert_harmless(strips(app))
        await pilot.press("home", "a")
        assert len(prompt.value) == PROMPT_CHARS, "nothing more fits"
        await pilot.press("delete", "b")
        assert prompt.value.startswith("bne line")


async def test_a_paste_of_two_lines_keeps_both(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press("6", "p")
        prompt = app.screen.query_one("#field-prompt", Field)
        prompt.value = ""
        prompt.post_message(events.Paste("a fox,\nwatercolour\n"))
        await until(pilot, lambda: prompt.value == "a fox, watercolour")
