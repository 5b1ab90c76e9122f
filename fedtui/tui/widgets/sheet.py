"""Details of one thing: lines that scroll, made anew when the thing or the width changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.strip import Strip

from fedtui.tui.keymap import SCROLL_KEYS
from fedtui.tui.lines import Line, crop
from fedtui.tui.widgets.drawn import DrawnList, inked

Text = Callable[[int], Sequence[Line]]


class Sheet(DrawnList):
    """Shows what ``text`` says for the width at hand; only lines that differ are repainted."""

    BINDINGS: ClassVar[list[BindingType]] = SCROLL_KEYS

    def __init__(self, text: Text | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text: Text = text or (lambda width: ())
        self._lines: Sequence[Line] = ()
        self._value: tuple[str, str] | None = None

    def show(self, text: Text, value: tuple[str, str] | None = None) -> None:
        """Shows other lines; ``value`` is what copying gives: what it is, and its text."""
        self._text, self._value = text, value
        self.redraw()

    def on_resize(self) -> None:
        """Breaks the lines anew."""
        self.redraw()

    def redraw(self) -> None:
        """Computes all lines and repaints those in view that read differently."""
        width, height = self.room
        if not width:
            return
        lines = [crop(line, width) for line in self._text(width)]
        old, self._lines = self._lines, lines
        if len(old) != len(lines):
            self.virtual_size = Size(width, len(lines))
        top = self.scroll_offset.y
        changed = [
            y for y in range(height) if old[top + y : top + y + 1] != lines[top + y : top + y + 1]
        ]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """One line of the text."""
        row = y + self.scroll_offset.y
        line = self._lines[row] if row < len(self._lines) else ()
        return inked(self, line, self.room.width)

    def copy_value(self) -> tuple[str, str] | None:
        """What the details are about."""
        return self._value
