"""Every key does what the help page says."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from textual.binding import Binding
from tui_driver import STEP_S, WAIT_S, bottom, settle, shown, text, until
from tui_scenarios import ADAPTER, ScriptedSource, done, identity, loading, training

from fedtui.tui import keymap
from fedtui.tui.app import FedtuiApp
from fedtui.tui.look import Look
from fedtui.tui.screens.dashboard import DashboardScreen
from fedtui.tui.screens.help import HelpScreen
from fedtui.tui.screens.large import LargeScreen
from fedtui.tui.screens.quit import QuitScreen
from fedtui.tui.widgets.eventlist import EventList
from fedtui.tui.widgets.keybar import KeyBar
from fedtui.tui.widgets.lossplot import LossPlot
from fedtui.tui.widgets.peertable import PeerTable
from fedtui.tui.widgets.picturerow import PictureRow

ALL_KEYS = {
    binding
    for name in dir(keymap)
    if name.endswith("_KEYS")
    for binding in getattr(keymap, name)
    if isinstance(binding, Binding)
}
"""Each once, also where one list takes in another."""


def test_every_binding_has_an_id_and_an_explanation() -> None:
    assert all(binding.id and binding.tooltip for binding in ALL_KEYS)
    ids = [binding.id for binding in ALL_KEYS]
    assert len(ids) == len(set(ids))


def test_no_vital_key_needs_ctrl() -> None:
    assert not [b.key for b in ALL_KEYS if "ctrl" in b.key]


@pytest.mark.parametrize("pressed", ["question_mark", "f1"])
async def test_help_explains_keys_and_words(folder: Path, pressed: str) -> None:
    async with shown(training(folder), (120, 70)) as (pilot, app, _source):
        await pilot.press(pressed)
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        assert isinstance(app.screen, HelpScreen)
        seen = text(app)
        for words in ("Show the newest picture large", "aggregator", "quorum", "contribution"):
            assert words in seen
        for word in ("room", "round", "adapter", "attempt", "preview"):
            assert word in seen
        await pilot.press("escape")
        assert isinstance(app.screen, DashboardScreen)


async def test_help_shows_a_key_as_it_is_mapped_now(folder: Path) -> None:
    source = ScriptedSource(training(folder))
    app = FedtuiApp(source)
    app.set_keymap({"dash.full": "z"})
    async with app.run_test(size=(120, 60)) as pilot:
        await settle(pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        row = next(line for line in text(app).splitlines() if "the whole screen" in line)
        assert " z " in row


async def test_escape_never_quits(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press("escape", "escape", "escape")
        await pilot.pause()
        assert app.is_running
        assert isinstance(app.screen, DashboardScreen)


async def test_q_only_detaches_from_a_node_one_does_not_own(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running)
    assert source.closed
    assert not source.stopped
    assert not app.return_code


async def test_q_asks_before_it_ends_a_round_and_stays_by_default(folder: Path) -> None:
    hint = "Quitting ends the demo: five nodes on this machine stop."
    async with shown(training(folder), owns_room=True, quit_hint=hint) as (pilot, app, source):
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, QuitScreen))
        assert isinstance(app.screen, QuitScreen)
        assert "five nodes on this machine stop" in " ".join(text(app).split())
        assert "Round 3 of sunflower-42 is in TRAIN" in text(app)
        assert app.focused is not None
        assert app.focused.id == "stay"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DashboardScreen))
        assert isinstance(app.screen, DashboardScreen)
        assert not source.stopped


async def test_quitting_a_room_one_owns_stops_it(folder: Path) -> None:
    async with shown(training(folder), owns_room=True) as (pilot, app, source):
        await pilot.press("q")
        await pilot.pause()
        await pilot.press("right", "enter")
        await until(pilot, lambda: source.stopped and not app.is_running)


async def test_ctrl_c_asks_once_and_means_it_twice(folder: Path) -> None:
    async with shown(training(folder), owns_room=True) as (pilot, app, source):
        await pilot.press("ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, QuitScreen))
        assert isinstance(app.screen, QuitScreen)
        assert not source.stopped
        await pilot.press("ctrl+c")
        await until(pilot, lambda: source.stopped and not app.is_running)


async def test_q_does_not_ask_when_nothing_would_be_lost(folder: Path) -> None:
    async with shown(done(folder), owns_room=True) as (pilot, app, source):
        await pilot.press("q")
        await until(pilot, lambda: source.stopped and not app.is_running)


async def test_a_node_that_cannot_stop_does_not_keep_a_person(folder: Path) -> None:
    class Stubborn(ScriptedSource):
        async def stop(self) -> None:
            raise OSError("gone")

    app = FedtuiApp(Stubborn(done(folder)), owns_room=True)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_signals_end_it_in_good_order(
    folder: Path, number: signal.Signals, code: int
) -> None:
    try:
        async with shown(training(folder)) as (pilot, app, source):
            os.kill(os.getpid(), number)
            await until(pilot, lambda: not app.is_running)
            assert app.return_code == code
            assert not source.stopped
    finally:
        asyncio.get_running_loop().remove_signal_handler(number)


async def test_space_shows_the_newest_picture_large(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press("space")
        await settle(pilot)
        assert isinstance(app.screen, LargeScreen)
        assert "after round 2" in text(app)
        assert "[r2]" in text(app)
        await pilot.press("left")
        await settle(pilot)
        assert "after round 1" in text(app)
        await pilot.press("h", "h", "h")
        await settle(pilot)
        assert "base model" in text(app)
        await pilot.press("right", "l")
        await settle(pilot)
        assert "after round 2" in text(app)
        await pilot.press("space")
        await until(pilot, lambda: isinstance(app.screen, DashboardScreen))
        assert isinstance(app.screen, DashboardScreen)


async def test_compare_swaps_with_the_base_model_in_place(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press("space", "c")
        await settle(pilot)
        assert "base model" in text(app)
        await pilot.press("c")
        await settle(pilot)
        assert "after round 2" in text(app)


async def test_the_prompt_chosen_large_is_shown_on_the_dashboard(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press("space", "down")
        await settle(pilot)
        assert "prompt 2/2" in text(app)
        await pilot.press("escape")
        await pilot.pause()
        row = app.screen.query_one(PictureRow)
        assert row.recipe
        assert row.recipe.prompt.startswith("van_gogh, sunset")


async def test_new_rounds_appear_while_a_picture_is_large(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        await pilot.press("space")
        await settle(pilot)
        source.now = training(folder, rounds=3)
        await until(pilot, lambda: "r3" in text(app))
        assert "[r2]" in text(app)


@pytest.mark.parametrize("keys", [("right_square_bracket",), ("left_square_bracket",), ("right",)])
async def test_brackets_and_arrows_change_the_prompt(folder: Path, keys: tuple[str, ...]) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press(*keys)
        await settle(pilot)
        assert "van_gogh, sunset, sea" in text(app)
        await pilot.press("left")
        await settle(pilot)
        assert "van_gogh, night" in text(app)


@pytest.mark.parametrize("panel", ["#peers", "#loss", "#pictures", "#events"])
async def test_f_gives_the_focused_panel_the_screen_and_takes_it_back(
    folder: Path, panel: str
) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        widget = app.screen.query_one(panel)
        widget.focus()
        await pilot.pause()
        before = widget.size
        await pilot.press("f")
        await settle(pilot)
        assert widget.outer_size.width == 120
        assert widget.outer_size.height == 39
        await pilot.press("escape")
        await settle(pilot)
        assert widget.size == before


async def test_y_copies_what_the_focus_is_on_and_shows_it(folder: Path) -> None:
    view = training(folder)
    async with shown(view) as (pilot, app, _source):
        app.screen.query_one(PeerTable).focus()
        await pilot.press("j", "y")
        await until(pilot, lambda: "Copied the id of amir-mbp" in text(app))
        assert app.clipboard == identity(1)
        app.screen.query_one(PictureRow).focus()
        await pilot.press("y")
        await pilot.pause()
        assert app.clipboard == view.previews[-2].path
        app.screen.query_one(LossPlot).focus()
        await pilot.press("y")
        await pilot.pause()
        assert app.clipboard == f"{view.losses[-1].loss:.6f}"
        app.screen.query_one(EventList).focus()
        await pilot.press("y")
        await pilot.pause()
        assert app.clipboard == view.events[-1].text


async def test_y_copies_the_adapter_when_the_room_is_done(folder: Path) -> None:
    async with shown(done(folder)) as (pilot, app, _source):
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard != "")
        assert app.clipboard == ADAPTER


async def test_y_says_when_there_is_nothing_to_copy() -> None:
    async with shown(loading()) as (pilot, app, _source):
        await pilot.press("y")
        await until(pilot, lambda: "nothing to copy" in text(app))


@pytest.mark.parametrize("keys", [("o",), ("space", "o")])
async def test_o_shows_the_path_where_there_is_no_viewer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    async with shown(training(folder), (200, 60)) as (pilot, app, _source):
        await pilot.press(*keys)
        await until(pilot, lambda: "No viewer here" in text(app))
        assert "r2-0.png" in "".join(text(app).split())


async def test_large_y_copies_the_path(folder: Path) -> None:
    view = training(folder)
    async with shown(view) as (pilot, app, _source):
        await pilot.press("space", "left", "y")
        await pilot.pause()
        assert app.clipboard == view.previews[2].path


async def test_tab_goes_from_panel_to_panel(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        met = set()
        for _ in range(4):
            await pilot.press("tab")
            met.add(app.focused.id if app.focused else None)
        assert met == {"peers", "loss", "pictures", "events"}


@pytest.mark.parametrize(
    ("keys", "row"),
    [
        (("j",), 1),
        (("down", "down"), 2),
        (("j", "k"), 0),
        (("up",), 0),
        (("G",), 7),
        (("end", "home"), 0),
        (("end", "g"), 0),
        (("pagedown", "pagedown"), 7),
        (("G", "pageup", "pageup"), 0),
    ],
)
async def test_the_cursor_moves_and_stays_within_the_table(
    folder: Path, keys: tuple[str, ...], row: int
) -> None:
    view = training(folder, 8)
    async with shown(view, (80, 24)) as (pilot, app, _source):
        table = app.screen.query_one(PeerTable)
        table.focus()
        await pilot.press(*keys)
        assert table.selected == view.peers[row]


async def test_keys_without_an_object_are_greyed(folder: Path) -> None:
    async with shown(loading()) as (pilot, app, _source):
        await pilot.press("space", "right_square_bracket", "o")
        await until(pilot, lambda: isinstance(app.screen, DashboardScreen))
        assert isinstance(app.screen, DashboardScreen)
        assert not app.screen.active_bindings["space"].enabled


async def test_the_palette_offers_what_is_possible_now(folder: Path) -> None:
    async with shown(loading()) as (_, app, source):
        early = {command.title for command in app.get_system_commands(app.screen)}
        assert "Show the newest picture large" not in early
        assert "Theme: dark" not in early
        assert {"Theme: light", "Quit", "Keys and words", "To the screen Gallery"} <= early
    async with shown(training(folder), owns_room=True) as (pilot, app, source):
        commands = {command.title: command for command in app.get_system_commands(app.screen)}
        assert "Ends the node" in commands["Quit"].help
        commands["Show the newest picture large"].callback()
        await until(pilot, lambda: isinstance(app.screen, LargeScreen))
        commands["Theme: light"].callback()
        assert app.theme == "fedtui-light"
        assert source.asked


async def test_ctrl_p_opens_the_palette_and_a_command_runs(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.press("ctrl+p")
        await pilot.pause()
        await pilot.press(*"wall")
        await until(pilot, lambda: "Theme: wall" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.theme == "fedtui-wall")


async def test_a_click_on_a_picture_shows_it_large(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.click("#pictures Frame")
        await settle(pilot)
        assert isinstance(app.screen, LargeScreen)
        assert "base model" in text(app)


async def test_a_click_selects_a_member(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, _source):
        await pilot.click("#peers", offset=(6, 4))
        table = app.screen.query_one(PeerTable)
        assert table.selected
        assert table.selected.name == "gpu-srv-1"


async def test_the_footer_shows_few_keys_and_clips_none(folder: Path) -> None:
    few = "f Full screen space Enlarge ] Next prompt ? Help"
    for size, keys in (((60, 16), few), ((80, 24), f"{few} q Quit")):
        async with shown(training(folder), size) as (pilot, app, _source):
            await until(pilot, lambda keys=keys: bottom(app).split() == keys.split())  # type: ignore[misc]


async def test_a_key_that_has_no_room_gives_way_and_help_stays(folder: Path) -> None:
    async with shown(training(folder), (60, 16)) as (pilot, app, _source):
        await pilot.press("6")
        await until(pilot, lambda: app.current_mode == "studio" and " ? Help " in bottom(app))
        await until(pilot, lambda: bottom(app).rstrip().endswith(("Help", "Quit")))


async def test_a_click_on_a_key_at_the_bottom_presses_it(folder: Path) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, _source):
        await until(pilot, lambda: " ? Help " in bottom(app))
        async with asyncio.timeout(WAIT_S):
            # The bar is drawn anew now and then, and a key may have moved before the click.
            while not isinstance(app.screen, HelpScreen):
                if (column := bottom(app).find("Help")) >= 0:
                    await pilot.click(offset=(column, 23))
                await pilot.pause(STEP_S)


async def test_every_theme_draws(folder: Path) -> None:
    for theme in ("fedtui", "fedtui-light", "fedtui-wall", "textual-dark", "ansi-dark"):
        async with shown(replace(training(folder)), look=Look(theme=theme)) as (_, app, _source):
            assert "lena (you)" in text(app)


async def test_a_key_is_not_grey_any_more_when_it_has_got_an_object(folder: Path) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, _source):
        bar = app.screen.query_one(KeyBar)
        await until(pilot, lambda: (" space ", "key") in bar.draw(app.feed, 80, 1)[0])
        await until(pilot, lambda: (" space ", "key") in bar._lines[0])
