"""The members in the order that somebody wants, whatever goes on meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_tui_hostile import ATTACKS, assert_harmless, poisoned
from tui_driver import shown, strips, text, until
from tui_scenarios import identity, training

from fedtui.tui.app import FedtuiApp
from fedtui.tui.keymap import ORDER_KEYS
from fedtui.tui.look import Look
from fedtui.tui.messages import ViewChanged
from fedtui.tui.screens.order import OrderScreen
from fedtui.tui.screens.peers import PeersScreen
from fedtui.tui.widgets.peertable import COLUMNS, PeerTable
from fedtui.tui.widgets.table import Column, Order, arranged, header, number, one

NUMBERS = (
    Column[tuple[str, int | None]]("name", 0, 6, 6, lambda r, w: one(r[0], w)),
    Column[tuple[str, int | None]](
        "size", 1, 4, 4, lambda r, w: number(str(r[1]), w), True, lambda r: r[1]
    ),
)


def names(app: FedtuiApp) -> list[str]:
    return [peer.name for peer in app.screen.query_one(PeerTable).peers]


def test_rows_without_a_value_are_last_either_way_and_equal_ones_stay() -> None:
    rows = [("a", 2), ("b", None), ("c", 1), ("d", 2), ("e", None)]

    def order(*wanted: Order | None) -> str:
        return "".join(name for name, _ in arranged(rows, NUMBERS, *wanted))

    assert order(None) == "abcde"
    assert order(Order("size")) == "cadbe"
    assert order(Order("size", True)) == "adcbe"
    assert order(Order("name")) == "abcde", "there is no order by it"
    assert order(Order("colour")) == "abcde"


@pytest.mark.parametrize(
    ("order", "line"),
    [
        (None, "name    size"),
        (Order("size", True), "name   ▾size"),
        (Order("name"), "name▴   size"),
    ],
)
def test_the_header_marks_the_order_and_moves_nothing(order: Order | None, line: str) -> None:
    spans = header([(NUMBERS[0], 6), (NUMBERS[1], 4)], order)
    assert "".join(text for text, _ in spans) == line


def test_every_order_that_is_offered_is_one_of_the_table() -> None:
    offered = {binding.action[4:-2] for binding in ORDER_KEYS if "by('" in binding.action}  # type: ignore[union-attr]
    assert offered == {column.name for column in COLUMNS if column.key} | {""}


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_letters_order_the_members_and_say_so(folder: Path, size: tuple[int, int]) -> None:
    async with shown(training(folder, 8), size) as (pilot, app, _source):
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, PeersScreen))
        came = names(app)
        for letter, first, last, by in (
            ("n", "amir-mbp", "tomoko", "by name ▴"),
            ("s", "pierre", "maria-x1", "by state ▴"),
            ("p", "gpu-srv-1", "maria-x1", "by progress ▾"),
            ("l", "lena", "maria-x1", "by loss ▴"),
            ("i", "gpu-srv-2", "maria-x1", "by pictures ▾"),
            ("h", "pierre", "lena", "by heard ▾"),
            ("r", "gpu-srv-2", "pierre", "by rtt ▾"),
            ("d", "gpu-srv-2", "lena", "by device ▴"),
            ("c", "maria-x1", "gpu-srv-2", "by role ▴"),
        ):
            await pilot.press("o", letter)
            await until(pilot, lambda by=by: by in text(app))  # type: ignore[misc]
            assert (names(app)[0], names(app)[-1]) == (first, last), letter
        await pilot.press("o", "c")
        await until(pilot, lambda: "by role ▾" in text(app))
        await pilot.press("o", "m")
        await until(pilot, lambda: "by role" not in text(app))
        assert names(app) == came


async def test_an_order_is_chosen_from_the_list_or_left_as_it_is(folder: Path) -> None:
    async with shown(training(folder, 8), (80, 24)) as (pilot, app, _source):
        await pilot.press("2", "o")
        await until(pilot, lambda: "By round trip, the slowest first" in text(app))
        assert isinstance(app.screen, OrderScreen)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, PeersScreen))
        assert names(app)[0] == "lena"
        await pilot.press("o", "k", "enter")
        await until(pilot, lambda: "by role ▴" in text(app))
        await pilot.press("o", "o")
        await until(pilot, lambda: isinstance(app.screen, PeersScreen))
        assert "by role ▴" in text(app)


async def test_a_click_on_a_columns_name_orders_by_it(folder: Path) -> None:
    async with shown(training(folder, 8), (120, 40)) as (pilot, app, _source):
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, PeersScreen))
        row = next(i for i, line in enumerate(text(app).splitlines()) if "  name  " in line)
        column = text(app).splitlines()[row].index("loss")
        await pilot.click(offset=(column, row))
        await until(pilot, lambda: "by loss ▴" in text(app))
        await pilot.click(offset=(column, row))
        await until(pilot, lambda: "by loss ▾" in text(app))
        assert names(app)[0] == "gpu-srv-2"


async def test_the_order_holds_and_the_cursor_stays_with_its_member(folder: Path) -> None:
    view = training(folder, 8)
    async with shown(view, (120, 40)) as (pilot, app, source):
        await pilot.press("2", "j", "j", "o", "i")
        await until(pilot, lambda: "by pictures ▾" in text(app))
        table = app.screen.query_one(PeerTable)
        assert table.selected
        assert table.selected.name == "gpu-srv-1"
        members = list(view.peers)
        members[3] = replace(members[3], samples=500)
        source.now = replace(view, peers=tuple(members))
        await until(pilot, lambda: names(app)[0] == "tomoko")
        assert table.selected.name == "gpu-srv-1"
        await pilot.press("1", "2")
        await until(pilot, lambda: isinstance(app.screen, PeersScreen))
        assert names(app)[0] == "tomoko"


async def test_only_what_changes_is_painted_whatever_the_order(folder: Path) -> None:
    view = training(folder, 30)
    async with shown(view, (120, 40)) as (pilot, app, _source):
        await pilot.press("2", "o", "i")
        await until(pilot, lambda: "by pictures ▾" in text(app))
        table = app.screen.query_one(PeerTable)
        drawn: list[int] = []
        original = table.render_line

        def watched(y: int):  # type: ignore[no-untyped-def]
            drawn.append(y)
            return original(y)

        table.render_line = watched  # type: ignore[method-assign]
        app.post_message(ViewChanged(replace(app.feed, view=replace(view, peers=view.peers[:]))))
        await pilot.pause()
        assert not drawn
        at = next(i for i, peer in enumerate(table.peers) if peer.id == identity(2))
        members = [replace(p, step=199) if p.id == identity(2) else p for p in view.peers]
        app.post_message(ViewChanged(replace(app.feed, view=replace(view, peers=tuple(members)))))
        await pilot.pause()
        await pilot.pause()
        assert set(drawn) == {at + 1}


async def test_hostile_names_are_only_ordered(folder: Path) -> None:
    view = poisoned(training(folder, 8), list(ATTACKS[3:7]))
    for look, size in ((Look(), (120, 40)), (Look(characters="ascii"), (80, 24))):
        async with shown(view, size, look=look) as (pilot, app, _source):
            await pilot.press("2")
            for letter in ("n", "s", "d", "c", "p"):
                await pilot.press("o", letter)
                await pilot.pause()
                assert_harmless(strips(app))
                assert all(row.cell_length == size[0] for row in strips(app))
            assert look.characters != "ascii" or text(app).isascii()
