"""A person joins a room, looks around and leaves it, all in the interface of the real program."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from joining_rig import LOOPBACK, Home
from tmux_rig import NEEDS_TMUX, Tmux

pytestmark = [NEEDS_TMUX, pytest.mark.slow]


@pytest.fixture
def ada(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "ada")
    yield home
    home.stop()


@pytest.fixture
def grace(tmp_path: Path) -> Iterator[Home]:
    """Her node is started by the interface; if it still runs at the end, something went wrong."""
    home = Home(tmp_path / "grace")
    yield home
    if home.view() is not None:
        home.run("stop")


def test_a_room_is_joined_looked_at_and_left_on_the_screen(ada: Home, grace: Home) -> None:
    made = ada.json("room", "create", "Attic", "--as", "Ada", "--auto-approve", "--rounds", "7")
    ada.serve()
    settings = {**LOOPBACK, "FEDTUI_PREVIEWS": "false", "FEDTUI_THREADS": "1"}
    command = [sys.executable, "-m", "fedtui"]
    window = Tmux(f"fedtui-join-{os.getpid()}", command, grace.root, settings)
    try:
        window.wait_for("Join a room I was invited to")
        window.press("Enter")
        window.wait_for("The link (fedtui:")
        window.type(made["invite"]["text"])
        window.press("Enter")
        window.wait_for("[1 Dash]")
        window.wait_for("Attic")
        window.press("2")
        window.wait_for("whole id")
        window.press("8")
        window.wait_for("2 members")
        window.press("p")
        window.wait_for("What Attic agreed on")
        window.wait_for("whole life")
        window.press("Escape")
        window.wait_without("What Attic agreed on")  # else the next key is alt and it
        window.press("L")
        window.wait_for("Leave Attic?")
        window.press("Right")
        window.press("Enter")
        window.wait_for_end()
    finally:
        window.close()
    ada.eventually(lambda: [m["name"] for m in ada.json("room", "members")] == ["Ada"])
    assert [room["active"] for room in grace.json("room", "list")] == [False]
    grace.eventually(lambda: grace.view() is None)
