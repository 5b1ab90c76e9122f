"""A log of many thousand lines: filtered once, drawn a window at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual.binding import BindingType
from textual.geometry import Size
from textual.strip import Strip

from fedtui.tui.keymap import SCROLL_KEYS
from fedtui.tui.limits import LOG_LINES
from fedtui.tui.lines import Ink, Line, crop, plain
from fedtui.tui.widgets.drawn import DrawnList, inked, notice

LEVELS = ("debug", "info", "warning", "error")
SIGNS: dict[str, tuple[str, Ink]] = {
    "debug": ("·", "faint"),
    "info": ("·", "muted"),
    "ok": ("✓", "ok"),
    "warning": ("!", "warning"),
    "error": ("✗", "error"),
}
RANKS = {"debug": 0, "info": 1, "ok": 1, "warning": 2, "error": 3}


class LogLine(NamedTuple):
    """Time of day, level and text."""

    time: str
    level: str
    text: str


class LogView(DrawnList):
    """Follows the newest line until somebody scrolls up."""

    BINDINGS: ClassVar[list[BindingType]] = SCROLL_KEYS

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._all: list[LogLine] = []
        self._kept: list[LogLine] = []
        self._level = 0
        self._needle = ""
        self._wrong_way = False

    def on_mount(self) -> None:
        """Stays at the bottom until somebody scrolls up."""
        self.anchor()

    def on_resize(self) -> None:
        """Keeps the newest line in view."""
        self._measure()

    @property
    def counts(self) -> tuple[int, int]:
        """Lines that pass the filter, and all."""
        return len(self._kept), len(self._all)

    def clear(self) -> None:
        """Forgets everything."""
        self._all, self._kept = [], []
        self._measure()
        self.refresh()

    def add(self, lines: Sequence[LogLine]) -> None:
        """Adds new lines at the end; beyond the limit the oldest go."""
        if not lines:
            return
        self._all += lines
        if len(self._all) > LOG_LINES:
            del self._all[: len(self._all) - LOG_LINES]
            self._sift()
            return
        self._kept += [line for line in lines if self._passes(line)]
        self._measure()
        self.refresh()

    def sift(self, level: str, needle: str) -> None:
        """Shows only lines of at least ``level`` with ``needle``; with ``!needle``, without."""
        self._level = RANKS[level]
        self._wrong_way = needle.startswith("!")
        self._needle = needle.removeprefix("!").casefold()
        self._sift()

    def _sift(self) -> None:
        self._kept = [line for line in self._all if self._passes(line)]
        self._measure()
        self.refresh()

    def _passes(self, line: LogLine) -> bool:
        if RANKS.get(line.level, 1) < self._level:
            return False
        return not self._needle or (self._needle in line.text.casefold()) != self._wrong_way

    def _measure(self) -> None:
        self.virtual_size = Size(self.room.width, len(self._kept))

    def render_line(self, y: int) -> Strip:
        """One line, or the empty state."""
        width, height = self.room
        if not self._kept:
            told = "Quiet so far." if not self._all else "No line passes the filter."
            lines = notice(told, width, height)
            return inked(self, lines[y] if y < len(lines) else (), width)
        row = self.scroll_offset.y + y
        line = log_line(self._kept[row], width) if row < len(self._kept) else ()
        return inked(self, line, width)

    def copy_value(self) -> tuple[str, str] | None:
        """The newest line in view."""
        if not self._kept:
            return None
        last = min(len(self._kept), self.scroll_offset.y + self.room.height) - 1
        return "the line", plain(self._kept[last].text)


def log_line(line: LogLine, width: int) -> Line:
    """Time, glyph and text; colour only repeats what the glyph says."""
    glyph, ink = SIGNS.get(line.level, ("·", "muted"))
    body: Ink = ink if line.level in ("warning", "error") else "text"
    stamp = f"{plain(line.time):<8}  "
    return crop(((stamp, "faint"), (f"{glyph} ", ink), (plain(line.text), body)), width)
