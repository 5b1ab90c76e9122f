"""What every screen that shows the node has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias, runtime_checkable

from textual.reactive import reactive
from textual.screen import Screen

from fedtui.tui.feed import Feed
from fedtui.tui.lines import plain

Value: TypeAlias = tuple[str, str]
"""What something is, for the message, and its text."""


@runtime_checkable
class Copyable(Protocol):
    """A widget that has something to copy."""

    def copy_value(self) -> Value | None:
        """What is under its cursor, or what it shows."""


class LiveScreen(Screen[None]):
    """Receives every feed from the application and passes it to its widgets by data binding."""

    feed: reactive[Feed] = reactive(Feed, repaint=False)

    def action_back(self) -> None:
        """Returns to where this screen was opened."""
        self.dismiss()

    def copy_values(self) -> Iterator[Value | None]:
        """What ``y`` may copy, the most wanted first."""
        yield value_of(self.focused)

    def action_copy(self) -> None:
        """Copies the first thing there is."""
        found = next((value for value in self.copy_values() if value), None)
        if found:
            copy(self, *found)
        else:
            self.notify("There is nothing to copy here yet.", severity="warning", markup=False)


def value_of(widget: object) -> Value | None:
    """What a widget has to copy."""
    return widget.copy_value() if isinstance(widget, Copyable) else None


def copy(screen: Screen[None] | Screen[int], what: str, text: str) -> None:
    """Copies by OSC 52, which may fail silently: the message shows the text as well."""
    screen.app.copy_to_clipboard(text)
    screen.notify(plain(text), title=f"Copied {what}", markup=False)
