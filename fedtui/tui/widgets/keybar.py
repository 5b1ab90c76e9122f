"""The last row: the keys that are worth knowing here.

Textual's own footer makes a widget of every key, and makes all of them anew with each change of
the focus; that was half of the time from a number key to the next screen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from textual import events
from textual.binding import ActiveBinding
from textual.screen import Screen

from fedtui.tui.feed import Feed
from fedtui.tui.keymap import HELP, key_name
from fedtui.tui.lines import Line, width_of
from fedtui.tui.widgets.drawn import Drawn


class Shown(NamedTuple):
    """A key as it is shown; ``press`` is what a click on it stands for."""

    press: str
    words: Line
    id: str


class KeyBar(Drawn):
    """Keys with their labels; a click on one presses it. Greyed: not possible now."""

    DEFAULT_CSS = "KeyBar { height: 1; padding: 0 1; dock: bottom; }"

    def on_mount(self) -> None:
        """Follows the focus and what is possible."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self.redraw()

    def _changed(self, screen: Screen[object]) -> None:
        self.call_after_refresh(self.redraw)

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """One line."""
        return [tuple(span for shown in self._fitting(width) for span in shown.words)]

    def _fitting(self, width: int) -> tuple[Shown, ...]:
        return fitting(keys_shown(self.screen.active_bindings.values()), width)

    def on_click(self, event: events.Click) -> None:
        """Presses the key under the pointer."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        x = 0
        for shown in self._fitting(self.size.width):
            x += width_of(shown.words)
            if offset.x < x:
                self.app.simulate_key(shown.press)
                return


def keys_shown(bindings: Iterable[ActiveBinding]) -> tuple[Shown, ...]:
    """The keys meant to be shown, one for each action."""
    found: dict[str, Shown] = {}
    for _node, binding, enabled, _tooltip in bindings:
        if binding.show and binding.action not in found:
            words: Line = (
                (f" {key_name(binding)} ", "key" if enabled else "faint"),
                (f"{binding.description} ", "muted" if enabled else "faint"),
            )
            found[binding.action] = Shown(binding.key, words, binding.id or "")
    return tuple(found.values())


def fitting(shown: tuple[Shown, ...], width: int) -> tuple[Shown, ...]:
    """As many as there is room for, the help among them: it tells of the others."""
    kept = list(shown)
    while sum(width_of(each.words) for each in kept) > width:
        spare = [each for each in kept if each.id != HELP]
        if not spare:
            break
        kept.remove(spare[-1])
    return tuple(kept)
