"""The real program in a real terminal multiplexer: a recorded room, typed through and read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tmux_rig import NEEDS_TMUX, Tmux
from tui_scenarios import done, training

from fedtui.tape import Recorder

pytestmark = [NEEDS_TMUX, pytest.mark.slow]


@pytest.fixture
def window(folder: Path) -> Iterator[Tmux]:
    tape = folder / "workshop.jsonl"
    recorder = Recorder(tape, "sunflower-42")
    view = training(folder)
    recorder.add(view)
    recorder.add(replace(done(folder), previews=view.previews))
    recorder.close()
    command = [sys.executable, "-m", "fedtui", "replay", str(tape), "--speed", "0.25"]
    made = Tmux(f"fedtui-test-{os.getpid()}", command, folder / "profile")
    try:
        yield made
    finally:
        made.close()


def test_a_recorded_room_in_tmux(window: Tmux) -> None:
    for words in ("RECORDING", "sunflower-42", "lena (you)", "My loss", "before training"):
        window.wait_for(words)
    for key, words in (
        ("2", "whole id"),
        ("3", "Contributions"),
        ("4", "[r2]"),
        ("6", "F5 draws"),
        (",", "fedtui-light"),
        ("D", "no machine to look at"),
        ("w", "before: base model"),
    ):
        window.press(key)
        window.wait_for(words)
    window.press("Escape")
    window.wait_for("[1 Dash]")
    window.press("?")
    window.wait_for("Keys")
    window.press("Escape")
    window.resize(50, 12)
    window.wait_for("60x16 needed")
    window.resize(80, 24)
    window.wait_for("[1 Dash]")
    window.press("q")
    window.wait_for_end()
