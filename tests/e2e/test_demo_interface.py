"""``fedtui demo`` in a terminal: the interface opens, asks before it ends the room, and ends it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest
from demo_rig import PATIENCE, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ESCAPES = re.compile(rb"\x1b\[[0-9;?<>=]*[a-zA-Z]")
RIGHT = b"\x1b[C"


class Terminal:
    """A program on a terminal of 140 columns and 40 lines."""

    def __init__(self, arguments: list[str]) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            environment = clean_environment(TERM="xterm-256color", COLORTERM="truecolor")
            os.execve(sys.executable, [sys.executable, "-m", "fedtui", *arguments], environment)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        self._shown = b""

    def wait_for(self, text: str) -> None:
        """Reads until ``text`` has been drawn since the last call."""
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in ESCAPES.sub(b"", self._shown):
            assert time.monotonic() < deadline, f"{text!r} never came: {self._shown[-2000:]!r}"
            assert self._read(), f"the program ended before {text!r}: {self._shown[-2000:]!r}"
        self._shown = b""

    def press(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def wait_for_end(self) -> int:
        """The exit code."""
        while self._read():
            pass
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], 1.0)
        if not ready:
            return True
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:  # Linux: the other end has closed
            return False
        self._shown += data
        return bool(data)


def test_the_interface_shows_the_first_node_and_quitting_ends_the_room(tmp_path: Path) -> None:
    small = ["--nodes", "2", "--rounds", "1", "--steps", "2000"]
    terminal = Terminal(["demo", *small, "--dir", str(tmp_path / "demo")])
    terminal.wait_for("Grace")
    terminal.wait_for("picture of")
    children = psutil.Process(terminal.pid).children(recursive=True)
    assert len(children) >= 5
    terminal.press(b"q")
    terminal.wait_for("Leave, and end what runs here?")
    terminal.press(RIGHT)
    terminal.press(b"\r")
    assert terminal.wait_for_end() == 0
    _, alive = psutil.wait_procs(children, PATIENCE)
    assert not alive
