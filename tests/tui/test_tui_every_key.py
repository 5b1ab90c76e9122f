"""Every key of every screen is pressed: its action runs, and something comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_tui_snapshots import ANSWERS
from textual.pilot import Pilot
from tui_driver import settle, shown, text, until
from tui_scenarios import ScriptedSource, examined, several_rounds

from fedtui.tui.app import FedtuiApp
from fedtui.tui.places import PLACES, WALL, Place
from fedtui.view import ChangeView, NodeView, RequestView

LEAVES = frozenset({"app.quit"})
"""Pressed in ``test_tui_keys``, which sees the end."""
SCROLLS = "scroll."
"""Does not run where everything is in view; ``test_fifty_thousand_lines_scroll`` presses these."""
STAYS = frozenset(
    {
        # The cursor is there already, or there is but one thing; test_tui_keys moves it.
        "list.up", "list.first", "list.pageup", "list.down", "list.last", "list.pagedown",
        "gallery.later", "gallery.pin", "settings.previous", "place.back", "screen.back",
        "logs.tail", "pictures.previous", "pictures.next",
        # It is here already, there is nothing to stop or to open yet, all is as at first.
        "app.place.dash", "studio.stop", "studio.earlier", "studio.later",
        "settings.reset",
        # The same is found again.
        "doctor.again",
    }
)  # fmt: skip
"""Keys of which nothing can be seen where this test presses them."""


def crowded(folder: Path) -> NodeView:
    """Several rounds, one that waits to be started, somebody at the door, and a change to sign."""
    asks = RequestView("r1", "p9", "kim", "participant", ("one", "two"), "aa bb", "", "", 3.0)
    wants = ChangeView("c1" * 32, "make tomoko an admin", "amir-mbp", ("amir-mbp",), 1, 9)
    view = several_rounds(folder)
    held = replace(view.round, held=True, phase="WAITING")
    return replace(view, requests=(asks,), changes=(wants,), round=held)


def seen(app: FedtuiApp, source: ScriptedSource) -> tuple[object, ...]:
    """All that a key can change."""
    return (
        text(app), app.current_mode, tuple(app.screen_stack), app.focused, app.theme,
        app.clipboard, len(source.done), len(app._notifications), app.screen.maximized,
    )  # fmt: skip


@contextmanager
def recorded(app: FedtuiApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The actions that ran, by name."""
    ran: list[str] = []
    dispatch = FedtuiApp._dispatch_action

    async def note(self: Any, namespace: Any, name: str, parameters: Any) -> bool:
        done = await dispatch(self, namespace, name, parameters)
        if done:
            ran.append(name)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(FedtuiApp, "_dispatch_action", note)
        yield ran


async def to(pilot: Pilot[None], app: FedtuiApp, place: Place) -> None:
    """Back to a place as it was opened, whatever lies over it."""
    while len(app.screen_stack) > 1:
        app.pop_screen()
        await pilot.pause()
    app.screen.minimize()
    app.clear_notifications()
    await app.action_place(place.id)
    await settle(pilot)
    focus = app.screen.query(app.screen.AUTO_FOCUS or "*")
    app.screen.set_focus(next((w for w in focus if w.focusable), None))
    await pilot.pause()


@pytest.mark.parametrize("place", [*PLACES, WALL], ids=lambda place: str(place.id))
async def test_every_key_of_a_screen_does_something(
    folder: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shown(crowded(folder), (120, 40), examine=examined) as (pilot, app, source):
        source.answers |= ANSWERS
        await to(pilot, app, place)
        keys = {
            active.binding.id: active.binding
            for active in app.screen.active_bindings.values()
            if active.binding.id
            and active.enabled
            and (active.node is not app or place is PLACES[0])
        }
        assert keys
        silent = []
        for id, binding in keys.items():
            if id in LEAVES or id.startswith(SCROLLS):
                continue
            await to(pilot, app, place)
            before = seen(app, source)
            with recorded(app, monkeypatch) as ran:
                await pilot.press(binding.key)
                name = binding.action.split("(")[0].split(".")[-1]
                await until(pilot, lambda name=name, ran=ran: name in ran)  # type: ignore[misc]
            await settle(pilot)
            assert app.is_running
            if seen(app, source) == before and id not in STAYS:
                silent.append(id)
        assert not silent
