"""``fedtui experiment``: what is wrong is said before anything is computed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fedtui.cli import experiment
from fedtui.cli.app import run


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("fedflow --algorithm nope", "there is no algorithm 'nope'"),
        ("fedflow --algorithm dense", "there is no algorithm 'dense'"),
        ("fedflow --rule nk", "there is no rule 'nk'"),
        ("fedflow --split odd", "there is no split 'odd'"),
        ("fedflow --pictures 3", "3 pictures are too few"),
        ("fedflow --data nowhere", "there is no folder nowhere"),
        ("ddpm --setting 10,5", "is no setting"),
        ("ddpm --setting 10,5,nan", "is no setting"),
        ("ddpm --setting 10,5,0.1,2", "is no setting"),
        ("ddpm --setting 10,5,0.1,1,7", "is no setting"),
        ("ddpm --setting 10,5,0.1,1,0.2,conv_in,x", "is no setting"),
        ("ddpm --data faces", "there is no data set 'faces'"),
        ("compare nowhere.toml", "cannot read nowhere.toml"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(
    asked: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path / "home"))
    assert run(["experiment", *asked.split()]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "experiments").exists()


def test_who_stops_an_experiment_is_told_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(asyncio.CancelledError), experiment._progress():
        raise asyncio.CancelledError
    assert "the same command goes on from here" in capsys.readouterr().err


def test_a_setting_may_leave_out_what_comes_before_its_personal_layers() -> None:
    found = experiment._setting("30,1,0.1,,,conv_in+conv_out")
    assert (found.participants, found.epochs, found.shared, found.threshold) == (30, 1, 0.0, None)
    assert found.personal == ("conv_in", "conv_out")
    assert experiment._setting("10,5,0.1,1,0.2").threshold == 0.2
