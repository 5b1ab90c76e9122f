"""What real terminals answered, word for word, and a pseudo-terminal that says it again."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pytest

from fedtui.terminal import is_open, prepare
from fedtui.terminal_query import LAST, WIPE, Answers, read

KITTY_OK = b"\x1b_Gi=31;OK\x1b\\"
REAL = {
    "xterm 379": (
        b"\x1bP1$r0;48:2::1:2:3m\x1b\\\x1b[?64;1;2;6;9;15;16;17;18;21;22;28c",
        Answers(True),
    ),
    "xterm 379 -ti vt340": (
        b"\x1bP1$r0;48:2::1:2:3m\x1b\\\x1b[?63;1;2;4;6;9;15;16;22;28c",
        Answers(True, sixel=True),
    ),
    "kitty 0.26.5": (
        b"\x1bP1$r48:2:1:2:3m\x1b\\\x1b[6;15;7t" + KITTY_OK + b"\x1b[?62;c",
        Answers(True, kitty=True, cell=(7, 15)),
    ),
    "foot 1.13.1": (
        b"\x1bP1$r0;48:2::1:2:3m\x1b\\\x1b[6;19;10t\x1b[?62;4;22c",
        Answers(True, sixel=True, cell=(10, 19)),
    ),
    "VTE 0.70.6": (b"\x1bP0$r\x1b\\\x1b[?65;1;9c", Answers()),
    "rxvt-unicode 9.30": (b"\x1b[?1;2c", Answers()),
    "xterm 379 with directColor off": (b"\x1bP1$r0;48:5:16m\x1b\\\x1b[?64;1;2c", Answers()),
    "the console of Linux": (b"\x1b[?6c", Answers()),
    "nothing": (b"", Answers()),
    "a class of 4 is no sixel": (b"\x1b[?4c", Answers()),
}
SAYING = ("COLORTERM", "TEXTUAL_COLOR_SYSTEM", "NO_COLOR", "TERM_PROGRAM")
PROGRAM = """
import sys
from fedtui.terminal_query import ask
found = ask(pixels=True)
print(found, "|", sys.stdin.readline().strip())
"""


@pytest.mark.parametrize("name", REAL)
def test_what_a_terminal_said_is_understood(name: str) -> None:
    told, answers = REAL[name]
    assert read(told) == answers


def converse(program: str, told: bytes | None, late_s: float = 0.0, **environment: str) -> bytes:
    """All that ``program`` writes to a terminal which answers ``told`` to the last question."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in SAYING}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm", **environment},
        start_new_session=True,
    )
    os.close(theirs)
    seen, answered, typed, end = b"", told is None, False, time.monotonic() + 60
    try:
        while time.monotonic() < end:
            if LAST in seen and told is not None and not answered:
                answered = True
                time.sleep(late_s)
                os.write(ours, told)
            if WIPE in seen and not typed:
                typed = True
                os.write(ours, b"typed\n")
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    seen += os.read(ours, 4096)
                except OSError:
                    break
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return seen


@pytest.mark.parametrize("late_s", [0.0, 0.7])
def test_a_terminal_is_asked_and_what_is_typed_after_is_left_to_the_program(late_s: float) -> None:
    told, answers = REAL["foot 1.13.1"]
    seen = converse(PROGRAM, told, late_s)
    assert f"{answers} | typed".encode() in seen
    assert b"48:2" not in seen, "the answer is not echoed"


def test_a_terminal_that_answers_nothing_is_left_alone_in_the_end() -> None:
    assert f"{Answers()} | typed".encode() in converse(PROGRAM, None)


COLOURS = """
import os, sys
from fedtui.terminal import prepare
prepare()
print("colours", os.environ.get("TEXTUAL_COLOR_SYSTEM"))
"""


@pytest.mark.parametrize(
    ("name", "depth"), [("xterm 379", b"truecolor"), ("rxvt-unicode 9.30", b"None")]
)
def test_colours_that_no_variable_tells_of_are_asked_for(name: str, depth: bytes) -> None:
    assert b"colours " + depth in converse(COLOURS, REAL[name][0])


@pytest.mark.parametrize(
    ("environment", "open_"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "rxvt-unicode-256color", "COLORTERM": "rxvt-xpm"}, True),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, False),
        ({"TERM": "foot"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "TEXTUAL_COLOR_SYSTEM": "256"}, False),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, False),
        ({"TERM": "linux"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_only_what_is_open_is_asked(environment: dict[str, str], open_: bool) -> None:
    assert is_open(environment) is open_
    asked: list[bool] = []
    prepare("auto", dict(environment), lambda: not asked.append(True))
    assert bool(asked) is open_
    prepare("256", dict(environment), lambda: pytest.fail("asked although it was said"))
