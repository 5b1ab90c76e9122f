"""Which base model to download."""

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

TOLD = (
    "The name of a diffusion model on the hub, OWNER/NAME, with @REVISION after it if you want a "
    "certain one. The hub is asked how large it is; nothing is downloaded before you agree.\n\n"
    "enter asks, esc changes nothing."
)


class FetchingScreen(ModalScreen[str]):
    """Dismissed with a name as it was typed, or with nothing. ``model`` is offered."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape", "no", "No", "Change nothing", "fetching.no"),
    ]

    def __init__(self, model: str = "") -> None:
        super().__init__()
        self._field = Field(model, placeholder="owner/name", compact=True, max_length=300)

    def compose(self) -> ComposeResult:
        """One line."""
        with Vertical(id="dialog"):
            yield Static(Content("Download which model?"), id="question")
            yield Static(Content(TOLD), id="consequences")
            yield self._field

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """What is there of this name the hub says."""
        message.stop()
        self.dismiss(message.value.strip())

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss("")
