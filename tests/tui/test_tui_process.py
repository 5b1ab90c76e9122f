"""The interface as a process of its own in a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

WAIT_S = 60.0
PROGRAM = """
import sys
from pathlib import Path
from fedtui.tui.app import run
sys.exit(run(Path(sys.argv[1]), quit_hint="the node goes on"))
"""
SHOWN = b"NO NODE"


class Terminal:
    """The other side of a pseudo-terminal."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self.fd = fd
        self.process = process
        self.seen = b""

    def read_until(self, word: bytes) -> None:
        deadline = time.monotonic() + WAIT_S
        while word not in self.seen and time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:  # the other side is closed
                    break
        assert word in self.seen, self.seen[-2000:]

    def end(self) -> int:
        """The exit code; keeps reading, for a full terminal would block the process."""
        deadline = time.monotonic() + WAIT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    break
        return self.process.wait(WAIT_S)


@contextmanager
def terminal(
    control: Path,
    columns: int = 80,
    lines: int = 24,
    program: Sequence[str] = (),
    **environment: str,
) -> Iterator[Terminal]:
    """The interface on a control socket where nobody listens, or another program."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, *(program or ("-c", PROGRAM, str(control)))],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **environment},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def test_without_a_node_it_stays_up_says_so_and_leaves_with_q(tmp_path: Path) -> None:
    with terminal(tmp_path / "control.sock") as screen:
        screen.read_until(SHOWN)
        os.write(screen.fd, b"q")
        assert screen.end() == 0
        assert b"the node goes on" in screen.seen
        assert b"\x1b[?1049l" in screen.seen


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_restores_the_terminal(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with terminal(tmp_path / "control.sock") as screen:
        screen.read_until(SHOWN)
        screen.process.send_signal(number)
        assert screen.end() == code
        assert b"\x1b[?1049l" in screen.seen
        assert b"\x1b[?25h" in screen.seen


@pytest.mark.parametrize(
    "environment",
    [
        {"NO_COLOR": "1"},
        {"TEXTUAL_COLOR_SYSTEM": "256"},
        {"TEXTUAL_COLOR_SYSTEM": "standard"},
        {"TERM": "linux", "COLORTERM": "", "TEXTUAL_COLOR_SYSTEM": "auto"},
    ],
)
def test_it_runs_with_few_colours_or_none(tmp_path: Path, environment: dict[str, str]) -> None:
    with terminal(tmp_path / "control.sock", **environment) as screen:
        screen.read_until(SHOWN)
        assert b"\x1b[38;2;138;176;245" not in screen.seen
        os.write(screen.fd, b"q")
        assert screen.end() == 0


def test_a_terminal_of_twenty_by_five_says_what_it_needs(tmp_path: Path) -> None:
    with terminal(tmp_path / "control.sock", 20, 5) as screen:
        screen.read_until(b"60x16 needed")
        os.write(screen.fd, b"q")
        assert screen.end() == 0


def test_a_terminal_that_can_only_print_gets_one_message(tmp_path: Path) -> None:
    environment = {"TERM": "dumb", "FEDTUI_HOME": str(tmp_path)}
    with terminal(tmp_path / "control.sock", program=["-m", "fedtui"], **environment) as screen:
        assert screen.end() == 2
        assert b"fedtui watch --plain" in screen.seen
        assert b"\x1b" not in screen.seen


def test_without_a_terminal_it_names_the_other_ways(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "fedtui"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "TERM": "xterm", "FEDTUI_HOME": str(tmp_path)},
        timeout=WAIT_S,
    )
    assert ended.returncode == 2
    assert b"fedtui --daemon" in ended.stderr
    assert b"\x1b" not in ended.stdout + ended.stderr
