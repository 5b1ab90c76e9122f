"""A picture that its owner keeps out is kept out, whatever it is called and whoever looks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trainer_rig import picture

from trainer import dataset
from trainer.errors import TrainerError
from trainer.protocol import LEFT_OUT


def folder_of(tmp_path: Path, *names: str) -> Path:
    """A folder with a picture of its own for each name."""
    for number, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
        path.with_suffix(".txt").write_text(f"picture {number}")
    return tmp_path


def leave_out(folder: Path, *names: str) -> None:
    (folder / LEFT_OUT).write_text(json.dumps(names))


def usable(folder: Path) -> list[str]:
    return [each.file for each in dataset.scan(folder).pictures]


def test_what_is_left_out_is_told_and_not_used(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a.png", "b.png", "sub/c.png")
    before = dataset.scan(folder)
    leave_out(folder, "b.png", "sub/c.png", "gone.png")
    contents = dataset.scan(folder)
    assert usable(folder) == ["a.png"]
    assert [(each.file, each.caption) for each in contents.left_out] == [
        ("b.png", "picture 1"),
        ("sub/c.png", "picture 2"),
    ]
    assert contents.digest != before.digest
    assert not contents.problems
    (folder / LEFT_OUT).unlink()
    assert dataset.scan(folder).digest == before.digest


@pytest.mark.parametrize("copy", ["0-first.png", "z-last.png"])
def test_a_copy_of_it_is_left_out_too(tmp_path: Path, copy: str) -> None:
    folder = folder_of(tmp_path, "a.png", "b.png")
    (folder / copy).write_bytes((folder / "b.png").read_bytes())
    leave_out(folder, "b.png")
    assert usable(folder) == ["a.png"]
    found = {each.file: each.same_as for each in dataset.scan(folder).left_out}
    assert found == {"b.png": "", copy: "b.png"}


def test_two_of_the_same_can_both_be_let_in_again(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    leave_out(folder, "a.png", "b.png")
    assert [each.same_as for each in dataset.scan(folder).left_out] == ["", ""]


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[1]", "[" * 100_000, '"a.png"'])
def test_a_list_that_cannot_be_read_stops_the_training(tmp_path: Path, content: str) -> None:
    folder = folder_of(tmp_path, "a.png")
    (folder / LEFT_OUT).write_text(content)
    with pytest.raises(TrainerError, match="left out is not known") as refused:
        dataset.scan(folder)
    assert LEFT_OUT in refused.value.remedy


def test_names_that_lead_out_of_the_folder_say_nothing(tmp_path: Path) -> None:
    outside = folder_of(tmp_path, "secret.png") / "secret.png"
    folder = folder_of(tmp_path / "inside", "a.png")
    (folder / "copy.png").write_bytes(outside.read_bytes())
    leave_out(folder, "../secret.png", str(outside), "a\0b")
    # Both show picture 0: what lies outside is not even looked at.
    assert usable(folder) == ["a.png"]
    assert not dataset.scan(folder).left_out


def test_nothing_left_says_that_it_was_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a.png")
    leave_out(folder, "a.png")
    with pytest.raises(TrainerError) as refused:
        dataset.scan(folder).require_pictures()
    assert "1 are left out" in refused.value.cause
