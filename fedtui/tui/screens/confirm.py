"""Asks before something that cannot be taken back."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from fedtui.tui.keymap import key
from fedtui.tui.lines import plain


class ConfirmScreen(ModalScreen[bool]):
    """True when a person says yes; No has the focus."""

    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,n", "no", "No", "Change nothing", "confirm.no"),
        key("left,h", "app.focus_previous", "Left", "The other button", "confirm.left"),
        key("right,l", "app.focus_next", "Right", "The other button", "confirm.right"),
    ]

    def __init__(self, question: str, consequences: str, yes: str) -> None:
        super().__init__()
        self._words = plain(question), "\n".join(map(plain, consequences.splitlines())), yes

    def compose(self) -> ComposeResult:
        """What happens, and two buttons."""
        question, consequences, yes = self._words
        with Vertical(id="dialog"):
            yield Static(Content(question), id="question")
            yield Static(Content(consequences), id="consequences")
            with Horizontal(id="answers"):
                yield Button("No", id="no")
                yield Button(Content(yes), id="yes", variant="error")

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss(False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answers with the button."""
        self.dismiss(event.button.id == "yes")
