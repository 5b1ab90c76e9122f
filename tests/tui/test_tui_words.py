"""What the pieces of the dashboard say, without a screen."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from tui_scenarios import NAMES, loading, losses, paused, peers, training, verifying

from fedtui.recipes import recipes
from fedtui.tui.feed import Feed
from fedtui.tui.lines import Line, cut_path, width_of
from fedtui.tui.outside import opener
from fedtui.tui.steps import means, stretches
from fedtui.tui.widgets.banner import banner
from fedtui.tui.widgets.lossplot import boundaries, plot, title, trend
from fedtui.tui.widgets.peertable import COLUMNS
from fedtui.tui.widgets.picturerow import arrangement, chosen
from fedtui.tui.widgets.statusline import status
from fedtui.tui.widgets.stepper import people_line, steps, steps_line
from fedtui.tui.widgets.table import difference, fitted, needed
from fedtui.tui.wording import PEER_SIGNS, PHASE_SIGNS, ago, clock, loss, rtt
from fedtui.view import CommitView, InputView, LossPoint, PeerState, Phase, PreviewView


def words(line: Line) -> str:
    return "".join(text for text, _ in line)


@pytest.mark.parametrize("width", range(20, 200, 7))
def test_the_status_line_drops_whole_words(tmp_path: Path, width: int) -> None:
    feed = Feed(training(tmp_path))
    full = set(words(status(feed, 200)).split())
    line = status(feed, width)
    assert width_of(line) <= width
    assert set(words(line).split()) <= full | {"·"}
    assert "TRAIN" in words(line)


def test_the_status_line_keeps_the_room_longer_than_the_rest(tmp_path: Path) -> None:
    feed = Feed(training(tmp_path))
    assert words(status(feed, 38)).split() == ["sunflower-42", "round", "3/8", "▶", "TRAIN"]
    assert words(status(feed, 24)).split() == ["sunflower-42", "▶", "TRAIN"]


def test_every_state_has_a_word_and_a_glyph() -> None:
    assert set(PEER_SIGNS) == set(get_args(PeerState))
    assert set(PHASE_SIGNS) == set(get_args(Phase))
    for sign in (*PEER_SIGNS.values(), *PHASE_SIGNS.values()):
        assert sign.glyph
        assert sign.word


@pytest.mark.parametrize("width", range(56, 200, 9))
def test_lines_of_the_stepper_fit(tmp_path: Path, width: int) -> None:
    for view in (training(tmp_path), verifying(tmp_path), paused(tmp_path), loading()):
        assert width_of(steps_line(view, width)) <= width
        assert width_of(people_line(view, width)) <= width


def test_nothing_is_marked_done_while_nobody_has_contributed(tmp_path: Path) -> None:
    view = training(tmp_path)
    for waits in ({"phase": "WAITING", "contributions": 0}, {"phase": "WAITING", "held": True,
                  "contributions": 0}):  # fmt: skip
        now = replace(view, round=replace(view.round, **waits))  # type: ignore[arg-type]
        assert not any(step.done or step.glyph == "▶" for step in steps(now))


def test_only_what_is_known_is_marked_done(tmp_path: Path) -> None:
    view = verifying(tmp_path)

    def glyphs(phase: Phase, *, committed: bool = False, commits: int = 0) -> str:
        entry = CommitView(3, "", "", "", 0, "", ("a", "b"), (InputView("a", 20, "x"),))
        now = replace(view.round, phase=phase, commits=commits)
        seen = replace(view, round=now, commits=(entry,) if committed else ())
        return "".join(step.glyph for step in steps(seen))

    assert glyphs("VERIFY") == "✓✓▶○○"
    assert glyphs("PAUSED") == glyphs("FAILED") == glyphs("IDLE") == "○○○○○"
    assert glyphs("DONE") == "✓✓✓✓✓"
    assert glyphs("PREVIEW", commits=3) == "✓✓✓✓▶"
    assert glyphs("PREVIEW", committed=True) == "✓✓✓✓▶"
    assert glyphs("PREVIEW") == "○○○○▶"


def test_a_committed_round_is_counted_from_the_ledger(tmp_path: Path) -> None:
    view = verifying(tmp_path)
    entry = CommitView(3, "", "", "", 0, "", ("a", "b"), (InputView("a", 20, "x"),))
    now = replace(view.round, phase="PREVIEW", contributions=0, commits=0, prepares=0)
    line = words(steps_line(replace(view, round=now, commits=(entry,)), 120))
    assert "COLLECT 1 sent" in line
    assert "VERIFY ━" in line
    assert "MERGE 2 signed" in line


def test_the_most_urgent_thing_is_said_first(tmp_path: Path) -> None:
    view = replace(paused(tmp_path), notice="disk is low")
    assert "The node is gone: refused" in words(banner(Feed(view, "refused", 3), 120))
    assert "Paused" in words(banner(Feed(view), 120))
    calm = replace(view, round=replace(view.round, phase="TRAIN"))
    assert "disk is low" in words(banner(Feed(calm), 120))
    assert banner(Feed(replace(calm, notice="")), 120) == ()


def test_columns_never_exceed_the_table() -> None:
    for width in range(1, 260):
        columns = fitted(COLUMNS, width)
        assert columns[0][0] is COLUMNS[0]
        assert sum(w for _, w in columns) + 2 * (len(columns) - 1) <= max(width, 4)
        for peer in peers(8):
            for column, cells in columns:
                assert width < 14 or width_of(column.cell(peer, cells)) == cells


def test_a_wide_table_shows_everything() -> None:
    assert len(fitted(COLUMNS, needed(COLUMNS))) == len(COLUMNS)


def rows_of(height: int) -> int:
    """Rows of the curve; below it are the rounds."""
    return height - 1 if height >= 7 else height


@pytest.mark.parametrize("marker", ["braille", "block"])
@pytest.mark.parametrize("size", [(20, 2), (30, 5), (42, 9), (90, 30)])
def test_the_loss_plot_fits_and_tells_the_extremes(marker: str, size: tuple[int, int]) -> None:
    points = losses(3)
    lines = plot(points, *size, marker)  # type: ignore[arg-type]
    assert len(lines) == size[1]
    assert all(width_of(line) <= size[0] for line in lines)
    told = [float(words(lines[0])[:6]), float(words(lines[rows_of(size[1]) - 1])[:6])]
    own = [each.loss for each in stretches(points)]
    assert max(own) + 1e-4 >= told[0] > told[1] >= min(own) - 1e-4


def test_a_falling_loss_goes_from_the_upper_left_to_the_lower_right() -> None:
    points = told_by_trainer(1, [1 - i / 100 for i in range(100)])
    rows = [words(line)[7:] for line in plot(points, 47, 10, "braille")][:9]
    assert rows[0][0] != " "
    assert rows[-1].rstrip()[-1] != " "
    assert rows[0].strip()
    assert rows[0][-1:] in ("", " ")
    assert not rows[-1][0].strip()


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5], [0.0, 1e9], [-1.0, 1.0]])
def test_odd_losses_are_drawn_too(values: list[float]) -> None:
    assert plot(told_by_trainer(1, values), 40, 8, "braille")
    assert plot([LossPoint(1, 0, value) for value in values], 40, 8, "braille")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], ""),
        ([(1, 0.4), (1, 0.1)], ""),
        ([(1, 0.3), (1, 0.5), (2, 0.2), (3, 0.1), (3, 0.25)], " ↓ 50 % since r1"),
        ([(2, 0.2), (3, 0.3), (3, math.nan)], " ↑ 50 % since r2"),
        ([(1, 0.2), (2, 0.2)], " as in r1"),
        ([(1, 0.0), (2, 0.2)], " as in r1"),
    ],
)
def test_whether_it_gets_better_is_said_of_whole_rounds(
    values: list[tuple[int, float]], words: str
) -> None:
    told = trend([LossPoint(number, 0, value) for number, value in values], "since r")
    assert "".join(text for text, _ in told) == words


def test_rounds_are_parted_where_they_start() -> None:
    xs = [i * 2 for i in range(20)]
    assert boundaries([1] * 10 + [2] * 10, xs, 2) == [(0, 1), (10, 2)]


def told_by_trainer(number: int, values: list[float], first: int = 1) -> list[LossPoint]:
    """Losses of steps as a trainer tells them: the mean so far."""
    return [
        LossPoint(number, first + i, sum(values[: i + 1]) / (first + i)) for i in range(len(values))
    ]


def test_the_losses_of_steps_follow_from_the_means_that_are_told() -> None:
    own = [0.9, 0.1, 0.5, 0.4, 0.8]
    points = [*told_by_trainer(1, own), *told_by_trainer(2, own[:2])]
    found = stretches(points)
    assert [each.loss for each in found] == pytest.approx([*own, *own[:2]])
    assert [each.at for each in found] == [1, 2, 3, 4, 5, 6, 7]
    sparse = stretches([points[1], points[1], points[4], LossPoint(1, 6, math.nan)])
    assert [each.at for each in sparse] == [2, 5]
    assert [each.loss for each in sparse] == pytest.approx([0.5, 1.7 / 3])
    anew = stretches([*points[:3], *told_by_trainer(1, [0.2])])
    assert (anew[-1].at, anew[-1].loss) == (4, pytest.approx(0.2))
    assert means(points) == {1: pytest.approx(0.54), 2: pytest.approx(0.5)}


def test_the_plot_tells_the_mean_of_each_round_and_what_is_what() -> None:
    falling = [*[0.9] * 20, *[0.7] * 20]
    points = [*told_by_trainer(1, falling), *told_by_trainer(2, [0.3, 0.1] * 20)]
    lines = [words(line) for line in plot(points, 87, 12, "braille")]
    assert "r1 0.8000" in lines[-1]
    assert "r2 0.2000" in lines[-1]
    level = next(n for n, line in enumerate(lines[:-1]) if "──" in line)
    top, low = float(lines[0][:6]), float(lines[10][:6])
    assert level == round((top - 0.8) / (top - low) * 43) // 4
    assert "─" not in words(plot(points, 87, 6, "braille")[3]), "a low curve has no room for it"
    noisy = [words(line) for line in plot(told_by_trainer(1, [0.9, 0.7] * 20), 87, 12, "braille")]
    level = next(n for n, line in enumerate(noisy[:-1]) if "─" in line)
    assert set(noisy[level][7:]) - {"─", " "}, "the curve is before the line"
    narrow = words(plot(points, 27, 12, "braille")[-1])
    assert narrow.split() == ["r1", "r2", "0.2000"], "a mean that would reach into the next"


@pytest.mark.parametrize("width", [30, 44, 60, 80, 110])
def test_the_title_says_what_is_drawn_as_far_as_there_is_room(tmp_path: Path, width: int) -> None:
    view = training(tmp_path)
    told = words(title(view, width))
    assert told.startswith("My loss")
    assert "─ " in told
    assert "mean" in told
    assert "since r" in told
    assert ("per step" in told, "lower is better" in told) == (width >= 44, width >= 80)
    assert ("so far" in told) == (width >= 60), "this machine is training"
    assert width_of(title(view, width)) <= max(width, 44)
    assert "─" not in words(title(view, width, lined=False))


def preview(number: int, prompt: str = "p", seed: int = 1) -> PreviewView:
    return PreviewView(number, prompt, seed, f"{prompt}{number}.png")


def test_before_and_after_are_always_among_the_chosen() -> None:
    every = tuple(preview(i) for i in range(9))
    for room in range(2, 7):
        picked = [p.round for p in chosen(every, room)]
        assert picked[0] == 0
        assert picked[-1] == 8
        assert picked == sorted(set(picked))
        assert len(picked) == room
    assert [p.round for p in chosen(every, 1)] == [8]
    assert chosen(every[:2], 5) == every[:2]


@pytest.mark.parametrize("width", range(10, 200, 13))
@pytest.mark.parametrize("height", range(3, 60, 9))
def test_pictures_fit_their_panel(width: int, height: int) -> None:
    for available in range(1, 9):
        count, rows = arrangement(available, width, height)
        assert 1 <= count <= max(1, available)
        assert rows + 1 <= max(2, height)
        if rows > 1:
            assert count * 2 * rows + 2 * (count - 1) <= width


def test_pictures_are_grouped_by_prompt_and_seed(tmp_path: Path) -> None:
    view = replace(
        training(tmp_path),
        previews=(preview(1), preview(0), preview(0, "q"), preview(0, "p", 2), preview(1)),
    )
    assert [(r.prompt, r.seed, [p.round for p in r.pictures]) for r in recipes(view)] == [
        ("p", 1, [0, 1]),
        ("q", 1, [0]),
        ("p", 2, [0]),
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0.4, "now"), (31, "31 s"), (120, "2 min"), (7200, "2 h"), (260_000, "3 d")],
)
def test_ages_are_told_in_one_unit(seconds: float | None, said: str) -> None:
    assert ago(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(-3, "0:00"), (7.9, "0:07"), (72, "1:12"), (3723, "1:02:03")]
)
def test_durations_read_like_a_clock(seconds: float, said: str) -> None:
    assert clock(seconds) == said


@pytest.mark.parametrize("value", [0.1042, 12.5, 999.0, 12345.0, -1.0, math.nan, math.inf, 1e-9])
def test_a_loss_takes_at_most_seven_characters(value: float) -> None:
    assert 0 < len(loss(value)) <= 7


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (60, "/home/lena/rooms/adapters/round-0002.safetensors"),
        (36, "…/adapters/round-0002.safetensors"),
        (24, "…/round-0002.safetensors"),
        (16, "round…afetensors"),
    ],
)
def test_a_path_keeps_its_end(width: int, shown: str) -> None:
    assert cut_path("/home/lena/rooms/adapters/round-0002.safetensors", width) == shown


def test_round_trips_are_short() -> None:
    assert [rtt(v) for v in (None, 0.2, 2.4, 150)] == ["–", "<1 ms", "2 ms", "150 ms"]


def test_a_desktop_is_only_used_where_there_is_one() -> None:
    assert opener({"SSH_CONNECTION": "a", "DISPLAY": ":0"}, "linux") is None
    assert opener({}, "linux") is None
    assert opener({}, "darwin") == ("open",)


def test_the_interface_starts_without_learning_libraries() -> None:
    program = (
        "import sys, fedtui.tui.app; "
        "print([m for m in ('torch', 'numpy', 'diffusers', 'PIL', 'aiohttp') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert found.stdout.strip() == "[]"


def test_names_of_the_scenarios_are_distinct() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("old", "new", "cells"),
    [
        ((("ab", "text"), ("cd", "ok")), (("ab", "text"), ("cx", "ok")), (2, 4)),
        ((("ab", "text"), ("cd", "ok")), (("xb", "text"), ("cd", "ok")), (0, 2)),
        ((("漢", "text"), ("c", "ok")), (("漢", "text"), ("x", "ok")), (2, 3)),
        ((), (("abc", "text"),), (0, 3)),
        ((("abcd", "text"),), (("ab", "text"), ("cd", "ok")), (0, 4)),
    ],
)
def test_only_the_cells_that_differ_are_repainted(
    old: Line, new: Line, cells: tuple[int, int]
) -> None:
    assert difference(old, new) == cells
