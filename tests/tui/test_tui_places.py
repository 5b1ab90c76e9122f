"""Every screen that a key leads to: what it shows, what its keys do, and its empty state."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_tui_hostile import ATTACKS, assert_harmless
from tui_driver import bottom, settle, shown, strips, text, until
from tui_scenarios import COMMIT, NOON, done, identity, loading, paused, several_rounds, training

from fedtui.errors import FedtuiError
from fedtui.tape import Player, Tape
from fedtui.tui.app import FedtuiApp
from fedtui.tui.look import Look, read, write
from fedtui.tui.places import PLACES
from fedtui.tui.screens.address import AddressScreen
from fedtui.tui.screens.gallery import GalleryScreen
from fedtui.tui.screens.invite import InviteScreen
from fedtui.tui.screens.large import LargeScreen
from fedtui.tui.screens.logs import LogsScreen
from fedtui.tui.screens.page import PageScreen
from fedtui.tui.screens.peers import PeersScreen
from fedtui.tui.screens.settings import KeyScreen, SettingsScreen
from fedtui.tui.screens.wall import WallScreen
from fedtui.tui.widgets.logview import LogLine
from fedtui.tui.widgets.qr import QR
from fedtui.tui.widgets.table import Table
from fedtui.view import EventView, NodeView, RoundView


async def test_number_keys_lead_to_every_screen_and_escape_back(folder: Path) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, source):
        source.answers |= {
            "read_log": log_answer,
            "list_adapters": {"adapters": [], "shelf": "/x"},
            "check_folder": {"folder": "/x", "usable": 0, "pictures": [], "problems": []},
            "generations": {"jobs": []},
            "members": {"members": []},
            "invites": {"invites": []},
        }
        for place in PLACES:
            await pilot.press({",": "comma"}.get(place.key, place.key))
            await until(pilot, lambda mode=place.id: app.current_mode == mode)  # type: ignore[misc]
            if place.key.isdigit():
                assert f"[{place.key} {place.name}]" in text(app)
            assert "sunflower-42" in text(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.current_mode == "dash")


async def test_a_click_on_the_bar_opens_a_screen(folder: Path) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, _source):
        column = text(app).splitlines()[1].index("4 Gallery") + 2
        await pilot.click(offset=(column, 1))
        await until(pilot, lambda: isinstance(app.screen, GalleryScreen))
        assert isinstance(app.screen, GalleryScreen)


async def test_peers_shows_all_of_the_member_under_the_cursor(folder: Path) -> None:
    async with shown(several_rounds(folder), (120, 40)) as (pilot, app, _source):
        await pilot.press("2")
        await until(pilot, lambda: "this machine" in text(app))
        await pilot.press("j")
        await pilot.pause()
        seen = text(app)
        assert "192.168.1.21:47001" in seen
        assert "◆ combines this round" in seen
        assert "in 4 of 4 committed rounds" in seen
        for _ in range(3):
            await pilot.press("j")
        await until(pilot, lambda: "norm 40 times the median" in text(app))
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == identity(4))


async def test_a_member_is_connected_to_at_an_address(folder: Path) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, source):
        source.answers["add_address"] = {"name": "amir [b]", "address": "10.0.0.7:7420"}
        await pilot.press("2", "a")
        await until(pilot, lambda: isinstance(app.screen, AddressScreen))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, AddressScreen))
        assert not source.done
        await pilot.press("a", *"10.0.0.7:7420", "enter")
        await until(pilot, lambda: "amir [b] answers at 10.0.0.7:7420" in text(app))
        assert source.done == [("add_address", {"place": "10.0.0.7:7420"})]
        source.answers["add_address"] = FedtuiError("'x' is no address", "", "say HOST:PORT")
        await pilot.press("a", "x", "enter")
        await until(pilot, lambda: "say HOST:PORT" in text(app))


async def test_peers_goes_on_while_it_is_open(folder: Path) -> None:
    view = training(folder)
    async with shown(view) as (pilot, app, source):
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, PeersScreen))
        assert isinstance(app.screen, PeersScreen)
        members = list(view.peers)
        members[0] = replace(members[0], step=200, state="SENT")
        source.now = replace(view, peers=tuple(members))
        await until(pilot, lambda: "✓ SENT" in text(app))


async def test_every_screen_says_when_the_node_is_gone_and_that_it_is_back(folder: Path) -> None:
    view = training(folder)
    async with shown(view) as (pilot, app, source):
        await pilot.press("3")
        source.now = ConnectionRefusedError("nobody listens")
        await until(pilot, lambda: "✗ NODE GONE" in text(app))
        assert app.screen.has_class("-stale")
        assert "Election" in text(app)
        source.now = replace(view, version="9.9.9")
        await until(pilot, lambda: "NODE GONE" not in text(app))
        assert not app.screen.has_class("-stale")


@pytest.mark.parametrize(
    ("moves", "words"),
    [
        (0, ("Election", "amir-mbp", "then", "3 of 5 voters", "came in")),
        (1, ("-0.20", "shortened to 50 %", "NaN in layer 3", "FedAvg would have lost 12.3 %")),
        (2, ("NOT the same", "Contributions 4")),
        (3, ("attempt", "norm 40 times the median", "equal byte for byte")),
        (4, ("0.4 s from the last contribution", "40 %")),
    ],
)
async def test_rounds_tells_of_each_round(folder: Path, moves: int, words: tuple[str, ...]) -> None:
    async with shown(several_rounds(folder), (140, 45)) as (pilot, app, _source):
        await pilot.press("3", *["j"] * moves)
        await pilot.pause()
        for word in words:
            assert word in text(app)


async def test_rounds_names_those_whom_a_pause_waits_for(folder: Path) -> None:
    async with shown(paused(folder), (120, 40)) as (pilot, app, _source):
        await pilot.press("3")
        await until(pilot, lambda: "tomoko, pierre" in text(app))


async def test_rounds_copies_the_adapters_hash(folder: Path) -> None:
    async with shown(done(folder), (120, 40)) as (pilot, app, _source):
        await pilot.press("3", "enter", "y")
        await until(pilot, lambda: app.clipboard == COMMIT.result)


async def test_gallery_marks_pins_compares_and_plays(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press("4")
        await settle(pilot)
        assert "after round 2" in text(app)
        await pilot.press("left", "p")
        await until(pilot, lambda: "c compares with round 1" in text(app))
        await pilot.press("right", "c")
        await settle(pilot)
        assert isinstance(app.screen, LargeScreen)
        assert "after round 1" in text(app)
        await pilot.press("c")
        await settle(pilot)
        assert "after round 2" in text(app)
        await pilot.press("escape", "down", "a")
        await settle(pilot)
        assert "▶ playing" in text(app)
        assert "base model" in text(app)
        await pilot.press("a", "escape")
        await until(pilot, lambda: isinstance(app.screen, GalleryScreen))
        assert isinstance(app.screen, GalleryScreen)


async def test_a_toast_that_outlives_the_interface_does_no_harm(folder: Path) -> None:
    async with shown(training(folder)) as (_pilot, app, _source):
        app._repaint()
    app._repaint()


async def test_gallery_exports_a_grid_and_says_where_it_is(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        source.answers["export_grid"] = {"path": "/tmp/grid.png"}
        await pilot.press("4", "e")
        await until(pilot, lambda: "/tmp/grid.png" in text(app))
        assert app.clipboard == "/tmp/grid.png"
        source.answers["export_grid"] = FedtuiError("no space", "the disk is full", "free some")
        await pilot.press("e")
        await until(pilot, lambda: "free some" in text(app))
        assert "the disk is full" in text(app)


async def test_gallery_without_pictures_says_what_will_be_there() -> None:
    async with shown(loading()) as (pilot, app, _source):
        await pilot.press("4", "e", "c", "a", "space")
        await until(pilot, lambda: "Loading tiny-landscapes" in text(app))
        assert isinstance(app.screen, GalleryScreen)


def log_answer(**asked: object) -> dict[str, object]:
    lines = [["12:00:01", "info", "round 3 started"], ["12:00:02", "error", "disk full"]]
    return {"lines": lines if asked["after"] in (-1, 0) else [], "next": 2, "path": "/x/log"}


async def test_logs_filters_by_text_and_level_and_changes_the_source(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        source.answers["read_log"] = log_answer
        await pilot.press("9")
        await until(pilot, lambda: "disk full" in text(app))
        await pilot.press("l", "l")
        await pilot.pause()
        assert "round 3 started" not in text(app)
        await pilot.press("l", "l", "slash", *"round", "enter")
        await pilot.pause()
        assert "disk full" not in text(app)
        assert "1 of 2 lines" in text(app)
        await pilot.press("escape", "L")
        await until(pilot, lambda: app.clipboard == "/x/log")
        assert "disk full" in text(app)
        await pilot.press("s")
        await until(pilot, lambda: "[node]" in text(app))
        await until(pilot, lambda: source.done[-1][1]["source"] == "node")


async def test_fifty_thousand_lines_scroll(folder: Path) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, _source):
        await pilot.press("9")
        await until(pilot, lambda: isinstance(app.screen, LogsScreen))
        assert isinstance(app.screen, LogsScreen)
        log = app.screen.log_view
        log.add([LogLine("12:00:00", "info", f"line {i}") for i in range(50_000)])
        await pilot.press("G")
        await until(pilot, lambda: "line 49999" in text(app))
        await pilot.press("g")
        await until(pilot, lambda: "line 0 " in text(app))
        await pilot.press("pagedown", "j", "down")
        await until(pilot, lambda: "line 1 " not in text(app))
        assert log.selected
        assert log.selected.text == f"line {log.room.height + 2}"
        await pilot.press("k", "up", "pageup")
        await until(pilot, lambda: "line 0 " in text(app))
        await pilot.press("end")
        await until(pilot, lambda: "line 49999" in text(app))
        await pilot.press("home")
        await until(pilot, lambda: "line 0 " in text(app))
        log.add([LogLine("12:00:00", "info", "one more")])
        assert log.counts == (50_000, 50_000)


def told_answer(**asked: object) -> dict[str, object]:
    """Forty events with their fields; two more when asked again."""
    first, last = (0, 40) if asked["after"] == -1 else (40, 42)
    lines = [[f"12:00:{n:02}", "info", f"event {n} happened"] for n in range(first, last)]
    fields = [{"seq": n, "blob": "9f1c" * 16, "told": ["[b]"]} for n in range(first, last)]
    asked_again = asked["after"] not in (-1, 40)
    return {
        "lines": [] if asked_again else lines, "fields": [] if asked_again else fields,
        "next": last, "path": "/x",
    }  # fmt: skip


async def test_logs_show_the_fields_of_the_line_under_the_cursor(folder: Path) -> None:
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        source.answers["read_log"] = told_answer
        await pilot.press("9")
        await until(pilot, lambda: '"seq": 41' in text(app))  # It follows the newest.
        await pilot.press("g", "j", "j")
        await until(pilot, lambda: '"seq": 2' in text(app))
        assert '"[b]"' in text(app)
        await pilot.press("enter", "y")
        await until(pilot, lambda: app.clipboard.startswith('{"seq":2'))
        await pilot.press("escape", "t")
        await until(pilot, lambda: '"seq": 41' in text(app))
        await pilot.press("k", "slash", *"event 3", "enter")
        await until(pilot, lambda: "event 40" not in text(app))
        assert '"seq": 39' in text(app), "what was under the cursor does not pass the filter"


async def test_no_field_of_an_event_is_more_than_text(folder: Path) -> None:
    fields = {attack: [attack, {attack: attack}] for attack in ATTACKS}
    line = ["12:00:00", "info", "".join(ATTACKS[:6])]
    async with shown(training(folder), (200, 60)) as (pilot, app, source):
        source.answers["read_log"] = lambda after, **_: {
            "lines": [line][after + 1 :], "fields": [fields][after + 1 :], "next": 1, "path": "/x"
        }  # fmt: skip
        await pilot.press("9")
        await until(pilot, lambda: "Fields" in text(app))
        await pilot.press("enter", "G")
        await pilot.pause()
        assert_harmless(strips(app))
        assert all(row.cell_length == 200 for row in strips(app))


async def test_in_a_small_window_enter_opens_the_fields_below(folder: Path) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, source):
        source.answers["read_log"] = told_answer
        await pilot.press("9")
        await until(pilot, lambda: "event 41" in text(app))
        assert "Fields" not in text(app)
        await pilot.press("k", "enter")
        await until(pilot, lambda: '"seq": 40' in text(app))
        await until(pilot, lambda: "event 40 happened" in text(app).split("Line")[0])
        await pilot.press("escape")
        await until(pilot, lambda: "Fields" not in text(app))
        await pilot.click("#log-events", offset=(20, 3))
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard.startswith("event 2"))


def sources_answer(folder: Path) -> Callable[..., dict[str, object]]:
    """One event of this machine, one of another member, one hostile; a line of each process."""
    me, other = identity(0), identity(2)

    def answer(source: str, after: int) -> dict[str, object]:
        lines = [["12:00:00", "info", f"the {source} speaks"]]
        fields: list[object] = [{"node": me, "peer": me} if source == "events" else None]
        if source == "events":
            lines += [["12:00:01", "warning", "amir left"], ["12:00:02", "info", "\x1b[31m" * 50]]
            fields += [{"node": me, "peer": other}, {"node": me, "peer": "\x1b]0;x\x07" * 9}]
        path = str(folder / source)
        if after > 0:
            lines, fields = [], []
        return {"lines": lines, "fields": fields, "next": 3, "path": path}

    return answer


async def test_a_large_window_has_a_pane_for_each_source(folder: Path) -> None:
    kept = folder / "interface.json"
    look = Look(characters="ascii")
    async with shown(training(folder), (200, 60), look=look, kept=kept) as (pilot, app, source):
        source.answers["read_log"] = sources_answer(folder)
        await pilot.press("9")
        for title in (
            "Events of this machine", "Events of other members", "Log of the node",
            "Log of the trainer", "Log of arithmetic",
        ):  # fmt: skip
            await until(pilot, lambda title=title: title in text(app))  # type: ignore[misc]
        for name in ("events", "node", "trainer", "arithmetic"):
            await until(pilot, lambda name=name: f"the {name} speaks" in text(app))  # type: ignore[misc]
        logs = app.screen
        assert isinstance(logs, LogsScreen)
        assert logs.logs["events"].counts[0] == 1
        assert logs.logs["members"].counts == (2, 2)
        assert_harmless(strips(app))
        assert all(row.cell_length == 200 for row in strips(app))
        # s goes through the panes, and the fields are those of the pane with the cursor.
        await pilot.press("s", "k")
        assert logs.log_view is logs.logs["members"]
        await until(pilot, lambda: identity(2)[:20] in text(app))
        await pilot.press("s", "L")
        await until(pilot, lambda: app.clipboard == str(folder / "node"))
        await pilot.press("l")
        await until(pilot, lambda: "the trainer speaks" not in text(app))
        assert "amir left" in text(app)
        await pilot.press("v")
        await until(pilot, lambda: "events [node] trainer" in text(app))
        assert "Events of other members" not in text(app)
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: "Panes" not in bottom(app))
        assert read(kept).views == {
            "logs.level": "warning", "logs.panes": "together", "logs.source": "node",
        }  # fmt: skip
    async with shown(training(folder), (200, 60), kept=kept) as (pilot, app, source):
        source.answers["read_log"] = sources_answer(folder)
        await pilot.press("9")
        await until(pilot, lambda: "level warning and above" in text(app))
        assert "Events of other members" not in text(app)
        await pilot.press("v")
        await until(pilot, lambda: "Events of other members" in text(app))
        assert read(kept).views["logs.panes"] == ""


async def test_a_small_window_has_one_log_however_it_was_left(folder: Path) -> None:
    kept = folder / "interface.json"
    write(kept, Look(views={"logs.source": "trainer", "logs.panes": "", "logs.level": "nonsense"}))
    async with shown(training(folder), (80, 24), kept=kept) as (pilot, app, source):
        source.answers["read_log"] = sources_answer(folder)
        await pilot.press("9")
        await until(pilot, lambda: "the trainer speaks" in text(app))
        assert "[trainer]" in text(app)
        assert "level info and above" in text(app)
        await pilot.press("v")
        await pilot.pause()
        assert "[trainer]" in text(app)


async def test_how_screens_were_left_outlives_the_interface(folder: Path) -> None:
    kept = folder / "interface.json"
    async with shown(several_rounds(folder), (80, 24), kept=kept) as (pilot, app, _source):
        await pilot.press("2", "o", "i")
        await until(pilot, lambda: "by pictures ▾" in text(app))
        await pilot.press("t", "3", "t", "w", "n", "i")
        await until(pilot, lambda: len(read(kept).views) == 5)
    async with shown(several_rounds(folder), (80, 24), kept=kept) as (pilot, app, _source):
        await pilot.press("2")
        await until(pilot, lambda: "by pictures ▾" in text(app))
        assert app.screen.has_class("-ways")
        await pilot.press("3")
        await until(pilot, lambda: "Times of round" in text(app))
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WallScreen))
        assert isinstance(app.screen, WallScreen)
        assert not app.screen.named
        assert not app.screen.query_one("#wall-pair").display
        await pilot.press("n", "i", "escape", "2", "o", "m", "t")
        await until(pilot, lambda: not any(read(kept).views[f"{at}"] for at in VIEWS))
    write(kept, Look(views={"peers.order": "nothing upwards", "rounds.times": ""}))
    async with shown(several_rounds(folder), (80, 24), kept=kept) as (pilot, app, _source):
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, PeersScreen))
        assert " by " not in text(app).splitlines()[3]


async def test_only_what_was_chosen_is_kept(folder: Path) -> None:
    """``--ascii`` holds for one start, and two windows do not undo each other's choices."""
    kept = folder / "interface.json"
    write(kept, Look(density="compact"))
    look = Look(characters="ascii", density="compact")
    async with shown(training(folder), (80, 24), look=look, kept=kept) as (pilot, app, _source):
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, PeersScreen))
        write(kept, Look(density="compact", views={"rounds.times": "-times"}))
        await pilot.press("t")
        await until(pilot, lambda: len(read(kept).views) == 2)
        app.change_look(theme="fedtui-light")
        assert read(kept) == Look(
            theme="fedtui-light",
            density="compact",
            views={"rounds.times": "-times", "peers.ways": "-ways"},
        )


VIEWS = ("peers.order", "peers.ways", "wall.names", "wall.pictures")


async def test_settings_change_at_once_and_are_kept(folder: Path) -> None:
    kept = folder / "profile" / "interface.json"
    async with shown(training(folder), (120, 40), kept=kept) as (pilot, app, _source):
        await pilot.press("comma", "right")
        await until(pilot, lambda: app.theme == "fedtui-light")
        await pilot.press("j", "enter")
        await pilot.pause()
        assert app.screen.has_class("-compact")
        assert read(kept) == Look(theme="fedtui-light", density="compact")
        await pilot.press("k", "R")
        await until(pilot, lambda: app.theme == "fedtui")


async def test_a_key_can_be_changed_and_a_taken_one_is_refused(folder: Path) -> None:
    kept = folder / "interface.json"
    async with shown(training(folder), (120, 40), kept=kept) as (pilot, app, _source):
        await pilot.press("comma")
        await pilot.pause()
        table = app.screen.query_one(Table)
        table.choose("key app.wall")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, KeyScreen))
        await pilot.press("q")
        await until(pilot, lambda: "This key is taken" in text(app))
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, KeyScreen))
        await pilot.press("Z")
        await until(pilot, lambda: read(kept).keys == {"app.wall": "Z"})
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen))
        await pilot.press("Z")
        await until(pilot, lambda: isinstance(app.screen, WallScreen))


def test_a_damaged_look_is_as_if_nothing_had_been_chosen(tmp_path: Path) -> None:
    path = tmp_path / "interface.json"
    path.write_text('{"theme": 3, "density": "huge", "keys": {"a": 1}, "unknown": true}')
    assert read(path) == Look()
    path.write_text("[")
    assert read(path) == Look()
    write(path, Look(theme="fedtui-wall"))
    assert read(path).theme == "fedtui-wall"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_wall_shows_round_members_and_both_pictures(
    folder: Path, size: tuple[int, int]
) -> None:
    async with shown(training(folder), size) as (pilot, app, _source):
        await pilot.press("w")
        await settle(pilot)
        seen = text(app)
        for words in ("round 3 of 8", "lena", "1 of 5 contributions", "before: base model"):
            assert words in seen
        assert app.theme == "fedtui-wall"
        await pilot.press("n", "i")
        await pilot.pause()
        assert "lena" not in text(app)
        assert "before: base model" not in text(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.theme == "fedtui")


async def test_the_wall_lets_people_in_before_the_first_round(folder: Path) -> None:
    refused = tuple(
        EventView(n, NOON, "join.refused", f"visitor {n} was not let in", "warning")
        for n in range(5)
    )
    view = replace(training(folder), round=RoundView(), events=refused)
    async with shown(view, (120, 50)) as (pilot, app, source):
        source.answers["invite"] = {
            "text": "fedtui:" + "Ab3" * 40, "kind": "link", "uses": 32, "expires": NOON,
            "auto_approve": False,
        }  # fmt: skip
        await pilot.press("w")
        await until(pilot, lambda: "5 members joined" in text(app))
        assert [n for n in range(5) if f"visitor {n}" in text(app)] == [2, 3, 4]
        await pilot.press("I")
        await until(pilot, lambda: isinstance(app.screen, InviteScreen))
        assert source.done == [("invite", {"uses": 32})]
        await until(pilot, lambda: bool(app.screen.query(QR)))


async def test_the_wall_and_the_dashboard_pack_what_to_take_home(folder: Path) -> None:
    async with shown(done(folder), (120, 40)) as (pilot, app, source):
        source.answers["take_home"] = {"path": "/exports/sunflower.zip", "files": []}
        await until(pilot, lambda: "e packs adapter and pictures" in text(app))
        await pilot.press("e")
        await until(pilot, lambda: app.clipboard == "/exports/sunflower.zip")
        assert "It names the members" in text(app)
        await pilot.press("w")
        await until(pilot, lambda: "e packs what to take home" in text(app))
        await pilot.press("n", "e")
        await until(pilot, lambda: len(source.done) == 2)
        assert source.done == [("take_home", {"names": True}), ("take_home", {"names": False})]
        await pilot.press("escape", "4")
        await until(pilot, lambda: "1, then e, packs" in text(app))
        assert "y copies" not in text(app), "it copies something else here"
    async with shown(training(folder)) as (pilot, app, source):
        await pilot.press("e")
        await pilot.pause()
        assert not source.done, "nothing has been committed yet"
    async with shown(done(folder), (120, 40), wall=True, observe=True) as (pilot, app, source):
        await until(pilot, lambda: "trained together" in text(app))
        assert "e packs" not in text(app)


async def test_a_window_that_is_only_a_wall_stays_one(folder: Path) -> None:
    async with shown(training(folder), wall=True, observe=True) as (pilot, app, source):
        await until(pilot, lambda: isinstance(app.screen, WallScreen))
        await pilot.press("1", "4", "escape")
        await until(pilot, lambda: isinstance(app.screen, WallScreen))
        assert isinstance(app.screen, WallScreen)
        assert not source.done


async def test_an_observer_changes_nothing(folder: Path) -> None:
    async with shown(training(folder), observe=True) as (pilot, app, source):
        await pilot.press("4", "e")
        await until(pilot, lambda: "only watches" in text(app))
        assert not source.done


async def test_ascii_means_ascii(folder: Path) -> None:
    look = Look(characters="ascii")
    async with shown(several_rounds(folder), (100, 34), look=look) as (pilot, app, _source):
        for key in ("1", "2", "3", "4", "w"):
            await pilot.press(key)
            await settle(pilot)
            assert text(app).isascii()


async def test_pictures_can_be_off(folder: Path) -> None:
    async with shown(training(folder), look=Look(pictures="off")) as (_, app, _source):
        assert "pictures are off" in " ".join(text(app).split())


async def test_a_recording_plays_and_says_so(folder: Path) -> None:
    views = (loading(), training(folder), done(folder))
    player = Player(Tape("sunflower-42", (0.0, 60.0, 120.0), views), speed=1.0)
    app = FedtuiApp(player, observe=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert "RECORDING 0:0" in text(app)
        await pilot.press("P")
        await until(pilot, lambda: "paused" in text(app))
        await pilot.press("greater_than_sign", "greater_than_sign", "greater_than_sign")
        await until(pilot, lambda: "round 3/8" in text(app))
        await pilot.press("P", "plus")
        await until(pilot, lambda: "2x" in text(app))


def test_no_screen_imports_what_learns() -> None:
    program = (
        "import sys; from fedtui.tui.app import FedtuiApp; import fedtui.tui.welcome; "
        "from fedtui.tui.places import PLACES, WALL; [p.open() for p in (*PLACES, WALL)]; "
        "heavy = {'torch', 'numpy', 'diffusers', 'peft', 'transformers', 'textual_image'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout == "[]\n"


OPEN_PAGE = {
    "open": True,
    "network": True,
    "links": ["http://192.168.1.20:42087/vW6kILy700lkmzbsZyCFew/"],
    "until": NOON,
}
CLOSED_PAGE = {"open": False, "network": False, "links": [], "until": 0.0}


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_gallery_opens_shows_and_ends_the_page(folder: Path, size: tuple[int, int]) -> None:
    async with shown(training(folder), size) as (pilot, app, source):
        source.answers |= {
            "gallery_state": CLOSED_PAGE,
            "open_gallery": OPEN_PAGE,
            "close_gallery": {"closed": True},
        }
        await pilot.press("4", "W")
        await until(pilot, lambda: "Open a page of the pictures?" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, PageScreen))
        assert not [name for name, _ in source.done if name == "open_gallery"], "No has the focus"
        await pilot.press("W")
        await until(pilot, lambda: isinstance(app.screen, PageScreen))
        await pilot.press("x", "right", "right", "enter")
        await until(pilot, lambda: bool(app.screen.query(QR)))
        assert source.done[-1] == ("open_gallery", {"network": True})
        await pilot.press("y")
        await pilot.pause()
        assert app.clipboard == OPEN_PAGE["links"][0]  # type: ignore[index]
        await pilot.press("x")
        await until(pilot, lambda: "The page is closed" in text(app))
        assert source.done[-1][0] == "close_gallery"


async def test_a_page_for_this_machine_needs_no_code(folder: Path) -> None:
    async with shown(training(folder), (60, 16)) as (pilot, app, source):
        here = {**OPEN_PAGE, "network": False, "links": ["http://127.0.0.1:4/[bold]x/"]}
        source.answers["gallery_state"] = here
        await pilot.press("4", "W")
        await until(pilot, lambda: "http://127.0.0.1:4/[bold]x/" in text(app))
        assert not app.screen.query(QR)
        source.answers["gallery_state"] = OPEN_PAGE
        await pilot.press("escape", "W")
        await until(pilot, lambda: "lines shows it as a QR code" in text(app))


def left_out(view: NodeView, **changes: object) -> dict[str, object]:
    told = {"round": 2, "peer": "me", "name": "lena", "inputs": 5, "same": False}
    recipes = [(p.prompt, p.seed, p.path) for p in view.previews if p.round == 2]
    pictures = [{"prompt": p, "seed": s, "with": path} for p, s, path in recipes]
    return told | {"without": 4, "with": 0, "pictures": pictures} | changes


async def test_gallery_shows_a_round_without_ones_own_contribution(folder: Path) -> None:
    view = training(folder)
    absent = [p.path for p in view.previews if p.round == 1]
    job = {"id": 4, "state": "waiting", "paths": [], "step": 0, "steps": 40, "error": ""}
    async with shown(view) as (pilot, app, source):
        source.answers |= {
            "leave_out": lambda **_: left_out(view),
            "generations": lambda **_: {"jobs": [dict(job)]},
            "export_sheet": {"path": "/x/sheet.png"},
        }
        await pilot.press("4", "m")
        await until(pilot, lambda: "Waits for the trainer" in text(app))
        assert source.done[0] == ("leave_out", {"round": 0}), "nobody chose a round: the last own"
        job |= {"state": "drawing", "step": 30, "paths": absent[:1]}
        await until(pilot, lambda: "Drawing, step 30 of 40" in text(app))
        await pilot.press("e")
        await until(pilot, lambda: "Not everything is drawn yet" in text(app))
        job |= {"state": "finished", "paths": absent}
        await until(pilot, lambda: "combined again from the other 4" in text(app))
        await settle(pilot)
        assert "with yours" in text(app)
        assert "without it" in text(app)
        assert "prompt 1/2" in text(app)
        await pilot.press("down", "y")
        await until(pilot, lambda: "prompt 2/2" in text(app) and app.clipboard == absent[1])
        await pilot.press("e")
        await until(pilot, lambda: app.clipboard == "/x/sheet.png")
        asked = dict(source.done)["export_sheet"]
        assert asked["columns"] == ["with lena", "without lena"]
        assert asked["pictures"][0] == [view.previews[4].path, absent[0]]
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, GalleryScreen))


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"same": True}, "finished", "rule had left your contribution out"),
        ({"inputs": 1}, "finished", "the only contribution"),
        ({}, "failed", "Not drawn: Out of memory"),
    ],
)
async def test_what_a_left_out_contribution_means_is_said(
    folder: Path, changes: dict[str, object], state: str, words: str
) -> None:
    view = training(folder)
    job = {"id": 4, "state": state, "paths": [], "step": 0, "steps": 0, "error": "Out of memory"}
    async with shown(view, (80, 24)) as (pilot, app, source):
        source.answers |= {"leave_out": left_out(view, **changes), "generations": {"jobs": [job]}}
        await pilot.press("4", "m")
        await until(pilot, lambda: words in text(app))


async def test_a_round_whose_files_are_gone_is_told_and_stays_told(folder: Path) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, source):
        source.answers["leave_out"] = FedtuiError(
            "they are gone", "only 50 are kept", "a later one"
        )
        await pilot.press("4", "left", "m")
        told = "they are gone. only 50 are kept. a later one."
        await until(pilot, lambda: told in " ".join(text(app).split()))
        assert source.done[0] == ("leave_out", {"round": 1}), "the marked round"
        await pilot.press("e", "o", "down", "escape")
        await until(pilot, lambda: isinstance(app.screen, GalleryScreen))
