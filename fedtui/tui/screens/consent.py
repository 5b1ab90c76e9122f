"""What leaves the machine, and whether a person agrees to it."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from fedtui.tui.folder import LEAVES
from fedtui.tui.keymap import key
from fedtui.tui.wording import count

STAYS = ("the pictures, their captions and file names", "everything computed from single pictures")
HONEST = (
    "An adapter can give away what it was trained on: whoever is in the room may try to draw "
    "your pictures with it. Do not train on pictures that must stay secret. How much an adapter "
    "tells: fedtui evaluate --leak."
)


class ConsentScreen(ModalScreen[bool]):
    """True when a person agrees to what leaves the machine."""

    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,n", "no", "No", "Do not train", "consent.no"),
        key("left,h", "app.focus_previous", "Left", "The other button", "consent.left"),
        key("right,l", "app.focus_next", "Right", "The other button", "consent.right"),
    ]

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__()
        self._usable = int(report["usable"])

    def compose(self) -> ComposeResult:
        """What leaves, what stays, and two buttons."""
        parts = ["Leaves this machine, to the members of this room:"]
        parts += [f"  · {text}" for text in LEAVES]
        parts += ["", "Stays here:", *(f"  · {text}" for text in STAYS), "", HONEST]
        with Vertical(id="dialog"):
            yield Static(Content(f"Train on {count(self._usable, 'picture')}?"), id="question")
            yield Static(Content("\n".join(parts)), id="consequences")
            with Horizontal(id="answers"):
                yield Button("No", id="no")
                yield Button("I agree, train", id="yes", variant="primary")

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss(False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answers with the button."""
        self.dismiss(event.button.id == "yes")
