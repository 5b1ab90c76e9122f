"""What is shown instead of everything when the window is too small."""

from __future__ import annotations

from fedtui.tui.feed import Feed
from fedtui.tui.limits import MIN_COLUMNS, MIN_LINES
from fedtui.tui.lines import Line, centred, cut
from fedtui.tui.widgets.drawn import Drawn


class SizePlate(Drawn):
    """Asks for a larger window and says how large."""

    DEFAULT_CSS = "SizePlate { width: 1fr; height: 1fr; display: none; }"

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """Two centred lines."""
        lines: list[Line] = [
            ((cut(f"{MIN_COLUMNS}x{MIN_LINES} needed", width), "strong"),),
            ((cut(f"you have {self.app.size.width}x{self.app.size.height}", width), "muted"),),
        ]
        shown = [centred(line, width) for line in lines][:height]
        return [()] * ((height - len(shown)) // 2) + shown
