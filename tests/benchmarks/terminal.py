"""A program in a pseudo-terminal, and what stands on its screen when."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from rich.cells import get_character_cell_size

TOKENS = re.compile(
    r"\x1b\[(?P<arguments>[0-9;?<>=]*)(?P<command>[a-zA-Z])|\x1b[^\[]|[\r\n]|[^\x1b\r\n]+"
)
UNFINISHED = re.compile(r"\x1b(\[[0-9;?<>=]*)?$")


class Glass:
    """The text on a terminal's screen, as far as Textual's output needs a terminal to know it."""

    def __init__(self, columns: int, rows: int) -> None:
        self._cells = [[" "] * columns for _ in range(rows)]
        self._x = self._y = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> None:
        """Moves the cursor and writes as told; colours are passed over."""
        text = self._rest + self._decoder.decode(data)
        cut = UNFINISHED.search(text)
        self._rest = text[cut.start() :] if cut else ""
        for token in TOKENS.finditer(text[: cut.start()] if cut else text):
            if token["command"] == "H":
                row, _, column = token["arguments"].partition(";")
                self._y, self._x = int(row or 1) - 1, int(column or 1) - 1
            elif token[0] == "\n":
                self._y += 1
            elif token[0] == "\r":
                self._x = 0
            elif token[0][0] != "\x1b":
                self._write(token[0])

    def _write(self, text: str) -> None:
        for char in text:
            if self._y < len(self._cells) and self._x < len(self._cells[0]):
                self._cells[self._y][self._x] = char
            self._x += get_character_cell_size(char)

    @property
    def text(self) -> str:
        """What can be read, row by row."""
        return "\n".join("".join(row) for row in self._cells)


class Terminal:
    """A pseudo-terminal of ``columns`` x ``rows`` with ``command`` in it, in a session of its own
    as in a terminal's window.
    """

    def __init__(self, command: Sequence[str], columns: int, rows: int) -> None:
        self.glass = Glass(columns, rows)
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
            start_new_session=True,
        )
        os.close(theirs)

    def press(self, keys: bytes) -> None:
        """Types."""
        os.write(self._ours, keys)

    def wait_for(self, words: str, patience: float = 30.0) -> float:
        """Seconds until ``words`` stood on the screen. Raises TimeoutError."""
        return self.wait_until(lambda glass: words in glass.text, patience)

    def wait_until(self, shows: Callable[[Glass], bool], patience: float = 30.0) -> float:
        """Seconds until the screen was as wanted. Raises TimeoutError.

        What has come is looked at when nothing more comes: a picture takes several writes, and
        looking at each would be slower than the program that makes them.
        """
        began, last = time.perf_counter(), 0.0
        while (now := time.perf_counter()) - began < patience:
            if data := self._read(0.005):
                last = now
                self.glass.feed(data)
            elif shows(self.glass):
                return max(last - began, 0.0)
        raise TimeoutError(self.glass.text)

    def drain(self, duration: float) -> int:
        """Bytes written in so many seconds."""
        count, end = 0, time.perf_counter() + duration
        while time.perf_counter() < end:
            data = self._read(0.05)
            self.glass.feed(data)
            count += len(data)
        return count

    def close(self) -> None:
        """Quits with q, or else kills."""
        self.press(b"q")
        try:
            end = time.monotonic() + 10
            while self.process.poll() is None and time.monotonic() < end:
                self._read(0.05)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            os.close(self._ours)

    def _read(self, patience: float) -> bytes:
        if not select.select([self._ours], [], [], patience)[0]:
            return b""
        with suppress(OSError):
            return os.read(self._ours, 1 << 16)
        return b""
