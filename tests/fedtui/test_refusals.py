"""What the command line refuses, in this process: no trainer and no node is started for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fedtui.cli import node
from fedtui.cli.app import run
from fedtui.errors import UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FEDTUI_DATA", raising=False)
    return tmp_path / "home"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--join", "invite.txt"],
        ["--log-json"],
        ["--daemon", "--wall"],
        ["--data", ".", "locate"],
        ["--daemon", "locate"],
    ],
)
def test_an_option_that_would_change_nothing_is_refused(
    arguments: list[str], capsys: Capture
) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert "would" in shown.err
    assert shown.out == ""


def test_another_folder_than_the_running_nodes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "dogs").mkdir()
    monkeypatch.setattr(node, "_view", lambda _: SimpleNamespace(dataset=str(tmp_path / "cats")))
    node._require_folder(tmp_path / "socket", tmp_path / "cats")
    with pytest.raises(UsageError, match=r"trains on .*cats"):
        node._require_folder(tmp_path / "socket", tmp_path / "dogs")


def test_an_axis_of_adapters_without_one_says_so(capsys: Capture) -> None:
    assert run(["generate", "a house", "--out", "house.png", "--grid", "lora=0:1:5"]) == 2
    assert "give --lora FILE too" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--daemon", "--data", "nowhere"],
        ["train", "nowhere", "--out", "x.safetensors"],
        ["train", ".", "--out", "x.safetensors", "--prior", "nowhere"],
        ["data", "check", "nowhere"],
        ["demo", "--headless", "--data", "nowhere"],
        ["room", "create", "Attic", "--shared", "nowhere"],
        ["experiment", "fedflow", "--data", "nowhere"],
        ["experiment", "compare", "nowhere.toml"],
        ["evaluate", "nowhere"],
        ["evaluate", ".", "--lora", "nowhere"],
        ["generate", "x", "--out", "x.png", "--lora", "nowhere:0.5"],
        ["adapter", "inspect", "nowhere"],
        ["adapter", "convert", "nowhere", "x.safetensors"],
        ["combine", "nowhere:3", "--out", "x.safetensors"],
        ["verify", "nowhere"],
        ["replay", "nowhere.jsonl"],
        ["room", "join", "nowhere.txt"],
    ],
)
def test_what_is_not_there_ends_with_2_its_name_and_a_next_step(
    arguments: list[str], capsys: Capture
) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert "nowhere" in shown.err.splitlines()[0]
    assert "  try: " in shown.err
    assert "Errno" not in shown.err
    assert shown.out == ""


def test_a_machine_without_rooms_is_told_how_to_get_one(capsys: Capture) -> None:
    assert run(["room", "list"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "fedtui room create" in shown.err
