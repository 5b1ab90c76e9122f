"""The folder's screen: pictures left out and let in again, and the wall of all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_tui_hostile import ATTACKS, assert_harmless
from textual.pilot import Pilot
from tui_driver import settle, shown, strips, text, until
from tui_scenarios import ScriptedSource, landscape, training

from fedtui.errors import FedtuiError
from fedtui.tui.app import FedtuiApp
from fedtui.tui.look import Look
from fedtui.tui.side_histogram import histogram
from fedtui.tui.widgets.picturerow import Frame

NAMES = tuple(f"moon-{n}.png" for n in range(5))


class Folder:
    """Pictures on the disk, of which some are left out, as a node tells of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.out: set[str] = set()
        for number, name in enumerate(NAMES):
            landscape(root / name, number / 5)

    def check(self, folder: str) -> dict[str, Any]:
        told = [{"file": name, "caption": "a moon", "width": 64, "height": 64} for name in NAMES]
        kept = [each for each in told if each["file"] not in self.out]
        left = [{**each, "same_as": ""} for each in told if each["file"] in self.out]
        if left:
            left.append({**left[0], "file": "copy.png", "same_as": left[0]["file"]})
        return {
            "folder": str(self.root), "usable": len(kept), "pictures": kept, "problems": [],
            "left_out": left, "left_out_count": len(left), "agreed": 1_763_600_000,
            "trigger": "sks",
        }  # fmt: skip

    def exclude(self, folder: str, file: str, excluded: bool) -> dict[str, Any]:
        (self.out.add if excluded else self.out.discard)(file)
        return {"file": file, "excluded": excluded, "count": len(self.out)}


def answer(source: ScriptedSource, folder: Folder) -> None:
    source.answers |= {"check_folder": folder.check, "exclude_picture": folder.exclude}


async def opened(pilot: Pilot[None], app: FedtuiApp, title: str = "Files 5") -> None:
    await pilot.press("5")
    await until(pilot, lambda: title in text(app))
    await settle(pilot)


async def test_x_leaves_a_picture_out_and_lets_it_in_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    view = replace(training(tmp_path), dataset=str(tmp_path))
    async with shown(view, (120, 40)) as (pilot, app, source):
        answer(source, folder)
        await opened(pilot, app)
        for words in ("5 pictures will be trained", "you agreed", "sks, put before every"):
            assert words in text(app)
        await pilot.press("j", "x")
        await until(pilot, lambda: "– moon-1.png" in text(app))
        await until(pilot, lambda: "4 pictures will be trained" in text(app))
        assert "moon-1.png is left out" in text(app)
        assert "training begins" in text(app), "this machine trains on this very folder"
        assert (tmp_path / "moon-1.png").is_file()
        # The cursor stays with the picture; its copy goes with it.
        await pilot.press("k", "k", "k")
        await until(pilot, lambda: "left out, the same as moon-1.png" in text(app))
        app.clear_notifications()
        await pilot.press("x")
        await until(pilot, lambda: "x there lets" in text(app))
        await pilot.press("j", "j", "x")
        await until(pilot, lambda: "5 pictures will be trained" in text(app))
        assert "moon-1.png is in again" in text(app)
        asked = [arguments for name, arguments in source.done if name == "exclude_picture"]
        assert [(a["file"], a["excluded"]) for a in asked] == [
            ("moon-1.png", True),
            ("moon-1.png", False),
        ]


async def test_a_disk_that_refuses_is_told_and_x_works_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    async with shown(training(tmp_path), (80, 24)) as (pilot, app, source):
        answer(source, folder)
        source.answers["exclude_picture"] = FedtuiError("it stays", "the disk is full", "")
        await opened(pilot, app)
        await pilot.press("x")
        await until(pilot, lambda: "the disk is full" in text(app))
        answer(source, folder)
        await pilot.press("x")
        await until(pilot, lambda: "– moon-0.png" in text(app))


async def test_captions_come_from_file_names_after_a_question(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    named = [{"file": f"red_house ({n}).png", "caption": "red house"} for n in range(7)]
    async with shown(training(tmp_path), (80, 24)) as (pilot, app, source):
        answer(source, folder)
        source.answers["name_captions"] = {"captions": [], "missing": 0}
        await opened(pilot, app)
        await pilot.press("A")
        await until(pilot, lambda: "Every picture has one." in text(app))
        source.answers["name_captions"] = {"captions": named, "missing": 7}
        await pilot.press("A")
        await until(pilot, lambda: "Write 7 captions" in text(app))
        assert "red_house (0).png: red house" in text(app)
        assert "and 2 more" in text(app)
        await pilot.press("enter")  # No has the focus.
        await until(pilot, lambda: "Write 7 captions" not in text(app))
        await pilot.press("A")
        await until(pilot, lambda: "Write 7 captions" in text(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "7 captions written" in text(app))
        asked = [arguments["write"] for name, arguments in source.done if name == "name_captions"]
        assert asked == [False, False, False, True]


async def test_a_large_window_has_a_wall_of_all_pictures(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.out = {"moon-3.png"}
    async with shown(training(tmp_path), (200, 60)) as (pilot, app, source):
        answer(source, folder)
        await opened(pilot, app, "Files 6")
        frames = [frame for frame in app.screen.query(Frame) if frame.display]
        assert len(frames) == 6
        assert "– moon-3.png" in text(app)
        await pilot.click(frames[5])
        await until(pilot, lambda: "[moon-4.png]" in text(app))
        (tmp_path / "moon-4.png").unlink()
        app.screen.query_one("#files").focus()
        await pilot.press("k", "j")
        await settle(pilot)
        assert app.is_running
    async with shown(training(tmp_path), (120, 40)) as (pilot, app, source):
        answer(source, folder)
        await opened(pilot, app, "Files 6")
        assert not [frame for frame in app.screen.query(Frame) if frame.is_on_screen]


SIDES = {
    "resolution": 64, "by": "shorter side", "smaller": 3,
    "bins": [[32, 45, 1], [46, 63, 2], [64, 90, 0], [91, 127, 40], [128, 0, 1]],
}  # fmt: skip


async def test_a_large_window_shows_how_large_the_pictures_are(tmp_path: Path) -> None:
    told: dict[str, Any] = {**Folder(tmp_path).check(""), "usable": 44, "sides": SIDES}
    look = Look(characters="ascii")
    async with shown(training(tmp_path), (200, 60), look=look) as (pilot, app, source):
        source.answers["check_folder"] = told
        await opened(pilot, app)
        rows = [row.split("|") for row in text(app).splitlines() if "px" in row or " to " in row]
        read = [part.strip() for row in rows for part in row if "px" in part or " to " in part]
        read = [part for part in read if part and part[0] in "!0123456789-"]
        bins = [part.split("=")[0] + " " + part.split()[-1] for part in read if " to " in part]
        assert [each.split() for each in bins] == [
            ["!", "32", "to", "45", "1"], ["!", "46", "to", "63", "2"],
            ["64", "to", "90", "0", "0"], ["91", "to", "127", "40"],
        ]  # fmt: skip
        lengths = [part.count("=") for part in read if " to " in part]
        assert lengths == [1, 1, 0, max(lengths)], "something is never drawn as nothing"
        assert lengths[3] > 20
        mark = next(n for n, part in enumerate(read) if part.startswith("-- trained at 64 px --"))
        assert read[mark - 1].startswith("! 46")
        assert read[mark + 1].startswith("64 to")
        app.screen.query_one("#sizes").focus()
        await pilot.press("y")
        await until(pilot, lambda: "3 of 44 are smaller than 64 px and will be" in text(app))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_smaller_windows_say_it_in_a_line(tmp_path: Path, size: tuple[int, int]) -> None:
    told: dict[str, Any] = {**Folder(tmp_path).check(""), "sides": SIDES, "usable": 44}
    async with shown(training(tmp_path), size) as (pilot, app, source):
        source.answers["check_folder"] = told
        await opened(pilot, app)
        assert "3 of 44 are smaller than 64 px" in text(app)
        assert "trained at 64 px" not in text(app)


def test_sizes_are_told_only_where_they_are_known() -> None:
    def read(report: dict[str, Any] | None) -> str:
        return "\n".join("".join(part for part, _ in line) for line in histogram(report, 50))

    assert "shows here" in read(None)
    assert "shows here" in read({"usable": 0, "sides": {**SIDES, "smaller": 0, "bins": []}})
    assert "not known" in read({"usable": 3, "sides": None})
    assert "not known" in read({"usable": 3}), "a node of an earlier version"
    one = {"usable": 1, "sides": {**SIDES, "smaller": 0, "bins": [[64, 90, 1]]}}
    assert "none of 1 is smaller than 64 px" in read(one)
    assert read(one).index("trained at") < read(one).index("64 to 90")
    wide = {"usable": 1, "sides": {**SIDES, "by": "area", "smaller": 1, "bins": [[46, 63, 1]]}}
    assert "1 of 1 is smaller than a square of 64 px" in read(wide)
    assert read(wide).index("46 to 63") < read(wide).index("trained at")


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
async def test_no_name_of_a_picture_is_more_than_text(tmp_path: Path, attack: str) -> None:
    told = {"file": attack, "caption": attack, "width": 64, "height": 64}
    report = {
        "folder": str(tmp_path), "usable": 1, "pictures": [told], "problems": [],
        "left_out": [{**told, "file": f"{attack}2", "same_as": attack}], "left_out_count": 1,
        "agreed": 0, "trigger": attack,
    }  # fmt: skip
    look = Look(characters="ascii")
    async with shown(training(tmp_path), (200, 60), look=look) as (pilot, app, source):
        source.answers["check_folder"] = report
        source.answers["exclude_picture"] = {"file": attack, "excluded": True, "count": 1}
        await opened(pilot, app, "Files 2")
        for keys in (("j",), ("k", "x"), ("j", "x")):
            await pilot.press(*keys)
            await pilot.pause()
            assert_harmless(strips(app))
            assert all(row.cell_length == 200 for row in strips(app))
