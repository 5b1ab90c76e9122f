"""A log of many thousand lines: filtered once, drawn a window at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.cells import chop_cells
from textual import events
from textual.binding import BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from fedtui.tui.facts import heading
from fedtui.tui.keymap import LIST_KEYS
from fedtui.tui.limits import FIELD_CHARS, LOG_LINES
from fedtui.tui.lines import Ink, Line, crop, plain, wrapped
from fedtui.tui.widgets.drawn import DrawnList, inked, notice, under

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
    """Time of day, level and text; ``fields`` is the JSON it was told in, or empty. ``member``: it
    is an event that tells of another member."""

    time: str
    level: str
    text: str
    fields: str = ""
    member: bool = False


class LogView(DrawnList):
    """Follows the newest line until somebody goes up."""

    BINDINGS: ClassVar[list[BindingType]] = LIST_KEYS

    class Moved(Message):
        """Another line is under the cursor of ``view``."""

        def __init__(self, view: LogView) -> None:
            super().__init__()
            self.view = view

        def can_replace(self, message: Message) -> bool:
            """A burst collapses to the newest."""
            return isinstance(message, LogView.Moved) and message.view is self.view

    class Opened(Message):
        """The line under the cursor was chosen."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._all: list[LogLine] = []
        self._kept: list[LogLine] = []
        self._cursor: int | None = None
        self._level = 0
        self._needle = ""
        self._wrong_way = False
        self._member: bool | None = None

    def on_mount(self) -> None:
        """Stays at the bottom until somebody goes up."""
        self.anchor()

    def on_resize(self) -> None:
        """Keeps the newest line in view, or the one under the cursor."""
        self._measure()
        if self._cursor is not None:
            self._reveal(self._cursor)

    @property
    def counts(self) -> tuple[int, int]:
        """Lines that pass the filter, and all."""
        return len(self._kept), len(self._all)

    @property
    def selected(self) -> LogLine | None:
        """The line under the cursor; the newest while that is followed."""
        return self._kept[self._row] if self._kept else None

    @property
    def _row(self) -> int:
        return len(self._kept) - 1 if self._cursor is None else self._cursor

    def clear(self) -> None:
        """Forgets everything."""
        self._all, self._kept = [], []
        self.follow()

    def follow(self) -> None:
        """To the newest line, and on with every newer one."""
        self._cursor = None
        self._show()
        self.anchor()
        self.scroll_end(animate=False)

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
        self._show()

    def sift(self, level: str, needle: str, member: bool | None = None) -> None:
        """Shows only lines of at least ``level`` with ``needle``; with ``!needle``, without; and
        only those that tell of another ``member``, or that do not, unless it is None."""
        self._level = RANKS[level]
        self._member = member
        self._wrong_way = needle.startswith("!")
        self._needle = needle.removeprefix("!").casefold()
        self._sift()

    def _sift(self) -> None:
        chosen = self.selected if self._cursor is not None else None
        self._kept = [line for line in self._all if self._passes(line)]
        if chosen is not None:
            rows = range(len(self._kept))
            self._cursor = next((row for row in rows if self._kept[row] is chosen), None)
        self._show()

    def _show(self) -> None:
        self._measure()
        self.refresh()
        self.post_message(self.Moved(self))

    def _passes(self, line: LogLine) -> bool:
        if RANKS.get(line.level, 1) < self._level:
            return False
        if self._member not in (None, line.member):
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
        strip = inked(self, line, width)
        if row == self._row and self.has_focus:
            return under(strip, self.get_component_rich_style("list--cursor", partial=True))
        return strip

    def action_move(self, rows: int) -> None:
        """Moves the cursor; at the newest line it follows."""
        row = max(0, min(len(self._kept) - 1, self._row + rows))
        if row >= len(self._kept) - 1:
            self.follow()
            return
        self._cursor = row
        self.release_anchor()
        self._reveal(row)
        self._show()

    def _reveal(self, row: int) -> None:
        top, page = self.scroll_offset.y, max(1, self.room.height)
        if row < top:
            self.scroll_to(y=row, animate=False, immediate=True)
        elif row >= top + page:
            self.scroll_to(y=row - page + 1, animate=False, immediate=True)

    def action_page(self, pages: int) -> None:
        """Moves the cursor by as many lines as are in view."""
        self.action_move(pages * max(1, self.room.height))

    def action_open(self) -> None:
        """Chooses the line under the cursor."""
        if self._kept:
            self.post_message(self.Opened())

    def on_focus(self) -> None:
        """Shows the cursor."""
        self.refresh()

    def on_blur(self) -> None:
        """Hides the cursor."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Moves the cursor to the line under the pointer; a second click opens it."""
        offset = event.get_content_offset(self)
        row = self.scroll_offset.y + offset.y if offset is not None else len(self._kept)
        if row < len(self._kept):
            self.action_move(row - self._row)
            if event.chain == 2:
                self.action_open()

    def copy_value(self) -> tuple[str, str] | None:
        """The line under the cursor."""
        chosen = self.selected
        return ("the line", plain(chosen.text)) if chosen else None


def log_line(line: LogLine, width: int) -> Line:
    """Time, glyph and text; colour only repeats what the glyph says."""
    glyph, ink = SIGNS.get(line.level, ("·", "muted"))
    body: Ink = ink if line.level in ("warning", "error") else "text"
    stamp = f"{plain(line.time):<8}  "
    return crop(((stamp, "faint"), (f"{glyph} ", ink), (plain(line.text), body)), width)


def event_lines(line: LogLine | None, width: int) -> list[Line]:
    """All of a line, and its fields as JSON, one below the other."""
    if line is None:
        return wrapped("What the log tells stands here in full, line by line.", width - 1, "muted")
    glyph, ink = SIGNS.get(line.level, ("·", "muted"))
    head: Line = ((f"{glyph} {plain(line.level)}", ink), (f"  {plain(line.time)}", "faint"))
    lines: list[Line] = [head]
    lines += wrapped(line.text, width - 1)
    if not line.fields:
        return lines
    lines += [(), heading("Fields")]
    for row in json.dumps(json.loads(line.fields), indent=2, ensure_ascii=False).splitlines():
        text = plain(row, FIELD_CHARS)
        indent = min(len(row) - len(row.lstrip(" ")), width // 2)
        for part in chop_cells(text, max(8, width - indent - 1)):
            lines.append(((" " * indent + part, "muted"),))
    return lines
