"""What happened, newest at the bottom."""

from __future__ import annotations

import time

from textual.geometry import Size
from textual.strip import Strip

from fedtui.tui.keymap import SCROLL_KEYS
from fedtui.tui.lines import Line, crop, plain
from fedtui.tui.widgets.drawn import DrawnList, inked, notice
from fedtui.tui.wording import LEVEL_SIGNS, Sign
from fedtui.view import EventView

EMPTY = "Quiet so far."
EMPTY_LONG = "Quiet so far. What members do appears here, a line each."


class EventList(DrawnList):
    """Follows the newest event until somebody scrolls up."""

    BINDINGS = SCROLL_KEYS
    _events: tuple[EventView, ...] = ()

    def watch_feed(self) -> None:
        """Adds what is new and stays at the bottom if it was there."""
        events = self.feed.view.events if self.feed.view else ()
        if events == self._events:
            return
        self._events = events
        self.entitle((("Events", "muted"),))
        self._measure()
        self.refresh()

    def on_mount(self) -> None:
        """Stays at the bottom until somebody scrolls up, and again when they are back there."""
        self.anchor()

    def on_resize(self) -> None:
        """Keeps the newest line in view when the room changes."""
        self._measure()

    def _measure(self) -> None:
        self.virtual_size = Size(self.room.width, len(self._events))

    def render_line(self, y: int) -> Strip:
        """One event, or the empty state."""
        width, height = self.room
        if not self._events:
            lines = notice(EMPTY_LONG if height > 1 else EMPTY, width, height)
            return inked(self, lines[y] if y < len(lines) else (), width)
        row = self.scroll_offset.y + y
        line = event_line(self._events[row], width) if row < len(self._events) else ()
        return inked(self, line, width)

    def copy_value(self) -> tuple[str, str] | None:
        """The newest event in view."""
        if not self._events:
            return None
        last = min(len(self._events), self.scroll_offset.y + self.room.height) - 1
        return "the event", plain(self._events[last].text)


def event_line(event: EventView, width: int) -> Line:
    """Time, glyph and text; colour only repeats what the glyph says."""
    sign = LEVEL_SIGNS.get(event.level, Sign("·", "", "muted"))
    stamp = time.strftime("%H:%M:%S", time.localtime(event.ts))
    ink = sign.ink if event.level in ("warning", "error") else "text"
    return crop(
        ((f"{stamp}  ", "faint"), (f"{sign.glyph} ", sign.ink), (plain(event.text), ink)), width
    )
