"""Where a member is, said by hand: for networks on which machines do not find one another."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from fedtui.tui.keymap import key
from fedtui.tui.widgets.field import Field

PLACE_CHARS = 262
"""Of a host's name and a port."""
TOLD = (
    "For networks on which the machines do not find one another. The address stands on the other "
    "machine: fedtui peers, or key 2 there. Its certificate says who answers.\n\n"
    "enter connects, esc changes nothing."
)


class AddressScreen(ModalScreen[str]):
    """Dismissed with ``HOST:PORT`` as it was typed, or with nothing."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape", "no", "No", "Change nothing", "address.no"),
    ]

    def compose(self) -> ComposeResult:
        """One line."""
        with Vertical(id="dialog"):
            yield Static(Content("Where does a member listen?"), id="question")
            yield Static(Content(TOLD), id="consequences")
            yield Field(placeholder="192.168.1.20:7420", compact=True, max_length=PLACE_CHARS)

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Whether it is an address the node says, in the same words as to the command."""
        message.stop()
        self.dismiss(message.value.strip())

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss("")
