"""What a terminal answers when it is asked what it can draw, before anything else reads from it.

Each question has no effect on a terminal that knows it, and is wiped away on one that prints it.
The last one (DA1, ``ESC [ c``) is answered by all, so nothing is waited for that does not come.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from dataclasses import dataclass
from typing import TextIO

from fedtui.limits import TERMINAL_ANSWER_BYTES, TERMINAL_ANSWER_S

DEPTH = b"\x1b[48;2;1;2;3m\x1bP$qm\x1b\\\x1b[0m"
"""Sets a colour of 24 bits and asks (DECRQSS) what has become of it."""
CELL = b"\x1b[16t"
KITTY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
LAST = b"\x1b[c"
KEEP, WIPE = b"\x1b7", b"\x1b8\x1b[K"
"""Around them all: rxvt prints kitty's question."""

ATTRIBUTES = re.compile(rb"\x1b\[\?(\d+(?:;\d+)*);?c")


@dataclass(frozen=True)
class Answers:
    """``deep``: 24 bits of colour are kept as they are; ``cell``: its width and height in pixels,
    None where it is not told."""

    deep: bool = False
    sixel: bool = False
    kitty: bool = False
    cell: tuple[int, int] | None = None


def read(told: bytes) -> Answers:
    """What the bytes of a terminal say."""
    attributes = ATTRIBUTES.search(told)
    cell = re.search(rb"\x1b\[6;(\d{1,4});(\d{1,4})t", told)
    return Answers(
        deep=re.search(rb"\x1bP1\$r[\d;:]*48[;:]2[;:]+1[;:]2[;:]3m", told) is not None,
        sixel=attributes is not None and b"4" in attributes[1].split(b";")[1:],
        kitty=b"\x1b_Gi=31;OK" in told,
        cell=(int(cell[2]), int(cell[1])) if cell else None,
    )


def ask(*, pixels: bool = False) -> Answers:
    """Asks the terminal at standard input and error; with ``pixels`` also for kitty's protocol.

    Takes as long as the way there and back. Where nothing
    answers it takes :data:`~fedtui.limits.TERMINAL_ANSWER_S`.
    """
    try:
        import select
        import termios
        import tty
    except ImportError:  # Windows
        return Answers()
    told = b""
    try:
        ours, theirs = _fileno(sys.__stdin__), _fileno(sys.__stderr__)
        before = termios.tcgetattr(ours)
        tty.setcbreak(ours, termios.TCSANOW)
        try:
            os.write(theirs, KEEP + DEPTH + CELL + (KITTY if pixels else b"") + LAST)
            end = time.monotonic() + TERMINAL_ANSWER_S
            while not ATTRIBUTES.search(told) and len(told) < TERMINAL_ANSWER_BYTES:
                left = end - time.monotonic()
                if left <= 0 or not select.select([ours], [], [], left)[0]:
                    break
                if not (more := os.read(ours, 256)):
                    break
                told += more
            os.write(theirs, WIPE)
        finally:
            termios.tcsetattr(ours, termios.TCSANOW, before)
    except (OSError, ValueError, termios.error):
        return Answers()
    return read(told)


def cell_now() -> tuple[int, int] | None:
    """The size of a cell in pixels as the system knows it, which costs no question; it changes with
    the size of the letters. None where it does not know."""
    try:
        import fcntl
        import struct
        import termios

        size = fcntl.ioctl(_fileno(sys.__stderr__), termios.TIOCGWINSZ, bytes(8))
    except (ImportError, OSError, ValueError):
        return None
    rows, columns, width, height = struct.unpack("HHHH", size)
    if not rows or not columns or width < columns or height < rows:
        return None
    return width // columns, height // rows


def _fileno(stream: TextIO | None) -> int:
    """Of the terminal's own end: Textual puts something else in the place of ``sys.stderr``."""
    if stream is None:
        raise OSError(errno.EBADF, "closed")
    return stream.fileno()
