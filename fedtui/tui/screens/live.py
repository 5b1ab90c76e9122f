"""What every screen that shows the node has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from textual.reactive import reactive
from textual.screen import Screen

from fedtui.tui.feed import Feed
from fedtui.tui.lines import plain


@runtime_checkable
class Copyable(Protocol):
    """A widget that has something to copy."""

    def copy_value(self) -> tuple[str, str] | None:
        """What it is, for the message, and the text."""


class LiveScreen(Screen[None]):
    """Receives every feed from the application and passes it to its widgets by data binding."""

    feed: reactive[Feed] = reactive(Feed, repaint=False)

    def action_back(self) -> None:
        """Returns to where this screen was opened."""
        self.dismiss()

    def copyables(self) -> Iterator[Any]:
        """Who is asked for something to copy, in this order."""
        yield self.focused

    def action_copy(self) -> None:
        """Copies by OSC 52, which may fail silently: the message shows the text as well."""
        for widget in self.copyables():
            value = widget.copy_value() if isinstance(widget, Copyable) else None
            if value:
                what, text = value
                self.app.copy_to_clipboard(text)
                self.notify(plain(text), title=f"Copied {what}", timeout=5, markup=False)
                return
        self.notify("There is nothing to copy here yet.", severity="warning", markup=False)
