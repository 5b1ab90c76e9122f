"""The map of ways and the bars of traffic: what the node measured, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_tui_hostile import ATTACKS, assert_harmless, poisoned
from tui_driver import shown, strips, text, until
from tui_scenarios import connected, identity, training

from fedtui.tui.lines import Line, width_of
from fedtui.tui.look import Look
from fedtui.tui.messages import ViewChanged
from fedtui.tui.screens.peers import PeersScreen
from fedtui.tui.widgets.network import (
    DASHED,
    DOTTED,
    LABEL_MOST,
    MEMBERS_MOST,
    SOLID,
    Stroke,
    chosen,
    drawn,
    painted,
    ring,
    way_to,
)
from fedtui.tui.widgets.peertable import PeerTable
from fedtui.tui.widgets.trafficplot import BARS, bars
from fedtui.view import NodeView, PeerView


def read(line: Line) -> str:
    return "".join(text for text, _ in line)


@pytest.mark.parametrize(
    ("peer", "words", "style"),
    [
        (PeerView("p", "x", reach="direct", rtt_ms=3.2), "3 ms", SOLID),
        (PeerView("p", "x", reach="direct", rtt_ms=150.0), "! 150 ms", SOLID),
        (PeerView("p", "x", reach="relayed", via=identity(1)), "via amir-mbp", DASHED),
        (PeerView("p", "x", reach="one_way", rtt_ms=3.2), "one way", DASHED),
        (PeerView("p", "x", state="READY"), "", DOTTED),
        (PeerView("p", "x", state="LOST", reach="direct"), None, None),
        (PeerView("p", "x", state="LEFT"), None, None),
    ],
)
def test_a_way_is_what_was_measured(
    folder: Path, peer: PeerView, words: str | None, style: int | None
) -> None:
    way = way_to(training(folder), peer)
    assert (way and way.words) == words
    assert (way and way.style) == style


@pytest.mark.parametrize("count", [1, 2, 3, 7, 24])
@pytest.mark.parametrize(("width", "rows"), [(40, 12), (76, 12), (76, 22), (118, 30)])
def test_no_two_names_meet_on_the_ring(folder: Path, count: int, width: int, rows: int) -> None:
    view = connected(folder, count + 1)
    spots = ring(view, view.peers[1:], width, rows)
    places = {(spot.row, spot.x < width // 2) for spot in spots}
    assert len(places) == count
    for spot in spots:
        assert spot.x >= 0
        assert spot.x + width_of(spot.label) <= width
        assert width_of(spot.label) <= LABEL_MOST
    lines = drawn(view, view.peers[1:], width, rows, "braille")
    assert all(width_of(line) == width for line in lines)
    assert "lena (you)" in "\n".join(map(read, lines))


def test_those_with_trouble_are_on_the_map_of_a_large_room(folder: Path) -> None:
    others = connected(folder, 200).peers[1:]
    shown_ = chosen(others, MEMBERS_MOST)
    assert len(shown_) == MEMBERS_MOST
    assert all(peer.state == "LOST" for peer in shown_)
    assert [peer.id for peer in shown_] == [p.id for p in others if p in shown_]
    few = chosen(others[:20], MEMBERS_MOST)
    assert few == list(others[:20])


def test_a_stroke_is_whole_or_dashed_in_its_ink() -> None:
    for marker, char in (("braille", "⠉"), ("block", "·")):
        row = painted(20, 1, marker, (Stroke((0, 0), (19, 0), "accent", SOLID),))[0]  # type: ignore[arg-type]
        assert all(text != " " and ink == "accent" for text, ink in row[1:-1])
        row = painted(20, 1, marker, (Stroke((0, 0), (19, 0), "warning", DASHED),))[0]  # type: ignore[arg-type]
        dashed = sum(text != " " for text, _ in row)
        row = painted(20, 1, marker, (Stroke((0, 0), (19, 0), "faint", DOTTED),))[0]  # type: ignore[arg-type]
        assert 20 > dashed > sum(text != " " for text, _ in row) > 0, char


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_map_shows_whom_this_machine_reaches_and_how(
    folder: Path, size: tuple[int, int]
) -> None:
    async with shown(connected(folder), size) as (pilot, app, _source):
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, PeersScreen))
        if size != (200, 60):
            assert "Ways from this machine" not in text(app)
            await pilot.press("t")
        await until(pilot, lambda: "Ways from this machine" in text(app))
        seen = text(app)
        for words in ("amir-mbp 3 ms", "tomoko via", "lost pierre"):
            assert words in seen
        assert "one way" in seen
        assert ("Identity" in seen) == (size == (200, 60))
        assert ("t Network" in seen) == (size != (200, 60))
        await pilot.press("j", "enter", *["j"] * 20)
        await until(pilot, lambda: "4.6 MB from it, 9.1 MB to it" in text(app))
        assert ("Ways" in text(app)) == (size == (200, 60))


async def test_alone_and_without_traffic_the_panels_say_so(folder: Path) -> None:
    view = training(folder, 1)
    async with shown(view, (200, 60)) as (pilot, app, source):
        await pilot.press("2")
        await until(pilot, lambda: "Nobody else has been met yet." in text(app))
        assert "Nothing has in the last minutes." in " ".join(text(app).replace("│", " ").split())
        source.now = ConnectionRefusedError("nobody listens")
        await until(pilot, lambda: "✗ NODE GONE" in text(app))
    async with shown(FileNotFoundError("no socket"), (200, 60)) as (pilot, app, _source):
        await pilot.press("2")
        await until(pilot, lambda: text(app).count("No node answers.") >= 2)


def test_something_is_never_drawn_as_nothing() -> None:
    low, high = bars((0, 1, 1000), 3, 2, "ok")[::-1]
    assert read(low) == " ▁█"
    assert read(high) == "  █"
    assert read(bars((0, 0), 8, 1, "ok")[0]) == " " * 8
    assert set("".join(map(read, bars(tuple(range(60)), 78, 3, "ok")))) <= set(BARS)
    assert len(read(bars(tuple(range(60)), 30, 1, "ok")[0])) == 30


async def test_the_map_is_painted_only_where_a_way_changes(folder: Path) -> None:
    view = connected(folder, 30)
    async with shown(view, (200, 60)) as (pilot, app, _source):
        await pilot.press("2")
        await until(pilot, lambda: "Ways from this machine to 24 of 29" in text(app))
        assert isinstance(app.screen, PeersScreen)
        ways = app.screen.ways
        painted_rows: list[int] = []
        original = ways.render_line

        def watched(y: int):  # type: ignore[no-untyped-def]
            painted_rows.append(y)
            return original(y)

        ways.render_line = watched  # type: ignore[method-assign]

        async def show(now: NodeView) -> None:
            app.post_message(ViewChanged(replace(app.feed, view=now)))
            await pilot.pause()
            await pilot.pause()

        members = [replace(peer, step=199, loss=0.5) for peer in view.peers]
        await show(replace(view, peers=tuple(members)))
        assert not painted_rows, "progress is no matter of ways"
        members[1] = replace(members[1], rtt_ms=77.0)
        await show(replace(view, peers=tuple(members)))
        assert len(set(painted_rows)) == 1


async def test_hostile_names_are_only_text_on_the_map(folder: Path) -> None:
    view = poisoned(connected(folder, 30), list(ATTACKS[7:11]))
    view = replace(view, peers=tuple(replace(p, via="\x1b[2J" + p.via) for p in view.peers))
    for look, size in ((Look(), (200, 60)), (Look(characters="ascii"), (80, 24))):
        async with shown(view, size, look=look) as (pilot, app, _source):
            await pilot.press("2", "t")
            await until(pilot, lambda: "Ways from this machine" in text(app))
            assert app.screen.query_one(PeerTable)
            assert_harmless(strips(app))
            assert all(row.cell_length == size[0] for row in strips(app))
            assert look.characters != "ascii" or text(app).isascii()
