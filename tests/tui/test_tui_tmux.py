"""The real program in a real terminal multiplexer: a recorded room, typed through and read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tui_scenarios import done, training

from fedtui.tape import Recorder

WAIT_S = 90.0
pytestmark = [
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
    pytest.mark.slow,
]


class Tmux:
    """One window of 120x40 that belongs to this test only."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self._base = ["tmux", "-L", name, "-f", os.devnull]
        unset = ["-u", "COLUMNS", "-u", "LINES"]  # they would overrule the window
        environment = ["env", *unset, f"FEDTUI_HOME={folder}", "COLORTERM=truecolor", *command]
        self._run("new-session", "-d", "-x", "120", "-y", "40", *environment)

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def read(self) -> str:
        return self._run("capture-pane", "-p", check=False)

    def wait_for(self, words: str) -> str:
        end = time.monotonic() + WAIT_S
        while words not in (seen := self.read()):
            assert time.monotonic() < end, f"{words!r} never came:\n{seen}"
            time.sleep(0.1)
        return seen

    def wait_for_end(self) -> None:
        end = time.monotonic() + WAIT_S
        while subprocess.run([*self._base, "has-session"], capture_output=True).returncode == 0:
            assert time.monotonic() < end, self.read()
            time.sleep(0.1)

    def resize(self, columns: int, lines: int) -> None:
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    def close(self) -> None:
        subprocess.run([*self._base, "kill-server"], capture_output=True)

    def _run(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*self._base, *arguments], capture_output=True, text=True, check=check, timeout=30
        )
        return done.stdout


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
    for words in ("RECORDING", "sunflower-42", "lena (you)", "My loss", "r0 base model"):
        window.wait_for(words)
    for key, words in (
        ("2", "fingerprint"),
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
