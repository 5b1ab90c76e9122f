"""Pictures of the screen; ``pytest --snapshot-update -m snapshot`` makes them anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tui_driver import settle
from tui_scenarios import ScriptedSource, done, loading, paused, roomless, training, verifying

from fedtui.tui.app import FedtuiApp

pytestmark = pytest.mark.snapshot

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 60)


@pytest.mark.parametrize(
    ("scene", "size"),
    [
        (training, SMALL),
        (training, MIDDLE),
        (training, LARGE),
        (verifying, SMALL),
        (paused, SMALL),
        (paused, MIDDLE),
        (done, MIDDLE),
        (loading, SMALL),
        (loading, MIDDLE),
        (roomless, SMALL),
        (roomless, MIDDLE),
        ("gone", SMALL),
    ],
    ids=lambda value: (
        f"{value[0]}x{value[1]}"
        if isinstance(value, tuple)
        else getattr(value, "__name__", str(value))
    ),
)
def test_the_dashboard_looks_as_it_did(
    snap_compare: Any, folder: Path, scene: Any, size: tuple[int, int]
) -> None:
    assert snap_compare(
        FedtuiApp(ScriptedSource(made(scene, folder))), terminal_size=size, run_before=settle
    )


@pytest.mark.parametrize("keys", [("question_mark",), ("q",), ("space",)], ids="-".join)
def test_the_other_screens_look_as_they_did(
    snap_compare: Any, folder: Path, keys: tuple[str, ...]
) -> None:
    async def press(pilot: Any) -> None:
        await settle(pilot)
        await pilot.press(*keys)
        await settle(pilot)

    app = FedtuiApp(
        ScriptedSource(training(folder)),
        owns_room=True,
        quit_hint="Quitting ends the demo: its five nodes on this machine stop.",
    )
    assert snap_compare(app, terminal_size=MIDDLE, run_before=press)


def made(scene: str | Callable[..., Any], folder: Path) -> Any:
    """The view of a scenario, or the error of a node that is not there."""
    if isinstance(scene, str):
        return ConnectionRefusedError("no node is running on this profile")
    return scene() if scene in (loading, roomless) else scene(folder)
