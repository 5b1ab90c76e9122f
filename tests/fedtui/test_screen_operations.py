"""What screens ask of a node, with a real torch-free worker: grids, logs, folders, adapters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from fedtui.control.operations import Operations
from fedtui.errors import FedtuiError, UsageError
from fedtui.library import Library
from fedtui.material import Material
from fedtui.paths import Profile
from fedtui.rooms import chosen_folder
from fedtui.showing import Showing
from fedtui.training import TrainerProcess
from fedtui.view import PreviewView
from trainer.protocol import DataOptions


@dataclass
class Rig:
    """The operations of a node without the node."""

    profile: Profile
    operations: Operations
    previews: list[PreviewView] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def do(self, name: str, **arguments: Any) -> dict[str, Any]:
        return await self.operations.run(name, arguments)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    profile = Profile(tmp_path / "profile")
    profile.create()
    made = Rig(profile, Operations())
    arithmetic = TrainerProcess("arithmetic")
    paths = profile.room("r")
    made.events = [{"seq": n, "ts": 1.0, "node": "me", "type": "node.ready"} for n in (1, 2, 3)]
    Showing(
        profile,
        paths,
        arithmetic,
        previews=lambda: made.previews,
        events=lambda after: [event for event in made.events if event["seq"] > after],
        name_of=str,
    ).offer(made.operations)
    room: Any = SimpleNamespace(paths=paths, task=SimpleNamespace(model="tiny-landscapes"))
    Library(room, arithmetic, profile.shelf).offer(made.operations)

    async def use(folder: str) -> None:
        made.used.append(folder)

    Material(profile, arithmetic, fixed=False, resolution=64, use=use).offer(made.operations)
    yield made
    await arithmetic.stop()


def picture(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (90, 120, 200)).save(path)
    return str(path)


async def test_all_previews_become_one_labelled_picture(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(FedtuiError, match="no pictures yet"):
        await rig.do("export_grid")
    for number in (0, 1, 2):
        path = picture(tmp_path / f"r{number}.png")
        rig.previews.append(PreviewView(number, "a house", 7, path))
    grid = Path((await rig.do("export_grid"))["path"])
    with Image.open(grid) as image:
        assert image.width > 3 * 64
    rows = [[path, path] for path in (rig.previews[0].path,)]
    sheet = await rig.do("export_sheet", columns=["a", "b"], labels=["x"], pictures=rows)
    with Image.open(sheet["path"]) as image:
        assert image.width > 2 * 64
    with pytest.raises(UsageError):
        await rig.do("export_sheet", columns=["a"], labels=[], pictures=rows)


async def test_a_log_is_read_from_its_end_on_and_after_a_rotation(rig: Rig) -> None:
    log = rig.profile.log
    log.write_text("2026-11-20T10:00:00Z WARNING disk is full\nhalf a li")
    first = await rig.do("read_log", source="node")
    assert first["lines"] == [["10:00:00", "warning", "disk is full"]]
    with log.open("a") as file:
        file.write(
            "ne\n" + json.dumps({"ts": 0, "level": "error", "message": "x", "logger": "l"}) + "\n"
        )
    second = await rig.do("read_log", source="node", after=first["next"])
    assert [line[1:] for line in second["lines"]] == [["info", "half a line"], ["error", "x"]]
    assert [told and told["logger"] for told in second["fields"]] == [None, "l"]
    log.write_text("new\n")
    assert (await rig.do("read_log", source="node", after=second["next"]))["lines"] == [
        ["", "info", "new"]
    ]
    assert (await rig.do("read_log", source="trainer"))["lines"] == []
    events = await rig.do("read_log", source="events", after=1)
    assert len(events["lines"]) == 2
    assert [told["seq"] for told in events["fields"]] == [2, 3]
    rig.events += [{"seq": n, "ts": 1.0, "node": "me", "type": "node.ready"} for n in range(4, 900)]
    chunk = await rig.do("read_log", source="events")
    rest = await rig.do("read_log", source="events", after=chunk["next"])
    read = [told["seq"] for told in (*chunk["fields"], *rest["fields"])]
    assert read == [event["seq"] for event in rig.events]
    with pytest.raises(UsageError, match="source"):
        await rig.do("read_log", source="/etc/passwd")


async def test_a_folder_is_used_only_after_somebody_agreed(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "cats"
    picture(folder / "one.png")
    (folder / "one.txt").write_text("a cat")
    (folder / "broken.png").write_bytes(b"no")
    report = await rig.do("check_folder", folder=str(folder))
    assert report["usable"] == 1
    assert [each["file"] for each in report["problems"] if each["fatal"]] == ["broken.png"]
    with pytest.raises(UsageError, match="nobody has agreed"):
        await rig.do("choose_folder", folder=str(folder), agreed=False)
    with pytest.raises(UsageError, match="no folder"):
        await rig.do("choose_folder", folder=str(folder / "x"), agreed=True)
    assert not rig.used
    await rig.do("choose_folder", folder=str(folder), agreed=True)
    assert rig.used == [str(folder)]
    assert chosen_folder(rig.profile) == str(folder)


async def test_a_folder_is_measured_by_the_size_the_room_trains_at(
    rig: Rig, tmp_path: Path
) -> None:
    async def never(folder: str) -> None:
        raise AssertionError(folder)

    folder = tmp_path / "cats"
    for number, size in enumerate([(48, 200), (64, 64), (90, 70)]):
        picture(folder / f"{number}.png")
        Image.new("RGB", size, (number, 0, 0)).save(folder / f"{number}.png")

    async def seen(model: str, **room: bool) -> dict[str, Any]:
        arithmetic, operations = TrainerProcess("arithmetic"), Operations()
        options = DataOptions(**room)  # type: ignore[arg-type]
        Material(
            rig.profile, arithmetic, fixed=False, resolution=0, model=model, options=options,
            use=never,
        ).offer(operations)  # fmt: skip
        try:
            return await operations.run("check_folder", {"folder": str(folder)})
        finally:
            await arithmetic.stop()

    report = await seen("tiny-landscapes")
    assert (report["sides"]["resolution"], report["sides"]["smaller"]) == (64, 1)
    report = await seen("tiny-landscapes", buckets=True)
    assert (report["sides"]["by"], report["sides"]["smaller"]) == ("area", 0)
    report = await seen("nobody/has-this-model")
    assert report["sides"] is None
    assert report["usable"] == 3
    assert not any("enlarged" in each["problem"] for each in report["problems"])


async def test_a_folder_of_the_settings_is_not_overruled(rig: Rig, tmp_path: Path) -> None:
    async def never(folder: str) -> None:
        raise AssertionError(folder)

    operations = Operations()
    material = Material(
        rig.profile, TrainerProcess("arithmetic"), fixed=True, resolution=64, use=never
    )
    material.offer(operations)
    with pytest.raises(UsageError, match="set in the settings"):
        await operations.run("choose_folder", {"folder": str(tmp_path), "agreed": True})


async def test_the_shelf_lists_what_lies_on_it(rig: Rig) -> None:
    assert (await rig.do("list_adapters"))["adapters"] == []
    adapters = rig.profile.room("r").adapters
    for folder, name in ((adapters, "round-0002"), (rig.profile.shelf, "mine")):
        folder.mkdir(parents=True)
        (folder / f"{name}.safetensors").write_bytes(b"x" * 10)
    listed = (await rig.do("list_adapters"))["adapters"]
    assert [(each["name"], each["kind"], each["bytes"]) for each in listed] == [
        ("round 2", "round", 10),
        ("mine", "file", 10),
    ]
    with pytest.raises(UsageError, match="no file"):
        await rig.do("inspect_adapter", path="/nowhere")
    with pytest.raises(FedtuiError):
        await rig.do("inspect_adapter", path=listed[1]["path"])
    path = listed[1]["path"]
    hashed = await rig.do("hash_adapter", path=path)
    assert hashed == {"path": path, "sha256": hashlib.sha256(b"x" * 10).hexdigest()}
    with pytest.raises(UsageError, match="no file"):
        await rig.do("hash_adapter", path="/nowhere")
    with pytest.raises(UsageError, match="round 7 has no adapter"):
        await rig.do("export_adapter", round=7)


async def test_a_caption_is_read_by_the_next_look_at_the_folder(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    picture(folder / "one.png")
    assert (await rig.do("check_folder", folder=str(folder)))["pictures"][0]["caption"] == ""
    written = await rig.do("write_caption", folder=str(folder), file="one.png", caption="a cat")
    assert written == {"file": "one.png", "before": None}
    assert (await rig.do("check_folder", folder=str(folder)))["pictures"][0]["caption"] == "a cat"
