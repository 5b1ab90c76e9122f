"""Pictures of the screen; ``pytest --snapshot-update -m snapshot`` makes them anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tui_driver import settle
from tui_scenarios import (
    ScriptedSource,
    done,
    examined,
    loading,
    paused,
    roomless,
    several_rounds,
    training,
    verifying,
)

import fedtui.tui.screens.wall
from fedtui.tui.app import FedtuiApp

pytestmark = pytest.mark.snapshot

HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the wall would go on to its next picture."""
    monkeypatch.setattr(fedtui.tui.screens.wall, "WALL_SLIDE_S", HOUR_S)


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


@pytest.mark.parametrize(
    ("place", "scene", "size"),
    [
        ("2", training, SMALL),
        ("2", training, LARGE),
        ("3", several_rounds, SMALL),
        ("3", several_rounds, MIDDLE),
        ("3", loading, SMALL),
        ("4", training, MIDDLE),
        ("4", loading, SMALL),
        ("5", training, SMALL),
        ("6", several_rounds, MIDDLE),
        ("6", "gone", SMALL),
        ("7", several_rounds, SMALL),
        ("8", training, MIDDLE),
        ("9", training, SMALL),
        ("comma", training, MIDDLE),
        ("D", training, SMALL),
        ("w", training, SMALL),
        ("w", training, MIDDLE),
    ],
    ids=lambda value: (
        f"{value[0]}x{value[1]}"
        if isinstance(value, tuple)
        else getattr(value, "__name__", str(value))
    ),
)
def test_a_screen_looks_as_it_did(
    snap_compare: Any, folder: Path, place: str, scene: Any, size: tuple[int, int]
) -> None:
    source = ScriptedSource(made(scene, folder))
    source.answers |= ANSWERS

    async def open_place(pilot: Any) -> None:
        await settle(pilot)
        await pilot.press(place)
        await settle(pilot)
        await pilot.pause(0.2)
        await settle(pilot)

    app = FedtuiApp(source, examine=examined)
    assert snap_compare(app, terminal_size=size, run_before=open_place)


ANSWERS: dict[str, Any] = {
    "rooms": {
        "rooms": [
            {
                "room": "c0ffee" * 10,
                "name": "sunflower-42",
                "active": True,
                "model": "tiny-landscapes",
                "rounds": 8,
                "done": 2,
            }
        ]
    },
    "rooms_nearby": {"count": 2},
    "read_log": lambda **asked: {
        "lines": [["12:00:01", "info", "round 3 started"], ["12:00:02", "error", "disk full"]]
        if asked["after"] < 0
        else [],
        "next": 2,
        "path": "/log",
    },
    "list_adapters": {
        "shelf": "/shelf",
        "adapters": [
            {
                "path": f"/room/adapters/round-{number:04d}.safetensors",
                "name": f"round {number}",
                "kind": "round",
                "round": number,
                "bytes": 465_123,
                "modified": "2026-11-20 10:00",
            }
            for number in (4, 3, 2, 1)
        ],
    },
    "list_downloads": {"downloads": []},
    "hash_adapter": lambda path: {"path": path, "sha256": "9f1c" * 16},
    "inspect_adapter": lambda path: {
        "path": path,
        "title": "fedtui",
        "ranks": {"4": 144},
        "matching": 144,
        "modules": 144,
        "ignored": [],
        "metadata": {},
    },
    "list_models": {
        "store": "/home/lena/.cache/fedtui/models",
        "models": [
            {
                "name": "tiny-landscapes",
                "source": "tiny-landscapes",
                "family": "stable-diffusion-1",
                "resolution": 64,
                "sha256": "6f705a29" * 8,
                "bytes": 28_794_625,
                "folder": "/opt/fedtui/trainer/embedded/weights",
                "unfinished": False,
                "here": True,
            }
        ],
    },
    "check_folder": {
        "folder": "/pictures/moons",
        "usable": 18,
        "pictures": [
            {"file": f"moon-{i:02}.png", "caption": "night, moon", "width": 64, "height": 64}
            for i in range(18)
        ],
        "problems": [
            {"file": "a.png", "problem": "cannot be read", "remedy": "remove it", "fatal": True}
        ],
        "sides": {
            "resolution": 64,
            "by": "shorter side",
            "smaller": 3,
            "bins": [[46, 63, 3], [64, 90, 12], [91, 127, 0], [128, 181, 3]],
        },
    },
    "generations": {"jobs": []},
    "members": {
        "members": [
            {
                "peer": f"p{i}",
                "name": name,
                "role": "admin" if i == 0 else "participant",
                "me": i == 0,
                "verified": i == 1,
                "may": ["contribute", "see previews"],
                "fingerprint": "ee4d 4826 2b03 c323",
                "words": ["unusual", "heart", "another", "figure", "destroy", "music"],
            }
            for i, name in enumerate(("lena", "amir-mbp", "gpu-srv-1"))
        ],
        "folder": "/room",
    },
    "take_home": {"path": "/room/exports/sunflower.zip", "bytes": 9, "round": 4, "files": []},
    "plan": {
        "room": "q7m2x4k6",
        "name": "sunflower-42",
        "terms": [{"group": "Rounds", "name": "rounds", "value": "8", "meaning": "", "change": ""}],
    },
}


def made(scene: str | Callable[..., Any], folder: Path) -> Any:
    """The view of a scenario, or the error of a node that is not there."""
    if isinstance(scene, str):
        return ConnectionRefusedError("no node is running on this profile")
    return scene() if scene in (loading, roomless) else scene(folder)
