"""A window of tmux in which the real program runs, typed into and read like a person's."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

WAIT_S = 90.0
NEEDS_TMUX = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")


class Tmux:
    """One window of 120x40 that belongs to this test only."""

    def __init__(
        self, name: str, command: list[str], folder: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self._base = ["tmux", "-L", name, "-f", os.devnull]
        unset = ["-u", "COLUMNS", "-u", "LINES"]  # they would overrule the window
        told = [f"{name}={value}" for name, value in (settings or {}).items()]
        environment = ["env", *unset, f"FEDTUI_HOME={folder}", "COLORTERM=truecolor", *told]
        self._run("new-session", "-d", "-x", "120", "-y", "40", *environment, *command)

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def type(self, text: str) -> None:
        """Text as it is, whatever keys it might be called like."""
        self._run("send-keys", "-l", text)

    def read(self) -> str:
        return self._run("capture-pane", "-p", check=False)

    def wait_for(self, words: str) -> str:
        end = time.monotonic() + WAIT_S
        while words not in (seen := self.read()):
            assert time.monotonic() < end, f"{words!r} never came:\n{seen}"
            time.sleep(0.1)
        return seen

    def wait_without(self, words: str) -> str:
        end = time.monotonic() + WAIT_S
        while words in (seen := self.read()):
            assert time.monotonic() < end, f"{words!r} stayed:\n{seen}"
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
