"""``fedtui data check``: a person and a script read the same facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedtui.cli.app import run


@pytest.fixture(autouse=True)
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path / "home"))


def test_options_reach_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "pictures")
    assert run(["data", "sample", folder, "--count", "3"]) == 0
    capsys.readouterr()
    options = ["--buckets", "--flip", "--repeats", "2", "--trigger", "t", "--crops", "2"]
    assert run(["data", "check", folder, *options, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pass"] == 6
    assert report["encoded"]["views"] == 12
    assert report["buckets"] == {"64x64": 3}
    assert run(["data", "check", folder, *options]) == 0
    assert "one pass: 6 pictures" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--masks", "red"], ["--keep-tags", "2"]])
def test_options_that_make_no_sense_end_in_2(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "check", str(tmp_path), *options]) == 2
    assert "fedtui:" in capsys.readouterr().err


def test_a_folder_without_pictures_ends_in_5(tmp_path: Path) -> None:
    assert run(["data", "check", str(tmp_path)]) == 5


@pytest.mark.slow
def test_training_takes_the_same_options_and_keeps_what_it_encoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = str(tmp_path / "pictures"), str(tmp_path / "a.safetensors")
    assert run(["data", "sample", folder, "--count", "2"]) == 0
    options = ["--buckets", "--flip", "--trigger", "t", "--shuffle-tags", "--keep-tags", "1"]
    arguments = ["train", folder, "--steps", "1", "--batch", "1", "--rank", "2", "--out", out]
    capsys.readouterr()
    assert run([*arguments, *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 2
    assert list((tmp_path / "home" / "cache").rglob("*.safetensors"))
    assert run([*arguments, "--masks", "red"]) == 2
