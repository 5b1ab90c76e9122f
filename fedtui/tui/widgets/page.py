"""A page of fixed text that scrolls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.geometry import Size
from textual.strip import Strip

from fedtui.tui.keymap import SCROLL_KEYS
from fedtui.tui.lines import Line, crop
from fedtui.tui.widgets.drawn import DrawnList, inked


class Page(DrawnList):
    """Lines made for the width at hand by ``text``."""

    BINDINGS = SCROLL_KEYS

    def __init__(self, text: Callable[[int], Sequence[Line]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = text
        self._lines: Sequence[Line] = ()

    def on_resize(self) -> None:
        """Breaks the lines anew."""
        width = self.room.width
        self._lines = self._text(width)
        self.virtual_size = Size(width, len(self._lines))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the text."""
        row = y + self.scroll_offset.y
        line = self._lines[row] if row < len(self._lines) else ()
        return inked(self, crop(line, self.room.width), self.room.width)
