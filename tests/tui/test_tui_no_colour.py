"""Without colours and with ASCII alone, screens tell as much: a word or a sign beside every ink."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from test_tui_data import SIDES, Folder, answer
from test_tui_snapshots import ANSWERS
from textual.pilot import Pilot
from tui_driver import shown, strips, text, until
from tui_scenarios import ScriptedSource, connected, several_rounds, training

from fedtui.tui.app import FedtuiApp
from fedtui.tui.comparing import my_loss
from fedtui.tui.folder import COLUMNS, Entry
from fedtui.tui.lines import Line
from fedtui.tui.look import Look
from fedtui.tui.timeline import AGREED, FETCHED, LEGEND, SENT, SIGNED, TRAINS
from fedtui.tui.widgets.network import DASHED, SLOW, SOLID, label_of, way_to
from fedtui.view import LossPoint, NodeView, PeerState, PeerView


def read(line: Line) -> str:
    return "".join(part for part, _ in line)


def plainly(app: FedtuiApp) -> str:
    """What can be read; fails where a colour is left, or anything but ASCII."""
    for strip in strips(app):
        for segment in strip:
            style = segment.style
            for colour in (style.color, style.bgcolor) if style else ():
                if colour is not None and colour.triplet is not None:
                    assert len(set(colour.triplet)) == 1, (segment.text, colour)
    seen = text(app)
    assert seen.isascii(), [char for char in seen if not char.isascii()]
    return seen


@asynccontextmanager
async def grey(
    view: NodeView, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Pilot[None], FedtuiApp, ScriptedSource]]:
    """The application as a terminal without colours and braille has it."""
    monkeypatch.setenv("NO_COLOR", "1")
    look = Look(characters="ascii", pictures="off")
    async with shown(view, size, look=look) as (pilot, app, source):
        source.answers |= ANSWERS
        yield pilot, app, source


async def test_the_times_of_a_round(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with grey(several_rounds(folder), (120, 40), monkeypatch) as (pilot, app, _source):
        await pilot.press("3", "j")
        await until(pilot, lambda: "Times of round 4" in text(app))
        seen = plainly(app).split("Times of round 4")[1]
        for mark in ("= trains", "^ hands in", "- until checked here", "v agrees", "# signs"):
            assert mark in " ".join(seen.replace("|", " ").split())
        assert "x NaN in layer 3" in seen
        assert "@ amir-mbp" in seen
        assert "lena (you)" in seen
        lane = next(row for row in seen.splitlines() if "lena (you)" in row)
        assert "=^" in lane
        assert "v" in lane.split("=^")[1]
        assert "#" in lane


def test_every_mark_of_a_lane_is_another_one_and_in_its_legend() -> None:
    marks = [mark for mark, _, _ in LEGEND]
    assert set(marks) == {TRAINS, SENT, FETCHED, AGREED, SIGNED}
    assert len(set(marks)) == len(marks)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [(0.2, 0.1, "0.1000 ↓ better"), (0.1, 0.2, "0.2000 ↑ worse"), (0.1, 0.1, "0.1000")],
)
def test_which_way_a_loss_went_is_a_word(old: float, new: float, told: str) -> None:
    assert my_loss(old, new).new == told
    assert "better" not in my_loss(None, new).new


async def test_two_rounds_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = several_rounds(folder)
    losses = (LossPoint(3, 60, 0.2), LossPoint(4, 60, 0.1))
    async with grey(replace(view, losses=losses), (120, 40), monkeypatch) as (pilot, app, source):
        source.answers["round_times"] = lambda round: {"round": round, "times": None}
        await pilot.press("3", "d")
        await until(pilot, lambda: "from round 3 to round 4" in text(app))
        seen = plainly(app)
        assert "v better" in seen
        assert "x NOT the same here" in seen
        assert "x left out of round 4: NaN in layer 3" in seen


def test_a_way_is_told_by_its_line_or_a_sign_whatever_its_ink(folder: Path) -> None:
    view = training(folder)
    inks: dict[tuple[int, bool], set[str]] = {}
    for state, reach, rtt in product(
        get_args(PeerState), ("", "direct", "relayed", "one_way"), (None, 3.0, 500.0)
    ):
        peer = PeerView("p", "n" * 99, state=state, reach=reach, rtt_ms=rtt, via="q")
        way = way_to(view, peer)
        if way is None:
            continue
        inks.setdefault((way.style, way.words.startswith(SLOW)), set()).add(way.ink)
        assert (SLOW in way.words) == (way.style == SOLID and way.ink == "warning")
        told = read(label_of(view, peer, 12, True))
        assert (SLOW in told) == (SLOW in way.words), "also where there is no room for figures"
        assert len(told) <= 12
    assert all(len(each) == 1 for each in inks.values())
    assert {style for style, _ in inks} > {SOLID, DASHED}


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_map_of_ways(
    folder: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with grey(connected(folder), size, monkeypatch) as (pilot, app, _source):
        await pilot.press("2")
        if size != (200, 60):
            await pilot.press("t")
        await until(pilot, lambda: "Ways from this machine" in text(app))
        seen = " ".join(plainly(app).replace("|", " ").split())
        for words in ("both ways", "one way, or via another", "not reached", "! slow", "not known"):
            assert words in seen
        assert "! 240 ms" in seen or "! maria-x1" in seen
        assert "lost pierre" in seen


async def test_the_library_and_its_base_models(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = several_rounds(folder)
    commits = tuple(replace(each, result=f"{each.round:064x}") for each in bare.commits)
    view = replace(bare, commits=commits)
    model = ANSWERS["list_models"]["models"][0]
    cut = {**model, "source": "owner/name", "folder": "/y", "unfinished": True, "here": False}
    async with grey(view, (120, 40), monkeypatch) as (pilot, app, source):
        source.answers["hash_adapter"] = lambda path: {"path": path, "sha256": commits[3].result}
        source.answers["list_models"] = {"store": "/models", "models": [model, cut]}
        await pilot.press("7")
        await until(pilot, lambda: "* round 4" in text(app))
        await pilot.press("h")
        await until(pilot, lambda: "v what the room agreed on" in text(app))
        await pilot.press("j", "h")
        await until(pilot, lambda: "x Its bytes are not those" in text(app))
        app.clear_notifications()
        await pilot.press("space")
        await until(pilot, lambda: "v round 3" in text(app))
        plainly(app)
        await pilot.press("b")
        await until(pilot, lambda: "* tiny-landscapes" in text(app))
        assert "! owner/name" in plainly(app)
        assert "* this room trains on it" in text(app)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_the_folder_and_its_wall(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = Folder(tmp_path)
    pictures.out = {"moon-3.png"}
    problem = {"file": "a.png", "problem": "cannot be read", "remedy": "remove it", "fatal": True}

    def check(folder: str) -> dict[str, Any]:
        return {**pictures.check(folder), "problems": [problem], "sides": SIDES}

    async with grey(training(tmp_path), size, monkeypatch) as (pilot, app, source):
        answer(source, pictures)
        source.answers["check_folder"] = check
        await pilot.press("5")
        await until(pilot, lambda: "! a.png" in text(app))
        await pilot.press("j", "j")
        await until(pilot, lambda: "moon-0.png" in text(app))
        seen = plainly(app)
        assert "- moon-3.png" in seen
        if size == (200, 60):
            assert "[moon-" in seen, "the chosen one on the wall"
            assert "! 46 to 63" in seen
            assert "-- trained at 64 px --" in seen


def test_a_file_with_a_problem_has_a_sign() -> None:
    shown_file = COLUMNS[0].cell
    assert read(shown_file(Entry("a.png", "", "", problem=True), 20)).startswith("! a.png")
    assert read(shown_file(Entry("a.png", "", ""), 20)).startswith("a.png")


async def test_the_fields_of_a_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = ("debug", "info", "ok", "warning", "error")
    lines = [[f"12:00:0{n}", level, f"an event {n}"] for n, level in enumerate(levels)]

    def told(source: str, after: int) -> dict[str, Any]:
        fields = [{"seq": n, "peer": ""} for n in range(len(lines))]
        return {
            "lines": lines if after < 1 else [], "fields": fields if after < 1 else [],
            "next": 5, "path": "/x",
        }  # fmt: skip

    async with grey(training(folder), (120, 40), monkeypatch) as (pilot, app, source):
        source.answers["read_log"] = told
        await pilot.press("9")
        await until(pilot, lambda: "an event 4" in text(app))
        seen = plainly(app)
        for row in (". an event 1", "v an event 2", "! an event 3", "x an event 4"):
            assert row in seen
        assert "x error" in seen, "the level of the line under the cursor, in words"
        await pilot.press("k")
        await until(pilot, lambda: "! warning" in text(app))
