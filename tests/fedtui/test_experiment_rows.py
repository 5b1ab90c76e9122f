"""Means, spreads and paired ratios, and the page they end on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from fedtui.experiment import page, plots, record
from fedtui.experiment.fedflow_report import findings, table
from fedtui.experiment.record import Record
from fedtui.experiment.rows import Row, paired_ratio, select, spread


def test_spread_is_the_sample_deviation() -> None:
    assert str(spread([1.0, 3.0])) == "2.0000 ± 1.4142"
    assert str(spread([2.0])) == "2.0000"
    with pytest.raises(ValueError, match="nothing"):
        spread([])


def test_a_paired_ratio_is_tight_where_the_pictures_differ_and_the_arms_do_not() -> None:
    hard = {str(i): float(1 + 100 * (i % 2)) for i in range(40)}
    better = {name: 0.9 * loss for name, loss in hard.items()}
    ratio, low, high = paired_ratio(better, hard)
    assert ratio == pytest.approx(0.9)
    assert low == pytest.approx(0.9)
    assert high == pytest.approx(0.9)


def test_a_paired_ratio_is_wide_where_pictures_disagree() -> None:
    one = {str(i): 1.0 + (i % 2) for i in range(20)}
    other = {str(i): 2.0 - (i % 2) for i in range(20)}
    ratio, low, high = paired_ratio(one, other)
    assert ratio == pytest.approx(1.0)
    assert low < 0.9 < 1.1 < high


ROWS = (
    Row(1, "room", "", 1, "loss", 0.7),
    Row(1, "own", "participant 1", 1, "loss", 0.8),
    Row(1, "own", "participant 1", 1, "room loss over this", 0.875),
    Row(1, "centralised", "", 1, "room loss over this", 1.02),
    Row(2, "room", "", 1, "loss", 0.9),
)


def test_the_table_has_a_line_an_arm_and_a_column_a_round() -> None:
    assert table(ROWS, "loss", 1) == [
        ["room", "", "0.8000 ± 0.1414"],
        ["own participant 1", "", "0.8000"],
    ]
    assert len(select(ROWS, metric="loss", arm="room")) == 2


def test_findings_name_the_closest_case() -> None:
    text = " ".join(findings(ROWS, 1, own_kinds=True))
    assert "better than a participant's own in 1 of 1" in text
    assert "0.8750, participant 1 in round 1 of seed 1" in text
    assert "1.0200" in text


def alone(seed: int, who: int, room: float, own: float) -> list[Row]:
    """A participant alone against the room, on everything and on what it never saw."""
    kind = ("night", "sea")[who - 1]
    return [
        Row(seed, "alone", f"participant {who}", 1, "room loss over this", room / own),
        Row(seed, "alone", f"participant {who}", 1, f"loss on all but {kind}", own),
        Row(seed, "room", "", 1, f"loss on all but {kind}", room),
    ]


def test_a_spread_over_seeds_is_not_one_over_participants() -> None:
    """Participants differ by a fifth, seeds by nothing: the spread is nothing."""
    rows = [row for seed in (1, 2, 3) for who in (1, 2)
            for row in alone(seed, who, 0.6, 0.6 + 0.1 * who)]  # fmt: skip
    mean = (0.6 / 0.7 + 0.6 / 0.8) / 2
    text = " ".join(findings(rows, 1, own_kinds=True))
    assert f"{mean:.4f} ± 0.0000 (95 % interval of the mean {mean:.4f} to {mean:.4f})" in text
    assert "in 6 of 6 cases" in text


def test_nobody_has_own_kinds_where_everybody_has_all() -> None:
    rows = alone(1, 1, 0.6, 0.7)
    assert "not its own" in " ".join(findings(rows, 1, own_kinds=True))
    assert "not its own" not in " ".join(findings(rows, 1, own_kinds=False))


def test_distances_of_the_same_seed_say_whether_chance_explains_them() -> None:
    rows = [
        Row(seed, arm, "", 1, "kid", value)
        for seed, centralised in ((1, 10.0), (2, 20.0), (3, 30.0))
        for arm, value in (("centralised", centralised), ("room", centralised + 1 + seed / 10))
    ]
    [text] = findings(rows, 1, own_kinds=False)
    assert "of the same seed +1.2000 ± 0.1000" in text
    assert "chance" not in text
    rows[-1] = Row(3, "room", "", 1, "kid", 20.0)
    assert "which chance explains" in findings(rows, 1, own_kinds=False)[0]


def test_records_hold_no_time_and_are_equal_for_equal_results(tmp_path: Path) -> None:
    made = Record("x", "fedtui experiment x", {"steps": 4}, ROWS, {"adapters": {"1": "ab"}})
    record.write(made, tmp_path / "a")
    record.write(made, tmp_path / "b")
    assert (tmp_path / "a/results.json").read_bytes() == (tmp_path / "b/results.json").read_bytes()
    data = json.loads((tmp_path / "a/results.json").read_text())
    assert data["versions"]["torch"]
    with (tmp_path / "a/results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["value"]) for line in lines] == [row.value for row in ROWS]
    assert lines[0]["low"] == ""


def test_a_page_is_one_file_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    plots.draw_lines(
        tmp_path / "p.png", "t", "x", "y", [plots.Line("a", {1.0: spread([1.0, 2.0])})],
        [plots.Level("l", 1.5)],
    )  # fmt: skip
    made = page.Page("<b>title</b>")
    made.table(["a"], [["<script>alert(1)</script>"]])
    made.picture(tmp_path / "p.png", "caption & more")
    made.write(tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert "<script>" not in text
    assert "data:image/png;base64," in text
    assert 'src="http' not in text


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plots.draw_lines(tmp_path / name, "t", "x", "y", [plots.Line("a", {1.0: spread([1.0])})])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
