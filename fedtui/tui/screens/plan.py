"""What the room agreed on: all of it on one page, with what can still be changed and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from fedtui.tui.facts import heading, said
from fedtui.tui.keymap import BACK_KEYS, key
from fedtui.tui.lines import Line, plain, wrapped
from fedtui.tui.widgets.sheet import Sheet

FIXED = (
    "All of it was signed when the room was made, and nobody can change it, but for what names a "
    "key below. A room with other terms is another room: fedtui room create --help."
)
KEYS = {
    "fedtui room start": "s starts one",
    "fedtui room threshold": "A changes it",
    "fedtui room permit": "m on a member changes it",
}
"""What changes a term from the screen below this page, by the command that does the same."""


class PlanScreen(ModalScreen[None]):
    """A page over the room's screen."""

    AUTO_FOCUS = "Sheet"
    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK_KEYS,
        key("p", "back", "Back", "Close the page", "plan.close"),
    ]

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__()
        self._room = plain(str(told["name"]))
        self._terms: list[dict[str, str]] = list(told["terms"])

    def compose(self) -> ComposeResult:
        """One scrolling page."""
        with Vertical(id="help"):
            page = Sheet(self._text)
            page.entitle((("What ", "muted"), (self._room, "strong"), (" agreed on", "muted")))
            page.border_subtitle = "esc closes"
            yield page

    def action_back(self) -> None:
        """Closes the page."""
        self.dismiss()

    def _text(self, width: int) -> Sequence[Line]:
        return plan_lines(self._terms, width)


def plan_lines(terms: Sequence[dict[str, str]], width: int) -> list[Line]:
    """The terms under their headings, broken to the width."""
    lines: list[Line] = wrapped(FIXED, width - 1, "muted")
    group = ""
    for term in terms:
        if term["group"] != group:
            group = term["group"]
            lines += [(), heading(plain(group))]
        lines += said(plain(term["name"]), plain(term["value"]), width)
        if term["change"]:
            lines += said("", KEYS.get(term["change"], plain(term["change"])), width, "accent")
        elif term["meaning"]:
            lines += said("", plain(term["meaning"]), width, "muted")
    return lines
