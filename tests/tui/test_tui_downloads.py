"""Downloading a base model on the library's screen: its size, its progress, its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_tui_hostile import ATTACKS, assert_harmless
from test_tui_snapshots import ANSWERS
from textual.pilot import Pilot
from textual.widgets import Input
from tui_driver import bottom, shown, strips, text, until
from tui_scenarios import ScriptedSource, training

from fedtui.errors import FedtuiError, UsageError
from fedtui.tui.app import FedtuiApp
from fedtui.tui.look import Look
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.fetching import FetchingScreen

NAME = "owner/large"
SIZE = {
    "model": NAME, "total": 5_300_000_000, "present": 0, "free": 80_000_000_000, "ready": False
}  # fmt: skip


class Hub:
    """What a node tells while it downloads."""

    def __init__(self, source: ScriptedSource) -> None:
        self.download: dict[str, Any] = {}
        source.answers |= ANSWERS | {
            "list_downloads": lambda: {"downloads": [dict(self.download)] if self.download else []},
            "measure_download": lambda model: SIZE | {"model": model},
            "download_model": self.start,
            "stop_download": self.stop,
        }

    def start(self, model: str) -> dict[str, Any]:
        self.tell(model=model, state="asking", bytes=0, total=0, bytes_per_s=None)
        return {"model": model}

    def stop(self) -> dict[str, Any]:
        self.tell(state="stopped", bytes_per_s=None)
        return {"model": self.download["model"]}

    def tell(self, **changes: Any) -> None:
        self.download = {"title": "", "cause": "", "remedy": "", **self.download, **changes}


async def opened(pilot: Pilot[None], app: FedtuiApp) -> None:
    await pilot.press("7", "b")
    await until(pilot, lambda: "Base models 1" in text(app))


def read(app: FedtuiApp) -> str:
    return " ".join(text(app).split())


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=str)
async def test_a_model_is_downloaded_after_its_size_was_told(
    folder: Path, size: tuple[int, int]
) -> None:
    async with shown(training(folder), size) as (pilot, app, source):
        hub = Hub(source)
        await opened(pilot, app)
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, FetchingScreen))
        await pilot.press("escape", "i")
        await until(pilot, lambda: isinstance(app.screen, FetchingScreen))
        await pilot.press(*"owner", "slash", *"large", "enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        assert "5.3 GB to download" in read(app)
        assert "80.0 GB free" in read(app)
        await pilot.press("enter")  # No has the focus.
        await until(pilot, lambda: not isinstance(app.screen, ConfirmScreen))
        assert "download_model" not in [name for name, _ in source.done]
        await pilot.press("i", *"owner", "slash", *"large", "enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "↓ owner/large" in text(app))
        assert ("download_model", {"model": NAME}) in source.done
        hub.tell(state="fetching", bytes=1_200_000_000, total=5_300_000_000, bytes_per_s=23e6)
        await until(pilot, lambda: "22 %" in text(app))
        app.clear_notifications()
        await pilot.press("j")
        await until(pilot, lambda: "1.2 GB of 5.3 GB, 23.0 MB/s, 3 min left" in read(app))
        assert "s Stop" in bottom(app) or size[0] == 80
        hub.tell(state="checking")
        await until(pilot, lambda: "its hash is computed" in read(app))
        hub.tell(state="done", bytes=5_300_000_000)
        await until(pilot, lambda: "✓ downloaded" in read(app))
        assert "↓" not in text(app)
        asked = [name for name, _ in source.done].count("list_downloads")
        await pilot.pause(1.2)
        assert [name for name, _ in source.done].count("list_downloads") == asked


async def test_a_download_is_stopped_and_goes_on(folder: Path) -> None:
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        hub = Hub(source)
        hub.tell(model=NAME, state="fetching", bytes=10, total=100, bytes_per_s=1.0)
        await pilot.press("7", "b")
        await until(pilot, lambda: "10 %" in text(app))
        assert "s Stop" in bottom(app)
        await pilot.press("s")
        await until(pilot, lambda: "what has come is kept" in read(app))
        await until(pilot, lambda: "s Stop" not in bottom(app))
        await pilot.press("j", "i")
        await until(pilot, lambda: isinstance(app.screen, FetchingScreen))
        assert app.screen.query_one(Input).value == NAME
        source.answers["measure_download"] = SIZE | {"present": 1_300_000_000}
        await pilot.press("enter")
        await until(pilot, lambda: "1.3 GB of it is here already: 4.0 GB" in read(app))


async def test_what_the_hub_and_the_disk_say_is_shown(folder: Path) -> None:
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        hub = Hub(source)
        await opened(pilot, app)
        source.answers["measure_download"] = FedtuiError(
            "The model cannot be downloaded", "the hub answered 404", "Run the command again"
        )
        await pilot.press("i", *"a", "slash", *"b", "enter")
        await until(pilot, lambda: "the hub answered 404" in read(app))
        assert not isinstance(app.screen, ConfirmScreen)
        source.answers["measure_download"] = SIZE | {"ready": True}
        await pilot.press("i", *"a", "slash", *"b", "enter")
        await until(pilot, lambda: "on this machine already" in read(app))
        app.clear_notifications()
        hub.tell(model=NAME, state="fetching", bytes=10, total=100, bytes_per_s=None)
        await pilot.press("b", "b")
        await until(pilot, lambda: "10 %" in text(app))
        hub.tell(state="failed", title="It failed", cause="the disk is full", remedy="Make room.")
        await until(pilot, lambda: "the disk is full" in read(app))
        app.clear_notifications()
        await pilot.press("j")
        await until(pilot, lambda: "✗ its download failed" in read(app))
        assert "Make room." in read(app)
        assert "i goes on where it ended" in read(app)


async def test_a_rooms_model_that_is_not_here_is_offered(folder: Path) -> None:
    model = ANSWERS["list_models"]["models"][0]
    missing = {**model, "source": NAME, "name": NAME, "folder": "", "missing": True}
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        Hub(source)
        source.answers["list_models"] = {"store": "/models", "models": [missing]}
        await opened(pilot, app)
        assert "this room trains on it" in read(app)
        assert "It is not on this machine." in read(app)
        await pilot.press("i", "enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        assert ("measure_download", {"model": NAME}) in source.done


async def test_a_window_that_only_watches_downloads_nothing(folder: Path) -> None:
    async with shown(training(folder), (120, 40), observe=True) as (pilot, app, source):
        Hub(source)
        await opened(pilot, app)
        await pilot.press("i", *"a", "slash", *"b", "enter")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("right", "enter")
        await until(pilot, lambda: "only watches" in read(app))
        assert "download_model" not in [name for name, _ in source.done]


async def test_a_node_of_an_earlier_version_still_lists_its_models(folder: Path) -> None:
    async with shown(training(folder), (120, 40)) as (pilot, app, source):
        Hub(source)
        source.answers["list_downloads"] = UsageError("this node cannot 'list_downloads'")
        await opened(pilot, app)
        assert "● this room trains on it" in text(app)


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
async def test_no_word_of_a_hub_is_more_than_text(folder: Path, attack: str) -> None:
    async with shown(training(folder), (80, 24), look=Look(characters="ascii")) as told:
        pilot, app, source = told
        hub = Hub(source)
        hub.tell(model=attack, state="fetching", bytes=10, total=100, bytes_per_s=1.0)
        await pilot.press("7", "b")
        await until(pilot, lambda: "10 %" in text(app))
        hub.tell(state="failed", title=attack, cause=attack, remedy=attack)
        await until(pilot, lambda: "10 %" not in text(app))
        for keys in (("j",), ("i",), ("enter",)):
            await pilot.press(*keys)
            await pilot.pause()
            assert_harmless(strips(app))
            assert all(row.cell_length == 80 for row in strips(app))
