"""Sweeps: what a file means, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtui.errors import UsageError
from fedtui.experiment import compare, compare_report
from fedtui.experiment.compare import Setting, parse
from fedtui.experiment.rows import Row


def test_lists_are_combined_and_single_values_are_not_varied() -> None:
    sweep = parse({"algorithm": ["fedavg", "fedex"], "steps": [20, 80], "rounds": 2}, "x")
    assert len(sweep.settings) == 4
    assert sweep.varied == ("algorithm", "steps")
    assert all(setting.rounds == 2 for setting in sweep.settings)
    assert sweep.label(sweep.settings[0]) == "algorithm=fedavg steps=20"
    assert sweep.seeds == (1,)


def test_honest_settings_that_differ_in_the_attack_only_are_one() -> None:
    sweep = parse({"attack": ["none", "scale"], "factor": [10, 50]}, "x")
    assert [(s.attack, s.factor) for s in sweep.settings] == [
        ("none", 0.0),
        ("scale", 10.0),
        ("scale", 50.0),
    ]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"stepps": 4}, "unknown key 'stepps'"),
        ({"steps": "many"}, "steps is 'many'"),
        ({"steps": []}, "steps is"),
        ({"steps": [True]}, "steps is"),
        ({"attack": "bribe"}, "attack is 'bribe'"),
        ({"split": ["kind", "odd"]}, "split is 'odd'"),
        ({"seeds": "x"}, "seeds is 'x'"),
        ({"seeds": []}, "0 federations"),
        ({"seeds": True}, "seeds is True"),
        ({"seeds": [4, 4]}, "seeds is"),
        ({"rule": "nk"}, "rule is 'nk'"),
        ({"algorithm": ["fedex", "dense"]}, "algorithm is 'dense'"),
        ({"steps": 0}, "steps is 0"),
        ({"rounds": -1}, "rounds is -1"),
        ({"rank": 0}, "rank is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"beta": 0.0}, "beta is 0.0"),
        ({"factor": float("inf")}, "factor is inf"),
        ({"attackers": 5, "attack": "scale"}, "attackers is 5"),
        ({"holdout": "x"}, "holdout is 'x'"),
        ({"holdout": 0}, "holdout is 0"),
        ({"draws": 2.5}, "draws is 2.5"),
        ({"steps": list(range(1, 200)), "seeds": 100}, "federations"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(table, "sweep.toml")


def test_the_committed_sweeps_are_read() -> None:
    folder = Path(__file__).parents[2] / "docs" / "results" / "aggregation"
    assert {path.stem for path in folder.glob("*.toml") if compare.read(path).settings} == {
        "attackers", "averaging", "backdoor", "length",
    }  # fmt: skip


def test_files_that_are_no_sweeps(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        compare.read(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_text("steps = = 3")
    with pytest.raises(UsageError, match="is no TOML"):
        compare.read(tmp_path / "bad.toml")


def test_the_table_puts_the_best_first(tmp_path: Path) -> None:
    sweep = parse({"algorithm": ["fedavg", "fedex"], "rounds": 1, "seeds": 2}, "x")
    rows = [
        Row(seed, f"algorithm={name}", "", 1, "loss", loss + seed / 100)
        for name, loss in (("fedavg", 0.9), ("fedex", 0.5))
        for seed in (1, 2)
    ]
    header, lines = compare_report.final_table(sweep, rows)
    assert header == ["algorithm", "held-out loss", "seeds"]
    assert [line[0] for line in lines] == ["fedex", "fedavg"]
    assert compare_report.write(sweep, rows, "fedtui", tmp_path / "r").exists()


def test_settings_are_compared_with_what_differs_in_one_thing_alone(tmp_path: Path) -> None:
    """FedEx beats FedAvg by 2 % at 60 steps and not at 10; seeds differ by far more."""
    sweep = parse(
        {"algorithm": ["fedavg", "fedex"], "steps": [10, 60], "rounds": 1, "seeds": 4}, "x"
    )
    rows = [
        Row(seed, sweep.label(each), "", 1, "loss", loss)
        for each in sweep.settings
        for seed in sweep.seeds
        for loss in [
            (0.5 + seed / 10)
            * (0.98 if (each.algorithm, each.steps) == ("fedex", 60) else 1.0)
            * (1.0 + (seed % 2 - 0.5) / 1000 if each.algorithm == "fedex" else 1.0)
        ]
    ]
    header, lines = compare_report.axis_table(sweep, rows, "algorithm")
    assert header[:3] == ["steps", "algorithm", "round"]
    assert [(line[0], line[1], line[-2], line[-1]) for line in lines] == [
        ("10", "fedex over fedavg", "2 of 4", "cannot be told apart"),
        ("60", "fedex over fedavg", "4 of 4", "lower"),
    ]
    assert lines[1][3].startswith("0.9800 ± 0.000")
    text = compare_report.write(sweep, rows, "fedtui", tmp_path / "r").read_text(encoding="utf-8")
    assert "What algorithm changes" in text
    assert "What steps changes" in text


def test_an_attack_is_compared_with_nobody_lying() -> None:
    sweep = parse({"rule": ["n_k", "rfa"], "attack": ["none", "scale"], "factor": [10, 50]}, "x")
    rows = [
        Row(1, sweep.label(each), "", 3, "loss", 1.0 + each.factor / 10) for each in sweep.settings
    ]
    _, lines = compare_report.axis_table(sweep, rows, "attack")
    assert {(line[0], line[1], line[2], line[4]) for line in lines} == {
        (rule, factor, "scale over none", ratio)
        for rule in ("n_k", "rfa")
        for factor, ratio in (("10.0", "2.0000"), ("50.0", "6.0000"))
    }


def test_sizes_of_an_attack_are_compared_with_each_other_not_with_nobody_lying() -> None:
    sweep = parse({"attack": ["none", "scale"], "factor": [10, 50], "rounds": 1}, "x")
    rows = [
        Row(1, sweep.label(each), "", 1, "loss", 1.0 + each.factor / 10) for each in sweep.settings
    ]
    _, lines = compare_report.axis_table(sweep, rows, "factor")
    assert [line[:4] for line in lines] == [["scale", "50.0 over 10.0", "1", "3.0000"]]


def test_defaults_are_an_honest_room() -> None:
    assert Setting().attack == "none"
