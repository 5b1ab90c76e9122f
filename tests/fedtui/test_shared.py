"""Pictures that a room agreed to share: named by what they are, used only where people put them."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fedtui import shared
from fedtui.errors import FedtuiError, TrustError, UsageError
from fedtui.founding import RoomChoices, found_room
from fedtui.paths import Profile
from fedtui.training import TrainerProcess
from p2p.identity import Identity
from trainer.protocol import SampleData


@pytest.fixture
async def arithmetic() -> AsyncIterator[TrainerProcess]:
    worker = TrainerProcess("arithmetic")
    yield worker
    await worker.stop()


@pytest.fixture
async def pictures(tmp_path: Path, arithmetic: TrainerProcess) -> Path:
    folder = tmp_path / "published"
    await arithmetic.request(SampleData(str(folder), 3, "plain", 1))
    return folder


async def test_a_room_names_its_shared_pictures_and_nobody_is_sent_them(
    pictures: Path, tmp_path: Path
) -> None:
    choices = RoomChoices("club", shared=pictures, shared_note="mine, CC0")
    profile = Profile(tmp_path / "profile")
    room = await found_room(profile, Identity.from_seed(b"x" * 32), "me", choices)
    agreed = room.task.shared
    assert agreed is not None
    assert (agreed.pictures, agreed.note, agreed.weight) == (3, "mine, CC0", 1.0)
    assert room.genesis.plan.task["shared"]["sha256"] == agreed.sha256
    assert shared.chosen(room.paths) == str(pictures)
    assert shared.told(room.task, room.paths) == "3 pictures (mine, CC0), trained on here"
    assert not list(room.paths.root.rglob("*.png"))
    shared.choose(room.paths, None)
    assert shared.chosen(room.paths) == ""
    assert shared.told(room.task, room.paths).endswith("not on this machine")


def copy_renamed(pictures: Path, again: Path) -> None:
    """The same pictures and captions in the reverse order of their names."""
    again.mkdir()
    for number, path in enumerate(sorted(pictures.glob("*.png"), reverse=True)):
        shutil.copyfile(path, again / f"{number}.png")
        shutil.copyfile(path.with_suffix(".txt"), again / f"{number}.txt")


async def test_the_same_pictures_are_the_same_whatever_their_names(
    pictures: Path, tmp_path: Path, arithmetic: TrainerProcess
) -> None:
    agreed = await shared.described(arithmetic, pictures, "")
    again = tmp_path / "again"
    copy_renamed(pictures, again)
    await shared.check(arithmetic, again, agreed)
    (again / "0.txt").write_text("something else")
    with pytest.raises(TrustError, match="not what the room agreed"):
        await shared.check(arithmetic, again, agreed)
    (again / "0.png").unlink()
    with pytest.raises(TrustError):
        await shared.check(arithmetic, again, agreed)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no usable picture"):
        await shared.described(arithmetic, tmp_path / "empty", "")
    with pytest.raises(UsageError, match="--shared-note"):
        await shared.described(arithmetic, pictures, "x" * 201)


async def test_a_choice_that_cannot_be_read_is_said(pictures: Path, tmp_path: Path) -> None:
    choices = RoomChoices("club", shared=pictures)
    room = await found_room(
        Profile(tmp_path / "profile"), Identity.from_seed(b"x" * 32), "me", choices
    )
    for text in ("{", "[]", json.dumps({"place": "x"})):
        room.paths.shared.write_text(text)
        with pytest.raises(FedtuiError, match="damaged"):
            shared.chosen(room.paths)
