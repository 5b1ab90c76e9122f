"""Data to stdout, narration to stderr, and progress that suits a person or a log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

LOG_INTERVAL_S = 5.0
"""Between two progress lines when nobody watches a terminal."""
QR_ERROR_CORRECTION = "l"
"""The least: a screen is clean, and fewer dots fit more terminals."""


@dataclass
class OutputSettings:
    """What the options before the command said."""

    debug: bool = False


settings = OutputSettings()


def data(text: str) -> None:
    """What the command was asked for."""
    _write(sys.stdout, _shown(text) + "\n")


def data_json(value: Any) -> None:
    """The same for a program; what a terminal would obey is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    escaped = (char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    _write(sys.stdout, (text if text.isprintable() else "".join(escaped)) + "\n")


def say(text: str) -> None:
    """What a person may want to know meanwhile."""
    _write(sys.stderr, _shown(text) + "\n")


def _shown(text: str) -> str:
    """Without what a terminal would obey: the last gate for text of other members."""
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def show_qr(text: str) -> None:
    """The QR code, where somebody looks at a terminal that can draw it."""
    import io

    if not sys.stderr.isatty():
        return
    import segno

    picture = io.StringIO()
    segno.make(text, error=QR_ERROR_CORRECTION, boost_error=False).terminal(picture, compact=True)
    _write(sys.stderr, picture.getvalue() + "\n")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, separated by two blanks."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )
    return "\n".join(lines)


class ProgressLine:
    """One line that rewrites itself on a terminal, or a line every few seconds in a log."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = ""
        self._last = float("-inf")

    def show(self, text: str) -> None:
        if self._live:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._shown = text
            return
        now = time.monotonic()
        if text != self._shown and now - self._last >= LOG_INTERVAL_S:
            self._shown, self._last = text, now
            say(text)

    def clear(self) -> None:
        """Makes room for another line."""
        if self._live and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = ""
