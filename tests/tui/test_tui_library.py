"""The library's keys: take in, mark and merge, delete after a question, base models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_tui_hostile import ATTACKS, assert_harmless
from test_tui_snapshots import ANSWERS
from textual.pilot import Pilot
from textual.widgets import Button, Input
from tui_driver import shown, strips, text, until
from tui_scenarios import ScriptedSource, several_rounds, training

from fedtui.errors import FedtuiError, UsageError
from fedtui.tui.app import FedtuiApp
from fedtui.tui.look import Look
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.merging import MergingScreen, thousandths
from fedtui.tui.screens.taking import TakingScreen, unquoted

MINE = {
    "path": "/shelf/mine.safetensors",
    "name": "mine",
    "kind": "file",
    "round": 0,
    "bytes": 9_000,
    "modified": "2026-11-20 11:00",
}


@pytest.fixture
def answers() -> dict[str, Any]:
    """A shelf with two rounds and a file, which goes away when it is deleted."""
    rounds = ANSWERS["list_adapters"]["adapters"][:2]
    adapters = [*rounds, MINE]

    def delete(path: str) -> dict[str, Any]:
        adapters[:] = [each for each in adapters if each["path"] != path]
        return {"path": path, "name": "mine"}

    listed = {"list_adapters": lambda: {"shelf": "/shelf", "adapters": adapters}}
    return {**ANSWERS, **listed, "delete_adapter": delete}


async def opened(pilot: Pilot[None], app: FedtuiApp, *keys: str) -> None:
    await pilot.press("7")
    await until(pilot, lambda: "round 4" in text(app) or "land here" in text(app))
    await pilot.press(*keys)
    await pilot.pause()


def asked(source: ScriptedSource, operation: str) -> Iterator[dict[str, Any]]:
    return (arguments for name, arguments in source.done if name == operation)


async def test_a_file_is_taken_in_and_shown(folder: Path, answers: dict[str, Any]) -> None:
    async with shown(training(folder), (80, 24)) as (pilot, app, source):
        source.answers |= answers
        source.answers["import_adapter"] = {
            "path": MINE["path"], "name": "mine", "title": "kohya", "modules": 144,
            "ignored": ["a", "b"], "new": True,
        }  # fmt: skip
        await opened(pilot, app, "i")
        await until(pilot, lambda: isinstance(app.screen, TakingScreen))
        await pilot.press("escape", "i")
        await until(pilot, lambda: isinstance(app.screen, TakingScreen))
        app.screen.query_one(Input).value = "'/tmp/my style.safetensors'"
        await pilot.press("enter")
        await until(pilot, lambda: "mine is on the shelf" in text(app))
        assert "2 tensors of" in text(app)
        assert list(asked(source, "import_adapter")) == [{"path": "/tmp/my style.safetensors"}]
        await until(pilot, lambda: "a file on the shelf" in text(app))


async def test_a_wrong_file_is_refused_in_the_nodes_words(
    folder: Path, answers: dict[str, Any]
) -> None:
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        source.answers |= answers
        source.answers["import_adapter"] = UsageError(
            "this adapter belongs to another base model",
            "0 of its 144 modules are in tiny-landscapes; it was made for Stable Diffusion 1.5",
            "take one that was trained on tiny-landscapes",
        )
        await opened(pilot, app, "i", *"x", "enter")
        await until(pilot, lambda: "belongs to another base model" in text(app))
        assert "it was made" in text(app)


async def test_marked_adapters_are_merged_with_their_weights(
    folder: Path, answers: dict[str, Any]
) -> None:
    async with shown(several_rounds(folder), (120, 40)) as (pilot, app, source):
        source.answers |= answers
        source.answers["merge_adapters"] = {
            "path": MINE["path"], "name": "both", "rank": 16, "modules": 144,
            "weights": [0.75, 0.25],
        }  # fmt: skip
        await opened(pilot, app, "m")
        await until(pilot, lambda: "Mark two or more" in text(app))
        await pilot.press("space", "space", "space", "space")
        await until(pilot, lambda: "2 marked" in text(app))
        assert text(app).count("✓ ") == 2
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, MergingScreen))
        first, second, name = app.screen.query(Input)
        for wrong in ("0", "-1", "nan", "1e99", "much"):
            first.value = wrong
            app.screen.query_one("#yes", Button).press()
            await until(pilot, lambda: app.focused is first)
            assert "a number from 0.001" in text(app)
        first.value, second.value, name.value = "1,5", "0.5", ""
        app.screen.query_one("#yes", Button).press()
        await until(pilot, lambda: "needs a name" in text(app))
        assert not list(asked(source, "merge_adapters"))
        name.value = "both"
        app.screen.query_one("#yes", Button).press()
        await until(pilot, lambda: "both is on the shelf" in text(app))
        files = [
            {"path": f"/room/adapters/round-000{number}.safetensors", "weight": weight}
            for number, weight in ((4, 1500), (3, 500))
        ]
        assert list(asked(source, "merge_adapters")) == [{"files": files, "new_name": "both"}]
        assert "75%, 25%" in text(app)
        assert "marked" not in text(app)


async def test_deleting_asks_first_and_keeps_what_the_next_round_needs(
    folder: Path, answers: dict[str, Any]
) -> None:
    async with shown(several_rounds(folder), (120, 40)) as (pilot, app, source):
        source.answers |= answers
        await opened(pilot, app, "x")
        await until(pilot, lambda: "Round 4 is needed" in text(app))
        assert not isinstance(app.screen, ConfirmScreen)
        await pilot.press("j", "x")
        await until(pilot, lambda: "The round stays decided" in text(app))
        await pilot.press("enter")  # No has the focus.
        await until(pilot, lambda: not isinstance(app.screen, ConfirmScreen))
        assert not list(asked(source, "delete_adapter"))
        await pilot.press("j", "x")
        await until(pilot, lambda: "gone for good" in text(app))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "mine is deleted" in text(app))
        assert list(asked(source, "delete_adapter")) == [{"path": MINE["path"]}]
        await until(pilot, lambda: "Adapters 2" in text(app))
        source.answers["delete_adapter"] = FedtuiError("it cannot be deleted", "read-only", "see")
        await pilot.press("x", "right", "enter")
        await until(pilot, lambda: "read-only" in text(app))


async def test_h_copies_the_whole_hash_and_shows_it(folder: Path, answers: dict[str, Any]) -> None:
    bare = several_rounds(folder)
    commits = tuple(replace(each, result=f"{each.round:064x}") for each in bare.commits)
    async with shown(replace(bare, commits=commits), (80, 24)) as (pilot, app, source):
        source.answers |= answers
        source.answers["hash_adapter"] = lambda path: {"path": path, "sha256": commits[3].result}
        await opened(pilot, app, "h")
        await until(pilot, lambda: app.clipboard == commits[3].result)
        await until(pilot, lambda: "Copied the SHA-256 of round 4" in text(app))
        assert commits[3].result in [told.message for told in app._notifications]
        assert list(asked(source, "hash_adapter")) == [
            {"path": "/room/adapters/round-0004.safetensors"}
        ]
        await until(pilot, lambda: "what the room agreed on" in text(app))
        assert "damaged" not in text(app)
        app.clear_notifications()
        await pilot.press("j", "h")
        await until(pilot, lambda: "round 3 is damaged" in text(app))
        source.answers["hash_adapter"] = FedtuiError("mine cannot be read", "permission denied", "")
        await pilot.press("j", "h")
        await until(pilot, lambda: "permission denied" in text(app))


async def test_h_copies_the_hash_of_a_base_model(folder: Path, answers: dict[str, Any]) -> None:
    model = ANSWERS["list_models"]["models"][0]
    cut = {**model, "source": "owner/name", "folder": "/y", "sha256": "", "here": False}
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        source.answers |= answers
        source.answers["list_models"] = {"store": "/models", "models": [model, cut]}
        await opened(pilot, app, "b")
        await until(pilot, lambda: "Base models 2" in text(app))
        await pilot.press("h")
        await until(pilot, lambda: app.clipboard == model["sha256"])
        assert "Copied the SHA-256 of tiny-landscapes" in text(app)
        await pilot.press("j", "h")
        await until(pilot, lambda: "hash of this model is not known" in text(app))


async def test_base_models_take_the_lists_place(folder: Path, answers: dict[str, Any]) -> None:
    model = ANSWERS["list_models"]["models"][0]
    cut = {**model, "source": "owner/name", "folder": "/y", "unfinished": True, "here": False}
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        source.answers |= answers
        source.answers["list_models"] = {"store": "/models", "models": [model, cut]}
        await opened(pilot, app, "b")
        await until(pilot, lambda: "Base models 2" in text(app))
        assert "● this room trains on it" in text(app)
        assert "6f705a29" in text(app)
        await pilot.press("x", "m", "s")
        assert not source.done[-1][0].startswith(("delete", "merge", "stop"))
        await pilot.press("j")
        await until(pilot, lambda: "i goes on where it ended" in " ".join(text(app).split()))
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard == "/y")
        await pilot.press("escape")
        await until(pilot, lambda: "Adapters 3" in text(app))


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
async def test_no_name_of_a_file_or_a_model_is_more_than_text(
    folder: Path, answers: dict[str, Any], attack: str
) -> None:
    rows = [{**MINE, "name": attack, "path": f"/shelf/{n}{attack}"} for n in range(2)]
    model = {**ANSWERS["list_models"]["models"][0], "name": attack, "source": attack}
    model |= {"family": attack, "folder": attack, "sha256": attack, "unfinished": True}
    report = {
        "title": attack, "ranks": {attack: 1}, "matching": 1, "modules": 1, "ignored": [attack],
        "metadata": {attack: attack}, "path": rows[0]["path"],
    }  # fmt: skip
    async with shown(training(folder), (80, 24), look=Look(characters="ascii")) as shown_app:
        pilot, app, source = shown_app
        source.answers |= answers
        source.answers["list_adapters"] = {"shelf": attack, "adapters": rows}
        source.answers["list_models"] = {"store": attack, "models": [model]}
        source.answers["inspect_adapter"] = report
        source.answers["hash_adapter"] = {"path": rows[0]["path"], "sha256": attack}
        await pilot.press("7")
        await until(pilot, lambda: "Adapters 2" in text(app))
        for keys in (
            ("enter",),
            ("h",),
            ("y",),
            ("d",),
            ("escape", "space", "space", "m"),
            ("escape", "x"),
            ("escape", "b"),
        ):
            await pilot.press(*keys)
            await pilot.pause()
            assert_harmless(strips(app))
            assert all(row.cell_length == 80 for row in strips(app))


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        (" /a/b.safetensors ", "/a/b.safetensors"),
        ("'/a/my file'", "/a/my file"),
        ('"/a/my file"', "/a/my file"),
        ("/a/my\\ file", "/a/my file"),
        ("file:///a/my%20file", "/a/my file"),
        ("", ""),
        ("'", "'"),
    ],
)
def test_a_dropped_file_is_understood(typed: str, path: str) -> None:
    assert unquoted(typed) == path


def test_weights_are_positive_numbers() -> None:
    found = [thousandths(text) for text in ("1", " 0,5", "0.0001", "1000", "1001", "inf", "x")]
    assert found == [1000, 500, 0, 1_000_000, 0, 0, 0]
