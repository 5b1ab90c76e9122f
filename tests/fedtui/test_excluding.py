"""Keeping a picture out and letting it in again, with a real torch-free worker that looks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fedtui.cli.app import run
from fedtui.control.operations import Operations
from fedtui.errors import FedtuiError, UsageError
from fedtui.excluding import exclude
from fedtui.material import Material
from fedtui.paths import Profile
from fedtui.training import TrainerProcess
from trainer.protocol import LEFT_OUT, DataOptions

SHADES = (20, 120, 220)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures."""
    made = tmp_path / "moons"
    made.mkdir()
    for number, shade in enumerate(SHADES):
        Image.new("RGB", (64, 64), (shade, 90, 60)).save(made / f"{number}.png")
    return made


@pytest.fixture
async def arithmetic() -> AsyncIterator[TrainerProcess]:
    process = TrainerProcess("arithmetic")
    yield process
    await process.stop()


async def test_a_training_on_the_folder_begins_anew_without_the_picture(
    folder: Path, tmp_path: Path, arithmetic: TrainerProcess
) -> None:
    begun: list[str] = []
    told: list[tuple[bool, int]] = []

    async def use(place: str) -> None:
        begun.append(place)

    async def excluded(out: bool, count: int) -> None:
        told.append((out, count))

    profile = Profile(tmp_path / "profile")
    profile.create()
    operations = Operations()
    Material(
        profile, arithmetic, fixed=False, resolution=64, options=DataOptions(trigger="sks"),
        used=lambda: str(folder), use=use, excluded=excluded,
    ).offer(operations)  # fmt: skip

    async def do(name: str, **arguments: Any) -> dict[str, Any]:
        return await operations.run(name, {"folder": str(folder), **arguments})

    before = await do("check_folder")
    assert (before["usable"], before["trigger"], before["agreed"]) == (3, "sks", None)
    # At once, as an impatient finger does: none of the two gets lost.
    await asyncio.gather(*(do("exclude_picture", file=f"{n}.png", excluded=True) for n in (0, 2)))
    after = await do("check_folder")
    assert (after["usable"], after["left_out_count"]) == (1, 2)
    assert [each["file"] for each in after["left_out"]] == ["0.png", "2.png"]
    assert told == [(True, 1), (True, 2)]
    assert (await do("exclude_picture", file="0.png", excluded=False))["count"] == 1
    await do("exclude_picture", file="2.png", excluded=False)
    assert not (folder / LEFT_OUT).exists()
    assert (await do("check_folder"))["digest"] == before["digest"]
    await do("choose_folder", agreed=True)
    assert (await do("check_folder"))["agreed"] > 0
    assert told[2:] == [(False, 1), (False, 0)]
    assert begun == [str(folder)], "only a folder that was chosen is called so"
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (64, 64)).save(other / "x.png")
    await operations.run(
        "exclude_picture", {"folder": str(other), "file": "x.png", "excluded": True}
    )
    assert len(told) == 4, "this node trains on another folder"


def files(folder: Path) -> list[str]:
    """All that lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def test_file_names_become_captions_where_there_is_none(
    folder: Path, tmp_path: Path, arithmetic: TrainerProcess
) -> None:
    async def use(place: str) -> None:
        raise AssertionError(place)

    operations = Operations()
    profile = Profile(tmp_path / "profile")
    Material(profile, arithmetic, fixed=False, resolution=64, use=use).offer(operations)
    (folder / "0.png").rename(folder / "red_house (2).png")
    (folder / "1.png").rename(folder / "old-boat.png")
    (folder / "old-boat.txt").write_text("a boat of my uncle")
    before = files(folder)
    asked = {"folder": str(folder), "write": False}
    told = await operations.run("name_captions", asked)
    assert told == {
        "captions": [{"file": "red_house (2).png", "caption": "red house"}],
        "missing": 2,  # the other is called 2.png
    }
    assert files(folder) == before
    await operations.run("name_captions", {**asked, "write": True})
    report = await operations.run("check_folder", {"folder": str(folder)})
    captions = {each["file"]: each["caption"] for each in report["pictures"]}
    assert captions == {
        "red_house (2).png": "red house", "old-boat.png": "a boat of my uncle", "2.png": "",
    }  # fmt: skip
    (folder / "metadata.jsonl").write_text("")
    (folder / "2.png").rename(folder / "blue moon.png")
    with pytest.raises(UsageError, match="captions of this folder are in metadata"):
        await operations.run("name_captions", {**asked, "write": True})


def test_only_what_is_there_is_left_out_and_what_is_gone_can_come_back(folder: Path) -> None:
    for file in ("nothing.png", "../moons/0.png", "/etc/passwd", "a\0b", ""):
        with pytest.raises(UsageError, match="no picture"):
            exclude(folder, file, excluded=True)
    exclude(folder, "0.png", excluded=True)
    (folder / "0.png").unlink()
    assert exclude(folder, "0.png", excluded=False)["count"] == 0


async def test_a_name_that_is_no_text_is_told_in_words(folder: Path) -> None:
    async def nothing(place: str) -> None:
        raise AssertionError(place)

    operations = Operations()
    Material(
        Profile(folder), TrainerProcess("arithmetic"), fixed=False, resolution=64, use=nothing
    ).offer(operations)
    file = os.fsdecode(b"\xfcber.png")
    (folder / "0.png").rename(folder / file)
    asked = {"folder": str(folder), "file": file, "excluded": True}
    with pytest.raises(UsageError, match="no text") as refused:
        await operations.run("exclude_picture", asked)
    assert "rename" in refused.value.remedy
    assert exclude(folder, file, excluded=True)["count"] == 1
    assert exclude(folder, file, excluded=False)["count"] == 0


def test_a_damaged_list_is_not_overwritten(folder: Path) -> None:
    (folder / LEFT_OUT).write_text("{")
    with pytest.raises(UsageError, match="left out is not known"):
        exclude(folder, "0.png", excluded=True)
    assert (folder / LEFT_OUT).read_text() == "{"


def test_a_disk_that_refuses_is_told(folder: Path) -> None:
    (folder / LEFT_OUT).mkdir()
    with pytest.raises(FedtuiError, match="stays as it is"):
        exclude(folder, "0.png", excluded=True)


def test_the_command_does_the_same(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path / "home"))
    assert run(["data", "exclude", str(folder), "0.png", "1.png"]) == 0
    assert "2 left out" in capsys.readouterr().out
    assert run(["data", "check", str(folder)]) == 0
    assert "left out by you: 2" in capsys.readouterr().out
    assert run(["data", "exclude", str(folder), "1.png", "--back"]) == 0
    assert "1.png: in again; 1 left out" in capsys.readouterr().out
    assert run(["data", "exclude", str(folder), "9.png"]) == 2
    assert "there is no picture" in capsys.readouterr().err
