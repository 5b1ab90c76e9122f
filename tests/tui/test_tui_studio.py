"""Studio, data and library: what a person chooses becomes what the node is asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input
from tui_driver import settle, shown, text, until
from tui_scenarios import COMMIT, PROMPTS, ScriptedSource, training

from fedtui.errors import FedtuiError
from fedtui.grid import parsed
from fedtui.tui.screens.consent import ConsentScreen
from fedtui.tui.screens.data import DataScreen
from fedtui.tui.screens.studio import StudioScreen, job_lines, short
from fedtui.tui.studio_plan import Slot, Wanted, WrongSetting, axis, pasted_weights, planned
from fedtui.tui.widgets.picturerow import Frame
from fedtui.tui.widgets.table import Table
from fedtui.view import NodeView

RACK = (
    Slot("round 2", round=2, on=True),
    Slot("round 1", round=1),
    Slot("mine", "/x/mine.safetensors"),
)
WANTED = Wanted(prompt="a house", seed="5")


def with_rounds(folder: Path) -> NodeView:
    return replace(
        training(folder), commits=tuple(replace(COMMIT, round=number) for number in (1, 2))
    )


def test_a_plain_drawing_uses_the_adapters_that_are_on() -> None:
    made = planned(WANTED, RACK).arguments
    assert made["prompts"] == ["a house"]
    assert made["seeds"] == [5]
    assert made["adapters"] == [{"path": "", "round": 2, "weight": 1.0}]
    assert made["grid"] == []


def test_seeds_count_on_and_are_named() -> None:
    made = planned(replace(WANTED, count="3", seed=str(2**64 - 2)), RACK)
    assert made.arguments["seeds"] == [2**64 - 2, 2**64 - 1, 0]
    assert made.labels[2] == "seed 0"


def test_a_grid_is_what_was_typed_and_has_one_picture_in_each_place() -> None:
    typed = replace(WANTED, across=" cfg=1,3 ", down="steps=5:20:4")
    assert planned(typed, RACK).arguments["grid"] == ["cfg=1,3", "steps=5:20:4"]
    assert planned(replace(typed, across=""), RACK).arguments["grid"] == ["steps=5:20:4"]
    with pytest.raises(WrongSetting, match="set count to 1"):
        planned(replace(typed, count="2"), RACK)


@pytest.mark.parametrize(
    ("kind", "chosen", "expected"),
    [
        ("", 0, ""),
        ("seed", 0, "seed=5,6,7,8"),
        ("weight", 0, "lora1=0:1.25:6"),
        ("weight", 1, ""),
        ("weight", 9, ""),
        ("round", 0, "round=0,1,2"),
        ("cfg", 0, "cfg=1,3,5,8"),
        ("steps", 0, "steps=5,10,20,40"),
    ],
)
def test_the_offered_axes_can_be_drawn(kind: str, chosen: int, expected: str) -> None:
    offered = axis(kind, WANTED, RACK, chosen)
    assert offered == expected
    if offered:
        assert 2 <= len(parsed(offered, 1).values) <= 6


def test_few_of_many_rounds_are_offered_with_both_ends() -> None:
    many = tuple(Slot(f"round {n}", round=n) for n in range(1, 41))
    values = parsed(axis("round", WANTED, many, 0), 0).values
    assert len(values) == 6
    assert {values[0], values[1], values[-1]} == {0, 1, 40}


def test_a_pasted_lora_is_taken_out_of_the_prompt() -> None:
    assert pasted_weights("a house, <lora:mine:0.8>") == ("a house", {"mine": 0.8})
    made = planned(replace(WANTED, prompt="x <lora:mine:0.8>"), RACK).arguments
    assert {"path": "/x/mine.safetensors", "round": 0, "weight": 0.8} in made["adapters"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "  "},
        {"seed": "-1"},
        {"seed": str(2**64)},
        {"steps": "0"},
        {"steps": "many"},
        {"cfg": "nan"},
        {"cfg": "99"},
        {"size": "63x64"},
        {"size": "64x64x64"},
        {"count": "17"},
    ],
)
def test_what_makes_no_sense_is_said_before_it_is_asked(wrong: dict[str, str]) -> None:
    with pytest.raises(WrongSetting):
        planned(replace(WANTED, **wrong), RACK)  # type: ignore[arg-type]


def test_a_pasted_book_is_cut() -> None:
    made = planned(replace(WANTED, prompt="x" * 1_000_000), RACK).arguments
    assert len(made["prompts"][0]) == 2000


class Easel:
    """A node that draws: jobs wait once, draw while ``holding``, and are finished then."""

    holding = False

    def __init__(self, source: ScriptedSource, picture: str) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.picture = picture
        source.answers |= {
            "generate": self.generate,
            "generations": self.generations,
            "cancel_generation": lambda **_: {"cancelled": True},
            "export_sheet": {"path": "/x/sheet.png"},
        }

    def generate(self, **asked: Any) -> dict[str, Any]:
        job = {
            "id": len(self.jobs) + 1,
            "state": "waiting",
            "prompt": asked["prompts"][0],
            "pictures": 1,
            "step": 0,
            "steps": 20,
            "preview": "",
            "paths": [],
            "error": "",
        }
        self.jobs.append(job)
        return {"id": job["id"], "pictures": 1, "waiting": 0}

    def generations(self) -> dict[str, Any]:
        jobs = [dict(job) for job in self.jobs]
        for job in self.jobs:
            if job["state"] == "waiting":
                job |= {"state": "drawing", "step": 9, "preview": self.picture}
            elif job["state"] == "drawing" and job["id"] < 3 and not self.holding:
                job |= {"state": "finished", "paths": [self.picture], "preview": ""}
        return {"jobs": jobs}


async def test_the_studio_draws_shows_and_redraws_when_a_weight_changes(folder: Path) -> None:
    view = with_rounds(folder)
    async with shown(view) as (pilot, app, source):
        easel = Easel(source, view.previews[0].path)
        await pilot.press("6")
        await until(pilot, lambda: isinstance(app.screen, StudioScreen))
        assert isinstance(app.screen, StudioScreen)
        assert PROMPTS[0][0][:20] in text(app)
        easel.holding = True
        await pilot.press("f5")
        await until(pilot, lambda: "step 9 of 20" in text(app))
        easel.holding = False
        await until(pilot, lambda: "✓ 1 drawn" in text(app))
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: len(easel.jobs) == 2)
        asked = [arguments for name, arguments in source.done if name == "generate"]
        assert asked[1]["adapters"] == [{"path": "", "round": 2, "weight": 1.05}]
        assert asked[1]["seeds"] == asked[0]["seeds"]
        await until(pilot, lambda: "2 of 2" in text(app))
        await pilot.press("less_than_sign")
        await until(pilot, lambda: "1 of 2" in text(app))
        await pilot.press("e")
        await until(pilot, lambda: app.clipboard == "/x/sheet.png")
        await pilot.press("f6")
        await until(pilot, lambda: len(easel.jobs) == 3)
        await pilot.press("f7", "f8")
        await until(pilot, lambda: any(name == "cancel_generation" for name, _ in source.done))


async def test_a_grid_is_offered_drawn_marked_and_saved_with_its_labels(folder: Path) -> None:
    view = with_rounds(folder)
    paths = [preview.path for preview in view.previews[:6]]
    job = {
        "id": 1,
        "state": "finished",
        "prompt": "a house",
        "pictures": 6,
        "step": 6,
        "steps": 6,
        "preview": "",
        "paths": paths,
        "error": "",
        "columns": ["round 0", "round 1", "round 2"],
        "rows": ["cfg 1", "cfg 3"],
    }
    async with shown(view) as (pilot, app, source):
        source.answers |= {
            "generate": {"id": 1, "pictures": 6, "waiting": 0},
            "generations": {"jobs": [job]},
            "export_sheet": {"path": "/x/sheet.png"},
        }
        await pilot.press("6", "v")
        fields = {
            name: app.screen.query_one(f"#field-{name}", Input) for name in ("across", "down")
        }
        await until(pilot, lambda: fields["across"].value.startswith("seed="))
        await pilot.press("v", "v", "V", "V", "V")
        await until(pilot, lambda: fields["down"].value.startswith("cfg="))
        assert fields["across"].value == "round=0,1,2"
        await pilot.press("f5")
        await until(pilot, lambda: "1 · 3" in text(app) and "round 0, cfg 1" in text(app))
        asked = next(arguments for name, arguments in source.done if name == "generate")
        assert asked["grid"] == ["round=0,1,2", "cfg=1,3,5,8"]
        await settle(pilot)
        frames = [each for each in app.screen.query(Frame) if each.has_class("-shown")]
        assert len(frames) == 6
        assert len({each.region.y for each in frames}) == 2, "three columns as in the grid"
        await pilot.press("right", "right", "y")
        await until(pilot, lambda: "round 2, cfg 1" in text(app))
        await until(pilot, lambda: app.clipboard == paths[2])
        await pilot.press("e")
        await until(pilot, lambda: app.clipboard == "/x/sheet.png")
        assert source.done[-1] == (
            "export_sheet",
            {
                "columns": ["round 0", "round 1", "round 2"],
                "labels": ["cfg 1", "cfg 3"],
                "pictures": [paths[:3], paths[3:]],
            },
        )
        await pilot.press("f7")
        await until(pilot, lambda: "settings are those of the pictures" in text(app))


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (
            {"state": "waiting", "wait_s": 125.0, "draw_s": 61.0},
            "○ waits about 2:05, then draws about 1:01",
        ),
        ({"state": "waiting", "wait_s": None, "draw_s": None}, "○ waits"),
        ({"state": "drawing", "draw_s": 30.0}, "● step 3 of 9 about 0:30 left"),
        ({"state": "drawing", "draw_s": None}, "● step 3 of 9"),
    ],
)  # fmt: skip
def test_an_estimate_is_told_only_where_there_is_one(job: dict[str, Any], words: str) -> None:
    first, _ = job_lines({"step": 3, "steps": 9, "prompt": "x", "paths": [], **job}, 1, 0, "")
    assert words == "".join(text for text, _ in first)


async def test_the_studio_says_what_is_wrong_and_keeps_what_was_typed(folder: Path) -> None:
    async with shown(with_rounds(folder), (80, 24)) as (pilot, app, source):
        source.answers["generate"] = FedtuiError("no memory", "512x512 is large", "try 256x256")
        await pilot.press("6", "p")
        await pilot.pause()
        field = app.screen.query_one("#field-prompt", Input)
        assert field.has_focus
        field.value = ""
        await pilot.press("enter")
        await until(pilot, lambda: "The prompt is empty" in text(app))
        field.value = "a boat"
        await pilot.press("enter")
        await until(pilot, lambda: "try 256x256" in text(app))
        assert field.value == "a boat"
        await pilot.press("escape", "escape")
        await until(pilot, lambda: app.current_mode == "dash")


def report(folder: Path, usable: int = 18) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "usable": usable,
        "pictures": [
            {"file": "r0-0.png", "caption": "[b]night[/b]", "width": 64, "height": 64},
        ],
        "problems": [
            {"file": "bad.png", "problem": "cannot be read", "remedy": "remove it", "fatal": True}
        ],
        "captions": {},
    }


async def test_a_folder_is_looked_at_agreed_to_and_chosen(folder: Path) -> None:
    async with shown(training(folder)) as (pilot, app, source):
        source.answers |= {"check_folder": report(folder), "choose_folder": {"folder": "/pics"}}
        await pilot.press("5")
        await until(pilot, lambda: "18 pictures will be trained" in text(app))
        assert "cannot be read. remove it" in " ".join(text(app).split())
        await pilot.press("j")
        await settle(pilot)
        assert "[b]night[/b]" in text(app)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, ConsentScreen))
        assert isinstance(app.screen, ConsentScreen)
        said = " ".join(text(app).split())
        assert "Leaves this machine" in said
        assert "An adapter can give away" in said
        await pilot.press("enter")
        await pilot.pause()
        assert not [name for name, _ in source.done if name == "choose_folder"]
        await pilot.press("t", "right", "enter")
        await until(pilot, lambda: "Training on /pics" in text(app))
        assert ("choose_folder", {"folder": str(folder), "agreed": True}) in source.done


async def test_a_caption_is_written_and_taken_back(folder: Path) -> None:
    captions = {"r0-0.png": "night"}

    def check(**_: object) -> dict[str, object]:
        listed = [{"file": f, "caption": c, "width": 64, "height": 64} for f, c in captions.items()]
        return {"folder": str(folder), "usable": 1, "pictures": listed, "problems": []}

    def write(folder: str, file: str, caption: str) -> dict[str, object]:
        before, captions[file] = captions[file], caption
        return {"file": file, "before": before}

    async with shown(training(folder)) as (pilot, app, source):
        source.answers |= {"check_folder": check, "write_caption": write}
        await pilot.press("5")
        await until(pilot, lambda: "c writes its caption" in text(app))
        await pilot.press("u")
        await until(pilot, lambda: "No caption was written here yet" in text(app))
        await pilot.press("c", *"nope", "escape")
        await until(pilot, lambda: app.focused is app.screen.query_one(Table))
        await pilot.press("c")
        await until(pilot, lambda: "Caption of r0-0.png" in text(app))
        await pilot.press(*" and day", "enter")
        await until(pilot, lambda: "Kept beside r0-0.png" in text(app))
        assert captions == {"r0-0.png": "night and day"}
        await until(pilot, lambda: "night and day" in text(app))
        await pilot.press("u")
        await until(pilot, lambda: captions == {"r0-0.png": "night"})
        await until(pilot, lambda: "night and day" not in text(app))


async def test_a_caption_is_taken_back_once_however_often_the_key_is_pressed(folder: Path) -> None:
    answered = asyncio.Event()
    answered.set()
    picture = {"file": "r0-0.png", "caption": "night", "width": 64, "height": 64}

    async def write(folder: str, file: str, caption: str) -> dict[str, object]:
        await answered.wait()
        return {"file": file, "before": "night"}

    async with shown(training(folder)) as (pilot, app, source):
        source.answers |= {
            "check_folder": {"folder": str(folder), "pictures": [picture], "usable": 1},
            "write_caption": write,
        }

        def asked() -> list[str]:
            return [told["caption"] for name, told in source.done if name == "write_caption"]

        await pilot.press("5")
        for count in (1, 2):
            await until(pilot, lambda: "c writes its caption" in text(app))
            await pilot.press("c", "!", "enter")
            await until(pilot, lambda n=count: len(app.screen._written) == n)  # type: ignore[misc]
        answered.clear()
        await pilot.press("u", "u", "c")
        await until(pilot, lambda: len(asked()) > 2)
        assert not app.screen.query_one("#caption").has_class("-shown")
        answered.set()
        await until(pilot, lambda: "is as it was" in text(app))
        assert asked() == ["night!", "night!", "night"]
        assert isinstance(app.screen, DataScreen)
        assert len(app.screen._written) == 1


async def test_a_folder_that_is_not_there_is_told(folder: Path) -> None:
    async with shown(replace(training(folder), dataset="")) as (pilot, app, source):
        source.answers["check_folder"] = FedtuiError("there is no folder /nowhere", "", "type one")
        await pilot.press("5")
        await pilot.pause()
        assert "They never leave this machine" in " ".join(text(app).split())
        await pilot.press("t")
        await until(pilot, lambda: "Choose a folder first" in text(app))
        await pilot.press("o", *"nowhere", "enter")
        await until(pilot, lambda: "there is no folder /nowhere" in text(app))


async def test_the_library_inspects_exports_and_hands_to_the_studio(folder: Path) -> None:
    adapter = {
        "path": "/x/round-2.safetensors",
        "name": "round 2",
        "kind": "round",
        "round": 2,
        "bytes": 465_123,
        "modified": "2026-11-20 10:00",
    }
    facts = {
        "title": "kohya",
        "ranks": {"8": 20},
        "matching": 20,
        "modules": 20,
        "ignored": [],
        "metadata": {"fedtui_room_name": "[bold]x"},
        "path": adapter["path"],
    }
    async with shown(with_rounds(folder)) as (pilot, app, source):
        source.answers |= {
            "list_adapters": {"adapters": [adapter], "shelf": "/x"},
            "inspect_adapter": facts,
            "export_adapter": {"path": "/x/export.safetensors"},
        }
        await pilot.press("7")
        await until(pilot, lambda: "● round 2" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "20 of 20 modules" in text(app))
        assert "[bold]x" in text(app)
        await pilot.press("e")
        await until(pilot, lambda: app.clipboard == "/x/export.safetensors")
        assert ("export_adapter", {"round": 2, "format": "kohya"}) in source.done
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, StudioScreen))
        assert isinstance(app.screen, StudioScreen)
        assert app.screen.rack.selected == Slot("round 2", round=2, on=True)


def test_labels_of_a_table_are_its_values() -> None:
    assert short("round 3, cfg 4.5") == "3 · 4.5"
    assert short("lora2 0.25, seed 18446744073709551615") == "0.25 · 18446744073709551615"
    assert short("a round 3 house, cfg 4") == "a round 3 house · 4"
