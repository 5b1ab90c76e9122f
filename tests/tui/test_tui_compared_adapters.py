"""Pictures before and after in the library, and two adapters beside one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_tui_snapshots import ANSWERS
from textual.pilot import Pilot
from tui_driver import settle, shown, text, until
from tui_scenarios import ScriptedSource, pictures, several_rounds

from fedtui.errors import FedtuiError
from fedtui.tui.adapters import Adapter
from fedtui.tui.app import FedtuiApp
from fedtui.tui.comparing_adapters import Side, facts, page, pane
from fedtui.tui.screens.beside import BesideScreen
from fedtui.tui.screens.large import LargeScreen
from fedtui.tui.screens.library import LibraryScreen
from fedtui.tui.widgets.picture import Picture
from fedtui.tui.widgets.picturepair import PicturePair
from fedtui.view import LossPoint, NodeView, TimesView, to_json

FILE = {
    "path": "/shelf/mine.safetensors", "name": "mine", "kind": "file", "round": 0,
    "bytes": 900_000, "modified": "2026-11-20 11:00",
}  # fmt: skip


def drawn(folder: Path) -> NodeView:
    """Four rounds, each with its pictures and its own result."""
    view = several_rounds(folder)
    commits = tuple(replace(each, result=f"{each.round:064x}") for each in view.commits)
    losses = (LossPoint(3, 10, 0.2), LossPoint(4, 10, 0.1))
    return replace(view, previews=pictures(folder, 4), commits=commits, losses=losses)


@pytest.fixture
def answers() -> dict[str, Any]:
    """Four rounds and a file, all of which can be looked into."""
    rounds = ANSWERS["list_adapters"]["adapters"]
    told = {round: replace_times(round) for round in (1, 2, 3)}

    def inspect(path: str) -> dict[str, Any]:
        found = dict(ANSWERS["inspect_adapter"](path))
        if path == FILE["path"]:
            found |= {"ranks": {"8": 144}, "metadata": {"modelspec.license": "CC0"}}
        return found

    return {
        **ANSWERS,
        "list_adapters": {"shelf": "/shelf", "adapters": [*rounds, FILE]},
        "inspect_adapter": inspect,
        "round_times": lambda round: {"round": round, "times": told[round]},
    }


def replace_times(number: int) -> dict[str, Any]:
    lanes = several_rounds_times().lanes
    return to_json(TimesView(number, 18.2, lanes=lanes))


def several_rounds_times() -> TimesView:
    from tui_scenarios import times

    return times()[0]


def paths(app: FedtuiApp) -> list[str]:
    """The pictures on the screen, from the left."""
    return [Path(p.path).name for p in app.screen.query(Picture) if p.is_on_screen and p.path]


def asked(source: ScriptedSource, operation: str) -> Iterator[dict[str, Any]]:
    return (arguments for name, arguments in source.done if name == operation)


async def opened(pilot: Pilot[None], app: FedtuiApp, *keys: str) -> None:
    await pilot.press("7")
    await until(pilot, lambda: "round 4" in text(app))
    for each in keys:
        await pilot.press(each)
        await pilot.pause()
    await settle(pilot)


async def test_details_show_the_same_prompt_before_and_after(
    folder: Path, answers: dict[str, Any]
) -> None:
    async with shown(drawn(folder), (120, 40)) as (pilot, app, source):
        source.answers |= answers
        await opened(pilot, app)
        await until(pilot, lambda: paths(app) == ["r0-0.png", "r4-0.png"])
        assert "before training" in text(app)
        assert "after round 4" in text(app)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: paths(app) == ["r0-1.png", "r4-1.png"])
        await pilot.press("j")
        await until(pilot, lambda: paths(app) == ["r0-1.png", "r3-1.png"])
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: paths(app) == ["r0-0.png", "r3-0.png"])
        app.screen.query_one(PicturePair).focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LargeScreen))
        await until(pilot, lambda: paths(app) == ["r3-0.png"])
        await pilot.press("c")
        await until(pilot, lambda: paths(app) == ["r0-0.png"])
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LibraryScreen))
        app.screen.query_one("#adapters").focus()
        await pilot.press("end")
        await until(pilot, lambda: "no picture of it" in text(app))
        assert not paths(app)


async def test_an_export_has_the_pictures_of_its_round(
    folder: Path, answers: dict[str, Any]
) -> None:
    """Its notes say which round of which room it is; another room's say nothing here."""
    view = drawn(folder)
    room = view.room_id
    notes = {"fedtui.fedtui_room": room, "fedtui.fedtui_round": "2"}
    async with shown(view, (120, 40)) as (pilot, app, source):
        source.answers |= answers
        source.answers["inspect_adapter"] = lambda path: {
            **ANSWERS["inspect_adapter"](path), "metadata": notes
        }  # fmt: skip
        await opened(pilot, app, "end", "enter")
        await until(pilot, lambda: paths(app) == ["r0-0.png", "r2-0.png"])
        notes["fedtui.fedtui_room"] = "another"
        await pilot.press("enter")
        await until(pilot, lambda: "no picture of it" in text(app))


async def test_a_small_window_shows_details_or_pictures(
    folder: Path, answers: dict[str, Any]
) -> None:
    async with shown(drawn(folder), (80, 24)) as (pilot, app, source):
        source.answers |= answers
        await opened(pilot, app)
        assert not paths(app)
        await pilot.press("p")
        await until(pilot, lambda: paths(app) == ["r0-0.png", "r4-0.png"])
        assert "result of a round" not in text(app)
        await pilot.press("p")
        await until(pilot, lambda: "result of a round" in text(app))


async def test_two_adapters_stand_beside_one_another(folder: Path, answers: dict[str, Any]) -> None:
    async with shown(drawn(folder), (200, 60)) as (pilot, app, source):
        source.answers |= answers
        await opened(pilot, app, "d")
        await until(pilot, lambda: isinstance(app.screen, BesideScreen))
        await until(pilot, lambda: text(app).count("0.1094") == 2)
        await settle(pilot)
        assert paths(app) == ["r3-0.png", "r4-0.png"]
        rows = [line.split("││") for line in text(app).splitlines() if "││" in line]
        told = {old.split()[1]: (old, new) for old, new in rows if len(old.split()) > 2}
        assert "differs" in told["hash"][0]
        assert f"{3:064x}" in told["hash"][0]
        assert f"{4:064x}" in told["hash"][1]
        assert all("same" in each for each in told["rank"])
        assert all("none stated" in each for each in told["licence"])
        assert [each.split()[-2:] for each in told["trained"]] != [[], []]
        assert "0.2000" in "".join(told["my"])
        assert "not known here" in told["combined"][0]
        assert "differs" not in "".join(told["combined"])
        await pilot.press("n")
        await until(pilot, lambda: paths(app) == ["r3-1.png", "r4-1.png"])
        await pilot.press("N")
        await until(pilot, lambda: paths(app) == ["r3-0.png", "r4-0.png"])
        await pilot.press("left")
        await until(pilot, lambda: "│ mine " in text(app) or "─ mine ─" in text(app))
        await pilot.press("right", "right")
        await until(pilot, lambda: paths(app) == ["r2-0.png", "r4-0.png"])
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: "mine" in text(app) and "CC0" in text(app))
        assert "no pictures of both" in " ".join(text(app).split())
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: paths(app) == ["r2-0.png", "r4-0.png"])
        await pilot.press("space")
        await until(pilot, lambda: isinstance(app.screen, LargeScreen))
        await pilot.press("c")
        await until(pilot, lambda: paths(app) == ["r2-0.png"])
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, BesideScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LibraryScreen))


async def test_a_small_window_compares_on_one_page(folder: Path, answers: dict[str, Any]) -> None:
    async with shown(drawn(folder), (80, 24)) as (pilot, app, source):
        source.answers |= answers
        await opened(pilot, app, "space", "G", "space", "d")
        await until(pilot, lambda: isinstance(app.screen, BesideScreen))
        await until(pilot, lambda: "CC0" in text(app))
        assert "mine and round 4" in text(app)
        assert "rank          8" in text(app)
        assert not paths(app)
        await pilot.press("p")
        await until(pilot, lambda: "no pictures of both" in " ".join(text(app).split()))
        await pilot.press("right")
        await until(pilot, lambda: paths(app) == ["r3-0.png", "r4-0.png"])
        await pilot.press("p", "d")
        await until(pilot, lambda: isinstance(app.screen, LibraryScreen))


async def test_a_file_that_cannot_be_read_says_so_beside_the_other(
    folder: Path, answers: dict[str, Any]
) -> None:
    async with shown(drawn(folder), (200, 60)) as (pilot, app, source):
        source.answers |= answers
        source.answers["inspect_adapter"] = FedtuiError("The file is no LoRA adapter", "cut short")
        await opened(pilot, app, "G", "d")
        await until(pilot, lambda: "no LoRA adapter: cut short" in " ".join(text(app).split()))
        assert "round 1" in text(app)
        assert len(list(asked(source, "inspect_adapter"))) == 2


def test_only_what_is_known_of_both_can_differ(folder: Path) -> None:
    view = drawn(folder)
    adapters = [Adapter(f"/{n}", f"round {n}", "round", n, 10, "now") for n in (3, 4)]
    old, new = (Side(each, None, f"{each.round:064x}", None) for each in adapters)
    rows = {row.name: row for row in facts(view, old, new)}
    assert rows["my loss"].ink == "ok"
    assert {row.ink for name, row in rows.items() if name != "my loss"} == {"text"}
    worse = {row.name: row for row in facts(view, new, old)}
    assert worse["my loss"].ink == "text"
    told = [
        "".join(span for span, _ in line)
        for line in page(list(rows.values()), ("one", "other"), 78)
    ]
    assert any("0.2000" in line and "→ 0.1000" in line for line in told)
    assert "same in both: kind, room, made, size" in " ".join(" ".join(told).split())
    for width in (20, 40, 98):
        panes = [pane(list(rows.values()), width, new=side) for side in (False, True)]
        assert len(panes[0]) == len(panes[1])
