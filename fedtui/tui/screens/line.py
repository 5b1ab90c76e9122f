"""One line that somebody types, as an answer to a question."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from fedtui.tui.keymap import key
from fedtui.tui.lines import plain
from fedtui.tui.widgets.field import Field


class LineScreen(ModalScreen[str]):
    """Dismissed with what was typed, or with nothing."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape", "no", "No", "Change nothing", "line.no"),
    ]

    def __init__(self, question: str, told: str, placeholder: str, most: int) -> None:
        super().__init__()
        self._question, self._told = plain(question), told
        self._placeholder, self._most = placeholder, most

    def compose(self) -> ComposeResult:
        """The question, what to know, the line."""
        with Vertical(id="dialog"):
            yield Static(Content(self._question), id="question")
            yield Static(Content(self._told), id="consequences")
            yield Field(placeholder=self._placeholder, compact=True, max_length=self._most)

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Whether it makes sense the node says, in the same words as to a command."""
        message.stop()
        self.dismiss(message.value.strip())

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss("")
