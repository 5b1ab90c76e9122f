"""What was recorded can be seen again, and a recording is only ever looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fedtui.errors import FedtuiError, UsageError
from fedtui.tape import Player, Recorder, Tape, load
from fedtui.view import NodeView, PreviewView, RoundView


def view(number: int, picture: Path) -> NodeView:
    return NodeView(
        name="Ada",
        room_name="sunflower",
        round=RoundView(number, 3, phase="TRAIN"),
        previews=(PreviewView(0, "a house", 7, str(picture)),),
        adapter=str(picture.parent / "round-0001.safetensors"),
        dataset=str(picture.parent / "cats"),
    )


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    picture = tmp_path / "elsewhere" / "p.png"
    picture.parent.mkdir()
    picture.write_bytes(b"not really a picture")
    path = tmp_path / "tape" / "workshop.jsonl"
    path.parent.mkdir()
    recorder = Recorder(path, "sunflower")
    for number in (1, 2, 2, 3):
        recorder.add(view(number, picture))
    recorder.close()
    picture.unlink()
    return path


def test_a_recording_shows_what_was_there_and_only_changes_are_written(recorded: Path) -> None:
    tape = load(recorded)
    assert [each.round.number for each in tape.views] == [1, 2, 3]
    assert tape.room == "sunflower"
    assert Path(tape.views[0].previews[0].path).read_bytes() == b"not really a picture"
    changes = [json.loads(line)["view"] for line in recorded.read_text().splitlines()[1:]]
    assert set(changes[1]) == {"round"}


def test_no_path_of_the_machine_gets_into_a_recording(recorded: Path) -> None:
    assert str(recorded.parent.parent) not in recorded.read_text()


def test_a_recording_cut_off_by_a_crash_is_played_up_to_there(recorded: Path) -> None:
    recorded.write_text(recorded.read_text()[:-20])
    assert [each.round.number for each in load(recorded).views] == [1, 2]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("", "is no recording"),
        ('{"ts": 1}\n', "is no recording"),
        ('{"fedtui_recording": 9}\n', "is of version 9"),
        ('{"fedtui_recording": 1}\n', "shows nothing"),
        ('{"fedtui_recording": 1}\n{"t": 0, "view": 3}\n{"t": 1, "view": {}}\n', "is damaged"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str, title: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=title):
        load(path)


def test_a_picture_outside_the_recordings_folder_is_not_opened(recorded: Path) -> None:
    text = recorded.read_text().replace("workshop.files/", "../../etc/")
    recorded.write_text(text)
    assert load(recorded).views[0].previews[0].path == ""


def test_a_second_recording_does_not_overwrite_the_first(recorded: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        Recorder(recorded, "again")


async def test_the_player_skips_pauses_and_refuses_to_act() -> None:
    views = tuple(NodeView(name=str(i)) for i in range(5))
    player = Player(Tape("room", (0.0, 10.0, 20.0, 30.0, 40.0), views), speed=1.0)
    player.pause()
    assert (await player.view()).name == "0"
    player.skip(25)
    assert (await player.view()).name == "2"
    player.skip(1000)
    assert player.place == 40.0
    player.skip(-1000)
    assert (await player.view()).name == "0"
    assert player.speed == 0.0
    player.pause()
    player.faster(4)
    assert player.speed == 4.0
    with pytest.raises(FedtuiError, match="recording"):
        await player.do("generate", within_s=1.0)
    assert replace(views[0], name="x").name == "x"
