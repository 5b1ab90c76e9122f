"""Asks before something ends that others take part in."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from fedtui.tui.keymap import key
from fedtui.tui.lines import plain
from fedtui.view import NodeView


class QuitScreen(ModalScreen[bool]):
    """True when the room on this machine shall end. Staying has the focus."""

    AUTO_FOCUS = "#stay"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,n", "stay", "Stay", "Stay here", "quit.stay"),
        key("left,h", "app.focus_previous", "Left", "The other button", "quit.left"),
        key("right,l", "app.focus_next", "Right", "The other button", "quit.right"),
        Binding("ctrl+c", "leave", show=False, priority=True),  # pressed twice, it is meant
    ]

    def __init__(self, view: NodeView, hint: str) -> None:
        super().__init__()
        self._text = consequences(view, hint)

    def compose(self) -> ComposeResult:
        """What ends, and two buttons."""
        with Vertical(id="dialog"):
            yield Static(Content("Leave, and end what runs here?"), id="question")
            yield Static(Content(self._text), id="consequences")
            with Horizontal(id="answers"):
                yield Button("Stay", id="stay", variant="primary")
                yield Button("Quit", id="leave", variant="error")

    def action_stay(self) -> None:
        """Changes nothing."""
        self.dismiss(False)

    def action_leave(self) -> None:
        """Ends what runs here."""
        self.dismiss(True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answers with the button."""
        self.dismiss(event.button.id == "leave")


def consequences(view: NodeView, hint: str) -> str:
    """Exactly what ends: first what the caller says, then the state of the round."""
    said = plain(hint) or "This node stops, and this machine leaves the round."
    room = plain(view.room_name) or "the room"
    now = view.round
    if not now.number:
        return said
    phase = f"Round {now.number} of {room} is in {plain(now.phase)}"
    return f"{said}\n\n{phase}: it is not committed yet and this machine's part may be lost."
