"""The times of a round, and what changed between two of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_tui_hostile import ATTACKS, assert_harmless, poisoned
from tui_driver import shown, strips, text, until
from tui_scenarios import done, identity, several_rounds, times, training

from fedtui.errors import FedtuiError
from fedtui.tape import Player, Tape
from fedtui.tui.comparing import Side, checked_word, difference
from fedtui.tui.lines import Line, width_of
from fedtui.tui.look import Look
from fedtui.tui.screens.difference import DifferenceScreen
from fedtui.tui.screens.rounds import RoundsScreen, checked
from fedtui.tui.timeline import MARKS, Axis, axis_of, lane_line, ticks, timeline
from fedtui.view import CommitView, EvidenceView, LaneView, NodeView, RoundView, TimesView, to_json

AXIS = Axis(0.0, 20.0, 20)


def read(line: Line) -> str:
    return "".join(text for text, _ in line)


@pytest.mark.parametrize(
    ("lane", "is_open", "drawn"),
    [
        (LaneView("a", 2.0, 9.8, 10.0, 12.5, "", 15.0, 17.0), False, "  ━━━━━━━━↑╌╌  ✓ ■"),
        (LaneView("a", 2.0), True, "  ━━━━━━━━━━━━━━━━"),
        (LaneView("a", 2.0, 9.0), True, "  ━━━━━━━━"),
        (LaneView("a", 2.0, None, 10.0), True, "  ━━━━━━━━↑╌╌╌╌╌╌╌"),
        (LaneView("a", sent=10.0, checked=11.0, refused="NaN"), False, "          ↑✗"),
        (LaneView("a", 2.0, 16.8, 19.1, 19.2, "", 19.3, 19.4), False, "  " + "━" * 17 + "↑✓■"),
        (LaneView("a", 2.0, 4.0, 10.0, 10.0), False, "  ━━━     ↑"),
        (LaneView("a", signed=20.0), False, " " * 19 + "■"),
        (LaneView("a"), False, "not known here"),
        (LaneView("a"), True, ""),
    ],
)
def test_a_lane_shows_what_is_known_and_nothing_else(
    lane: LaneView, is_open: bool, drawn: str
) -> None:
    line = lane_line(lane, AXIS, 17.0, is_open)
    assert read(line).rstrip() == drawn
    assert width_of(line) == AXIS.width + MARKS


@pytest.mark.parametrize(
    ("axis", "ruler"),
    [
        (Axis(0.0, 20.0, 40), "0 s       5 s       10 s      15 s"),
        (Axis(0.0, 0.4, 40), "0 s"),
        (Axis(0.0, 7200.0, 40), "0:00      30:00     1:00:00   1:30:00"),
        (Axis(3600.0, 3620.0, 20), "1:00:00   1:00:10"),
    ],
)
def test_the_axis_has_round_numbers_that_stand_apart(axis: Axis, ruler: str) -> None:
    assert ticks(axis) == ruler
    assert len(ruler) <= axis.width


def test_an_axis_grows_by_steps_and_leaves_out_a_long_wait() -> None:
    def axis(elapsed: float, first: float) -> Axis:
        view = NodeView(round=RoundView(1, elapsed_s=elapsed))
        return axis_of(view, TimesView(1, lanes=(LaneView("a", trains=first),)), 60)

    assert {axis(elapsed, 0.5).end for elapsed in (40.0, 41.0, 42.0, 44.9)} == {50.0}
    waited = axis(7230.0, 7205.0)
    assert waited.start == 7205.0
    assert waited.end - waited.start <= 30.0


def test_whoever_took_part_unseen_is_named_and_the_width_is_kept(folder: Path) -> None:
    view = several_rounds(folder)
    for width in (30, 58, 68, 118, 200):
        lines = timeline(view, times()[0], identity(1), ("stranger" * 6,), width)
        assert all(width_of(line) <= width for line in lines)
        assert any("stranger" in read(line) for line in lines)
    assert any("not known here" in read(line) for line in lines)
    assert any("attempt 2 at 15.1 s: amir-mbp combines" in read(line) for line in lines)


@pytest.mark.parametrize("size", [(120, 40), (200, 60)])
async def test_times_stand_beside_the_round_where_there_is_room(
    folder: Path, size: tuple[int, int]
) -> None:
    async with shown(several_rounds(folder), size) as (pilot, app, source):
        await pilot.press("3")
        await until(pilot, lambda: "Times of round 5" in text(app))
        assert "Election" in text(app)
        assert "t Times" not in text(app), "nothing to switch"
        await pilot.press("j")
        await until(pilot, lambda: "Times of round 4" in text(app))
        for words in ("✗ NaN in layer 3", "agrees", "16.2 s", "attempt 2 at 15.1 s"):
            assert words in text(app)
        assert ("0.112" in text(app)) == (size == (200, 60)), "figures as there is room"
        assert not source.done


@pytest.mark.parametrize("size", [(80, 24), (100, 34)])
async def test_a_key_shows_times_in_place_of_the_entry(folder: Path, size: tuple[int, int]) -> None:
    async with shown(several_rounds(folder), size) as (pilot, app, _source):
        await pilot.press("3", "t")
        await until(pilot, lambda: "Times of round 5" in text(app))
        assert "Election" not in text(app)
        await pilot.press("j")
        await until(pilot, lambda: "Times of round 4" in text(app))
        await pilot.press("enter")
        await pilot.pause()
        assert app.focused is app.screen.query_one("#times")
        await pilot.press("t")
        await until(pilot, lambda: "Times of round" not in text(app))
        assert app.focused is app.screen.query_one("#ledger")


async def test_the_open_rounds_lanes_grow_while_it_is_looked_at(folder: Path) -> None:
    view = several_rounds(folder)
    async with shown(view, (200, 60)) as (pilot, app, source):
        await pilot.press("3")
        await until(pilot, lambda: "Times of round 5" in text(app))
        row = next(line for line in text(app).splitlines() if "gpu-srv-1  " in line)
        source.now = replace(view, round=replace(view.round, elapsed_s=49.5))
        await until(
            pilot,
            lambda: any("gpu-srv-1" in each and "↑" not in each and each.count("━") > row.count("━")
                        for each in text(app).splitlines()),
        )  # fmt: skip


async def test_an_earlier_rounds_times_are_asked_for_once(folder: Path) -> None:
    async with shown(several_rounds(folder), (200, 60)) as (pilot, app, source):
        early = replace(times()[0], round=2, whole=False)
        source.answers["round_times"] = lambda round: {
            "round": round, "times": to_json(early) if round == 2 else None,
        }  # fmt: skip
        await pilot.press("3", "j", "j", "j")
        await until(pilot, lambda: "Counted from when this machine came" in text(app))
        await pilot.press("j")
        await until(pilot, lambda: "Not known: this machine was not there" in text(app))
        await pilot.press("k")
        await until(pilot, lambda: "Counted from when this machine came" in text(app))
        await pilot.press("j")
        await until(pilot, lambda: "Not known: this machine was not there" in text(app))
        asked = [arguments["round"] for _, arguments in source.done]
        assert sorted(set(asked)) == [1, 2, 3] or sorted(set(asked)) == [1, 2]
        assert len(asked) == len(set(asked))


async def test_a_node_that_cannot_tell_times_is_no_trouble(folder: Path) -> None:
    async with shown(several_rounds(folder), (200, 60)) as (pilot, app, source):
        source.answers["round_times"] = FedtuiError("this node cannot 'round_times'")
        await pilot.press("3", "j", "j", "j")
        await until(pilot, lambda: "Not known: this machine was not there" in text(app))
        assert "cannot" not in text(app)
        source.now = ConnectionRefusedError("nobody listens")
        await until(pilot, lambda: "✗ NODE GONE" in text(app))
        assert "Times of round 2" in text(app)


async def test_a_recording_tells_the_times_it_has_seen(folder: Path) -> None:
    view = several_rounds(folder)
    player = Player(Tape("sunflower", (0.0, 1.0), (view, replace(view, times=()))))
    found = await player.do("round_times", within_s=1.0, round=4)
    assert found["times"] == to_json(times()[0])
    assert (await player.do("round_times", within_s=1.0, round=1))["times"] is None


async def test_names_and_reasons_of_others_are_only_text_in_the_lanes(folder: Path) -> None:
    attack = "".join(ATTACKS[:6])
    view = poisoned(several_rounds(folder), [attack] * 4)
    told = tuple(
        replace(t, lanes=tuple(replace(lane, refused=attack) for lane in t.lanes)) for t in times()
    )
    view = replace(view, times=told)
    for look, size in ((Look(), (200, 60)), (Look(characters="ascii"), (80, 24))):
        async with shown(view, size, look=look) as (pilot, app, _source):
            await pilot.press("3", "t", "j")
            await until(pilot, lambda: "Times of round 4" in text(app))
            assert_harmless(strips(app))
            assert all(row.cell_length == size[0] for row in strips(app))
            assert look.characters != "ascii" or text(app).isascii()


async def test_an_empty_room_has_no_times(folder: Path) -> None:
    empty = replace(training(folder), round=RoundView())
    async with shown(empty, (200, 60)) as (pilot, app, _source):
        await pilot.press("3")
        await until(pilot, lambda: "No round yet" in text(app))
        assert isinstance(app.screen, RoundsScreen)
        assert "Times" in text(app)


def told(lines: list[Line]) -> str:
    return "\n".join(read(line) for line in lines)


def test_a_difference_tells_what_changed_first_and_what_did_not_at_the_end(folder: Path) -> None:
    view = several_rounds(folder)
    first, fourth = view.commits[0], view.commits[-1]
    fourth = replace(
        fourth, inputs=fourth.inputs[:3], signers=fourth.signers[1:], result="0123" * 16,
        excluded=((identity(4), "norm 40 times the median"),), attempt=1,
    )  # fmt: skip
    view = replace(view, evidence=(EvidenceView(4, identity(4), "it voted twice"),))
    old, new = Side(first, None, 0.2), Side(fourth, times()[0], 0.125)
    seen = told(difference(view, old, new, 130))
    for words in (
        "my loss       0.2000", "→ 0.1250", "round took    –", "→ 18.2 s", "attempts      1", "→ 2",
        "0123", "→ 3 contributions", "evidence      –", "→ lab-pc-07", "signed then   lena (you)",
        "not in round 4", "✗ left out of round 4: norm 40 times the median", "NaN in layer 3",
        "40 %", "-0.20", "The same in both: state, checked, aggregator",
    ):  # fmt: skip
        assert words in seen
    for width in (40, 66, 100):
        assert all(width_of(line) <= width for line in difference(view, old, new, width))


def test_rounds_that_nobody_contributed_to_differ_in_little(folder: Path) -> None:
    view = several_rounds(folder)
    empty = replace(view.commits[0], inputs=(), skipped=True)
    seen = told(difference(view, Side(empty, None, None), Side(empty, None, None), 80))
    assert "Nobody contributed to either." in seen
    assert "→" not in seen


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_two_rounds_are_compared_and_others_chosen(
    folder: Path, size: tuple[int, int]
) -> None:
    async with shown(several_rounds(folder), size) as (pilot, app, source):
        early = replace(times()[0], round=3, seconds=33.3)
        source.answers["round_times"] = lambda round: {"round": round, "times": to_json(early)}
        await pilot.press("3", "d")
        await until(pilot, lambda: "from round 3 to round 4" in text(app))
        await until(pilot, lambda: "33.3 s" in text(app))
        assert "✗ NOT the same here" in text(app)
        for keys, title in (
            (("left",), "from round 2 to round 4"),
            (("h", "h", "h"), "from round 1 to round 4"),
            (("right",), "from round 2 to round 4"),
            (("left_square_bracket",), "from round 2 to round 3"),
            (("left_square_bracket", "l"), "from round 2 to round 3"),
            (("right_square_bracket", "right_square_bracket"), "from round 2 to round 4"),
        ):
            await pilot.press(*keys)
            await until(pilot, lambda title=title: title in text(app))  # type: ignore[misc]
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, RoundsScreen))
        await pilot.press("G", "d")
        await until(pilot, lambda: "from round 1 to round 2" in text(app))
        assert isinstance(app.screen, DifferenceScreen)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, RoundsScreen))


async def test_one_round_cannot_be_compared(folder: Path) -> None:
    async with shown(done(folder), (120, 40)) as (pilot, app, source):
        await pilot.press("3", "d")
        await pilot.pause()
        assert isinstance(app.screen, RoundsScreen)
        view = several_rounds(folder)
        source.now = view
        await until(pilot, lambda: app.screen.check_action("difference", ()) is True)


async def test_names_of_others_are_only_text_in_a_difference(folder: Path) -> None:
    attack = "".join(ATTACKS[:6])
    view = poisoned(several_rounds(folder), [attack] * 4)
    last = replace(view.commits[-1], excluded=((view.peers[1].id, attack), (attack, attack)))
    view = replace(view, commits=(*view.commits[:-1], last))
    for look, size in ((Look(), (120, 40)), (Look(characters="ascii"), (80, 24))):
        async with shown(view, size, look=look) as (pilot, app, _source):
            await pilot.press("3", "d")
            await until(pilot, lambda: isinstance(app.screen, DifferenceScreen))
            assert_harmless(strips(app))
            assert all(row.cell_length == size[0] for row in strips(app))
            assert look.characters != "ascii" or text(app).isascii()


def test_who_combined_a_result_need_not_compute_it_again() -> None:
    mine = CommitView(1, "", "", "", 0, "me")
    assert read(checked(mine, "me")) == checked_word(mine, "me") == "combined here"
    assert read(checked(mine, "you")) == checked_word(mine, "you") == "not recomputed here"
