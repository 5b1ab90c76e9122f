"""The row of screens and their number keys."""

from __future__ import annotations

from textual import events

from fedtui.tui.feed import Feed
from fedtui.tui.lines import Line, Span, width_of
from fedtui.tui.places import NUMBERED
from fedtui.tui.widgets.drawn import Drawn


class ModeBar(Drawn):
    """Marks the screen on show; a click opens another."""

    DEFAULT_CSS = "ModeBar { height: 1; padding: 0 1; }"

    def __init__(self, current: str) -> None:
        super().__init__()
        self._current = current

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """One line."""
        return [bar(self._current, width)]

    async def on_click(self, event: events.Click) -> None:
        """Opens the screen under the pointer."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        x = 0
        for i, (text, _) in enumerate(bar(self._current, self.size.width)):
            x += len(text)
            if offset.x < x:
                await self.run_action(f"app.place('{NUMBERED[i].id}')")
                return


def bar(current: str, width: int) -> Line:
    """``[1 Dash] 2 Peers  3 …``; where it is narrow only the current one has its name."""
    for roomy, named in ((True, True), (False, True), (False, False)):
        line = row(current, roomy, named)
        if width_of(line) <= width:
            return line
    return line


def row(current: str, roomy: bool, named: bool) -> Line:
    """One span per place."""
    spans: list[Span] = []
    for place in NUMBERED:
        mine = place.id == current
        text = f"{place.key} {place.name}" if named or mine else place.key
        other = f" {text} " if roomy else f" {text}"
        spans.append((f"[{text}]", "accent") if mine else (other, "muted"))
    return tuple(spans)
