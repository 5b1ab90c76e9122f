"""Every screen, full, empty and in trouble, at three sizes: what can be read on it.

Colours are in the pictures of ``test_tui_snapshots``; here a difference reads as text. ``pytest
--snapshot-update tests/tui/test_tui_matrix.py`` writes them anew: look at them afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from test_tui_snapshots import ANSWERS
from textual.pilot import Pilot
from textual.widgets import Static
from tui_driver import settle, text, until
from tui_scenarios import ScriptedSource, examined, identity, several_rounds

import fedtui.tui.app
import fedtui.tui.screens.wall
import fedtui.tui.welcome
from fedtui.doctor import Check
from fedtui.errors import FedtuiError
from fedtui.tui.app import FedtuiApp
from fedtui.tui.look import Look
from fedtui.tui.places import PLACES, WALL
from fedtui.tui.welcome import WelcomeApp
from fedtui.view import NodeView, PeerView, RoundView, TrainerView

pytestmark = pytest.mark.snapshot

HOUR_S = 3600.0
SIZES = ((80, 24), (120, 40), (200, 60))
STATES = ("normal", "empty", "error")
NO_NODE = FedtuiError("no node is running on this profile", "nothing answers", "start fedtui")
NOTHING: dict[str, Any] = {
    "read_log": lambda **asked: {"lines": [], "next": 0, "path": "/log"},
    "list_adapters": {"shelf": "/shelf", "adapters": []},
    "list_models": {"store": "/models", "models": []},
    "list_downloads": {"downloads": []},
    "check_folder": {"folder": "/pictures", "usable": 0, "pictures": [], "problems": []},
    "generations": {"jobs": []},
    "members": {"members": ANSWERS["members"]["members"][:1]},
}


class Text(SingleFileSnapshotExtension):
    """One file for each state and size."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"

    def serialize(self, data: Any, **_: Any) -> str:
        """As it can be read."""
        return str(data)


@pytest.fixture
def written(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(Text)


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second passes while a test looks."""
    for module in (fedtui.tui.app, fedtui.tui.welcome):
        monkeypatch.setattr(module, "monotonic", lambda: 0.0)
    monkeypatch.setattr(fedtui.tui.screens.wall, "WALL_SLIDE_S", HOUR_S)


def fresh() -> NodeView:
    """A room made a moment ago: nobody else, no pictures, nothing done."""
    me = PeerView(id=identity(0), name="lena", me=True, role="admin", state="READY")
    return NodeView(
        id=identity(0),
        name="lena",
        role="admin",
        room_id="q7m2x4k6" * 6,
        room_name="sunflower-42",
        model="tiny-landscapes",
        algorithm="fedex",
        round=RoundView(
            1,
            8,
            phase="WAITING",
            voters=(identity(0),),
            quorum=1,
            note="2 more participants needed",
        ),
        trainer=TrainerView("idle", "cpu"),
        peers=(me,),
    )


async def quiet(pilot: Pilot[Any]) -> None:
    """Waits until everything asked for has been answered and drawn."""
    app = pilot.app
    await settle(pilot)
    await until(pilot, lambda: all(w.is_finished for w in app.workers if w.group != "follow"))
    await settle(pilot)
    app.clear_notifications()
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", STATES)
async def test_every_screen_reads_as_it_did(
    folder: Path, written: SnapshotAssertion, state: str, size: tuple[int, int]
) -> None:
    source = ScriptedSource(fresh() if state == "empty" else several_rounds(folder))
    source.answers |= NOTHING if state == "empty" else ANSWERS
    # Not auto: the colours of the terminal that runs the test must not choose the characters.
    app = FedtuiApp(source, look=Look(pictures="quadrant"), examine=examined)
    seen = []
    async with app.run_test(size=size, notifications=True) as pilot:
        await settle(pilot)
        if state == "error":
            source.now = ConnectionRefusedError("no node is running on this profile")
            source.answers = dict.fromkeys(ANSWERS, NO_NODE)
            await until(pilot, lambda: bool(app.feed.lost))
        for place in (*PLACES, WALL):
            await app.action_place(place.id)
            await quiet(pilot)
            seen.append(f"=== {place.name}\n{readable(app)}")
        await app.action_place("dash")
        await pilot.press("question_mark")
        await quiet(pilot)
        seen.append(f"=== Help\n{readable(app)}")
        await pilot.press("escape", "7", "b")
        await quiet(pilot)
        seen.append(f"=== Base models\n{readable(app)}")
        await pilot.press("8", "p")
        await quiet(pilot)
        seen.append(f"=== Plan\n{readable(app)}")
    assert written == "\n".join(seen)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_the_first_run_reads_as_it_did(
    written: SnapshotAssertion, size: tuple[int, int]
) -> None:
    async def healthy() -> Check:
        return Check("trainer", "ok", "cpu, ready after 7.1 s")

    async def broken() -> Check:
        return Check("trainer", "failed", "torch is missing", "Run make setup.")

    async def one_room() -> int:
        return 1

    trouble = "this invite has expired: ask for another one"
    seen = []
    for name, look, told, keys in (
        ("choices", healthy, "", ()),
        ("joining", healthy, "", ("enter",)),
        ("trouble", broken, trouble, ("down", "enter")),
        ("plan", healthy, "", ("down", "enter", *"attic", "enter")),
    ):
        app = WelcomeApp("lena", look, told, nearby=one_room if keys else None)
        async with app.run_test(size=size) as pilot:
            device = app.query_one("#device", Static)
            await until(pilot, lambda device=device: "looking" not in str(device.content))  # type: ignore[misc]
            await until(
                pilot, lambda app=app, keys=keys: not keys or app.query_one("#nearby").display
            )  # type: ignore[misc]
            await pilot.press(*keys)
            await pilot.pause()
            seen.append(f"=== {name}\n{readable(app)}")
    assert written == "\n".join(seen)


def readable(app: Any) -> str:
    """The screen without the blanks at the ends of its lines."""
    return "\n".join(line.rstrip() for line in text(app).splitlines()) + "\n"
