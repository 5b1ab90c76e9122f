"""Runs the real application without a terminal and reads what is on its screen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot
from textual.strip import Strip
from tui_scenarios import ScriptedSource

from fedtui.tui.app import FedtuiApp
from fedtui.tui.widgets.picture import Picture
from fedtui.view import NodeView

WAIT_S = 60.0
STEP_S = 0.02


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Waits for a condition, generously; the assertion belongs to the caller."""
    for _ in range(int(WAIT_S / STEP_S)):
        if condition():
            break
        await pilot.pause(STEP_S)
    assert condition()
    await pilot.pause()


async def settle(pilot: Pilot[Any]) -> None:
    """Waits until the first view has arrived and every visible picture has been drawn."""
    app = pilot.app
    assert isinstance(app, FedtuiApp)
    await until(pilot, lambda: app.feed.view is not None or bool(app.feed.lost))
    await until(pilot, lambda: all(p.settled for p in app.screen.query(Picture) if p.is_on_screen))


@asynccontextmanager
async def shown(
    view: NodeView | Exception, size: tuple[int, int] = (120, 40), **options: Any
) -> AsyncIterator[tuple[Pilot[None], FedtuiApp, ScriptedSource]]:
    """The application on ``view``, settled."""
    source = ScriptedSource(view)
    app = FedtuiApp(source, **options)
    async with app.run_test(size=size, notifications=True) as pilot:
        await settle(pilot)
        yield pilot, app, source


def strips(app: FedtuiApp) -> list[Strip]:
    """Everything on the screen, row by row."""
    return app.screen._compositor.render_strips(app.screen.size)


def text(app: FedtuiApp) -> str:
    """What can be read on the screen."""
    return "\n".join(strip.text for strip in strips(app))


def bottom(app: FedtuiApp) -> str:
    """The last row, where the keys are."""
    return text(app).splitlines()[-1]
