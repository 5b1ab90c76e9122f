"""The dashboard in every state of a node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from tui_driver import settle, shown, strips, text, until
from tui_scenarios import (
    ADAPTER,
    done,
    events,
    identity,
    loading,
    paused,
    peers,
    roomless,
    training,
    verifying,
)

from fedtui.tui.messages import ViewChanged
from fedtui.tui.widgets.eventlist import EventList
from fedtui.tui.widgets.peertable import PeerTable
from fedtui.tui.widgets.picture import Picture
from fedtui.tui.widgets.picturerow import Frame, PictureRow
from fedtui.tui.widgets.sizeplate import SizePlate
from fedtui.view import EventView, NodeView, PeerView, TrainerView

SIZES = [(60, 16), (80, 24), (120, 40), (200, 60), (100, 50)]


@pytest.mark.parametrize("size", SIZES)
async def test_every_size_shows_members_round_loss_and_pictures(
    folder: Path, size: tuple[int, int]
) -> None:
    async with shown(training(folder), size) as (_, app, _source):
        seen = text(app)
        for words in ("sunflower-42", "round 3/8", "TRAIN", "lena (you)", "COLLECT", "My loss"):
            assert words in seen
        frames = [f for f in app.screen.query(Frame) if f.has_class("-shown")]
        assert next(f.round for f in frames) == 0
        assert [f.round for f in frames][-1] == 2
        assert all(cell_len(strip.text) == size[0] for strip in strips(app))


async def test_the_round_says_what_is_done_who_combines_and_who_is_next(folder: Path) -> None:
    async with shown(verifying(folder)) as (_, app, _source):
        seen = text(app)
        assert "✓ TRAIN" in seen
        assert "✓ COLLECT 4/5 sent" in seen
        assert "▶ VERIFY 2/3 agree" in seen
        assert "○ MERGE ─" in seen, "a step that has not begun counts nothing"
        told = "◆ gpu-srv-1 combines · attempt 2 · 3 of 5 machines must agree · next lena (you)"
        assert told in seen


async def test_every_figure_says_what_it_is_of_and_which_way_is_good(folder: Path) -> None:
    """What people who saw the program for the first time took for something else."""
    async with shown(training(folder), (80, 24)) as (_, app, _source):
        seen = text(app)
        assert "3 of 5 machines must agree" in seen
        assert "COLLECT 1/5 sent" in seen
        assert "0/3" not in seen
        assert "My loss per step, ─ mean ↓ 45 % since r1" in seen
        assert "lower is better · " in seen
        assert "same start (seed 7)" in seen
        assert "pictures" in seen
        assert "samples" not in seen
        assert "RTX 4090" in seen
        assert "lead" not in seen


async def test_a_pause_names_those_who_are_waited_for(folder: Path) -> None:
    async with shown(paused(folder), (80, 24)) as (_, app, _source):
        seen = text(app)
        assert "! PAUSED waiting for tomoko, pierre" in seen
        assert "when a quorum is back" in seen


async def test_while_the_model_loads_the_seconds_are_shown() -> None:
    async with shown(loading()) as (_, app, _source):
        seen = text(app)
        assert "LOADING 0:07" in seen
        assert "Loading tiny-landscapes, 0:07 so far." in seen
        assert "Your training loss appears here" in seen


async def test_without_a_room_the_screen_says_how_to_get_one() -> None:
    async with shown(roomless(), (80, 24)) as (_, app, _source):
        seen = text(app)
        assert "no room yet" in seen
        assert "fedtui room create NAME" in seen
        assert "fedtui room join CODE" in seen
        assert "Nobody here yet" in seen


async def test_done_says_where_the_adapter_is_and_what_to_press(folder: Path) -> None:
    async with shown(done(folder)) as (pilot, app, _source):
        seen = text(app)
        assert "✓ DONE" in seen
        assert "Done after 8 rounds." in seen
        assert "e packs adapter and pictures to take home, 6 draws with it" in seen
        assert "All 8 rounds are done." in seen
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == ADAPTER)
    async with shown(done(folder), (80, 24)) as (_, app, _source):
        assert "e packs adapter and pictures to take home" in text(app)


async def test_a_failed_trainer_is_told_with_its_reason(folder: Path) -> None:
    view = replace(training(folder), trainer=TrainerView("failed", "cpu", None, "out of memory"))
    async with shown(view) as (_, app, _source):
        assert "✗ TRAINER FAILED" in text(app)
        assert "The trainer stopped: out of memory" in text(app)


async def test_when_the_node_dies_the_interface_says_so_and_comes_back(folder: Path) -> None:
    view = training(folder)
    async with shown(view) as (pilot, app, source):
        source.now = ConnectionRefusedError("nobody listens")
        await until(pilot, lambda: "✗ NODE GONE" in text(app))
        assert "The node is gone: nobody listens" in text(app)
        assert "lena (you)" in text(app)
        source.now = view
        await until(pilot, lambda: "The node does not" not in text(app))
        assert "▶ TRAIN" in text(app)


async def test_a_node_that_was_never_there_is_told_too() -> None:
    async with shown(FileNotFoundError("no socket")) as (_, app, _source):
        assert "NO NODE" in text(app)
        assert "no socket" in text(app)
        assert "No node answers." in text(app)


async def test_two_hundred_members_fit_and_scroll(folder: Path) -> None:
    async with shown(training(folder, 200)) as (pilot, app, _source):
        assert "Peers 200" in text(app)
        app.screen.query_one(PeerTable).focus()
        await pilot.press("G")
        await pilot.pause()
        assert "peer-199" in text(app)
        await pilot.press("g")
        await pilot.pause()
        assert "lena (you)" in text(app)


async def test_only_the_row_that_changed_is_repainted(folder: Path) -> None:
    view = training(folder, 8)
    async with shown(view) as (pilot, app, _source):
        table = app.screen.query_one(PeerTable)
        drawn: list[int] = []
        original = table.render_line

        def watched(y: int):  # type: ignore[no-untyped-def]
            drawn.append(y)
            return original(y)

        table.render_line = watched  # type: ignore[method-assign]
        members = list(view.peers)
        members[2] = replace(members[2], step=199)
        app.post_message(ViewChanged(replace(app.feed, view=replace(view, peers=tuple(members)))))
        await pilot.pause()
        await pilot.pause()
        assert set(drawn) == {3}


async def test_a_member_keeps_the_cursor_when_another_one_appears(folder: Path) -> None:
    view = training(folder, 5)
    async with shown(view) as (pilot, app, source):
        table = app.screen.query_one(PeerTable)
        table.focus()
        await pilot.press("j", "j", "j")
        assert table.selected
        assert table.selected.name == "tomoko"
        newcomer = PeerView(id="zz" * 26, name="newcomer")
        source.now = replace(view, peers=(view.peers[0], newcomer, *view.peers[1:]))
        await until(pilot, lambda: len(table.peers) == 6)
        assert table.selected
        assert table.selected.name == "tomoko"


async def test_a_missing_picture_says_why_and_is_shown_once_it_is_there(folder: Path) -> None:
    view = training(folder)
    late = folder / "late.png"
    previews = (*view.previews[:-2], replace(view.previews[-2], path=str(late)))
    async with shown(replace(view, previews=previews), (80, 24)) as (pilot, app, source):
        assert "✗ no picture" in text(app)
        assert "missing" in text(app)
        late.write_bytes((folder / "r2-0.png").read_bytes())
        ticks = iter(range(10_000))

        def appeared() -> bool:
            source.now = replace(view, previews=previews, uptime_s=float(next(ticks)))
            return "no picture" not in text(app)

        await until(pilot, appeared)


async def test_a_file_that_is_no_picture_says_so(folder: Path) -> None:
    view = training(folder)
    broken = folder / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 64)
    previews = tuple(replace(p, path=str(broken)) for p in view.previews)
    async with shown(replace(view, previews=previews)) as (_, app, _source):
        assert "✗ no picture" in text(app)


async def test_the_events_follow_the_newest_until_somebody_scrolls_up(folder: Path) -> None:
    many = tuple(EventView(i, 0.0, "x", f"event number {i}") for i in range(50))
    view = replace(training(folder), events=many)
    async with shown(view) as (pilot, app, source):
        assert "event number 49" in text(app)
        more = replace(view, events=(*many, EventView(50, 0.0, "x", "event number 50")))
        source.now = more
        await until(pilot, lambda: "event number 50" in text(app))
        app.screen.query_one(EventList).focus()
        await pilot.press("g")
        await pilot.pause()
        assert "event number 0" in text(app)
        source.now = replace(more, events=(*more.events, EventView(51, 0.0, "x", "number 51")))
        await until(pilot, lambda: len(app.feed.view.events) == 52 if app.feed.view else False)
        assert "event number 0" in text(app)


async def test_names_of_ten_thousand_characters_leave_everything_in_its_place(folder: Path) -> None:
    long = "x" * 10_000
    view = training(folder)
    view = replace(
        view,
        name=long,
        room_name=long,
        model=long,
        notice=long,
        peers=tuple(replace(p, name=long, device=long, address=long, role=long) for p in peers(5)),
        events=tuple(replace(e, text=long) for e in events()),
        previews=tuple(replace(p, prompt=long) for p in view.previews),
    )
    for size in SIZES:
        async with shown(view, size) as (_, app, _source):
            rows = strips(app)
            assert len(rows) == size[1]
            assert all(cell_len(strip.text) == size[0] for strip in rows)
            assert "TRAIN" in text(app)
            assert "62%" in text(app)


@pytest.mark.parametrize("size", [(59, 24), (80, 15), (20, 5), (3, 2)])
async def test_a_window_too_small_gets_a_plate(folder: Path, size: tuple[int, int]) -> None:
    async with shown(training(folder), size) as (pilot, app, _source):
        assert app.screen.query_one(SizePlate).display
        if size[0] > 15:
            assert "60x16 needed" in text(app)
            assert f"you have {size[0]}x{size[1]}" in text(app)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert not app.screen.query_one(SizePlate).display
        assert "lena (you)" in text(app)


async def test_resizing_rearranges_without_leftovers(folder: Path) -> None:
    async with shown(training(folder, 8)) as (pilot, app, _source):
        for size in [(200, 60), (60, 16), (100, 50), (80, 24), (160, 30), (120, 40)]:
            await pilot.resize_terminal(*size)
            await settle(pilot)
            rows = strips(app)
            assert len(rows) == size[1]
            assert all(cell_len(strip.text) == size[0] for strip in rows)
            for picture in app.screen.query(Picture):
                if picture.is_on_screen and picture.parent and picture.parent.display:
                    assert picture.size.width == 2 * picture.size.height


async def test_nothing_is_written_when_nothing_changes(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        await pilot.pause(0.3)
        written: list[object] = []
        app._display = lambda *args, **_: written.append(args)  # type: ignore[method-assign]
        asked = source.asked
        await until(pilot, lambda: source.asked > asked + 2)
        assert written == []


async def test_a_state_this_version_does_not_know_is_shown_as_it_came(folder: Path) -> None:
    view = training(folder)
    odd = replace(view.peers[1], state="DREAMING")  # type: ignore[arg-type]
    view = replace(view, peers=(view.peers[0], odd), round=replace(view.round, phase="NAP"))  # type: ignore[arg-type]
    async with shown(view) as (_, app, _source):
        assert "? DREAM" in text(app)
        assert "? NAP" in text(app)


async def test_a_member_not_met_yet_is_not_called_lost(folder: Path) -> None:
    view = training(folder)
    away = replace(view.peers[2], state="LOST", last_seen_s=None)
    gone = replace(view.peers[3], state="LOST", last_seen_s=31.0)
    async with shown(replace(view, peers=(*view.peers[:2], away, gone))) as (_, app, _source):
        assert "◌ UNSEEN" in text(app)
        assert "✗ LOST" in text(app)
        assert "1 lost · 1 not seen yet" in text(app)


async def test_an_aggregator_nobody_knows_is_named_by_its_short_id(folder: Path) -> None:
    view = training(folder)
    view = replace(view, round=replace(view.round, aggregator=identity(40)))
    async with shown(view) as (_, app, _source):
        assert f"{identity(40)[:4]}·{identity(40)[4:8]} combines" in text(app)


def test_the_default_view_is_not_busy() -> None:
    assert not NodeView().busy


async def test_the_prompt_stays_when_new_pictures_arrive(folder: Path) -> None:
    view = training(folder, rounds=1)
    async with shown(view) as (pilot, app, source):
        row = app.screen.query_one(PictureRow)
        await pilot.press("right_square_bracket")
        assert row.recipe
        assert row.recipe.prompt.startswith("van_gogh, sunset")
        source.now = training(folder, rounds=3)
        await until(pilot, lambda: bool(row.recipe and len(row.recipe.pictures) == 4))
        assert row.recipe
        assert row.recipe.prompt.startswith("van_gogh, sunset")
