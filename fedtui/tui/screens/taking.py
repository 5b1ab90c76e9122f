"""Which adapter file to take onto the shelf."""

from __future__ import annotations

import os
import re
from typing import ClassVar
from urllib.parse import unquote

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from fedtui.tui.keymap import key
from fedtui.tui.widgets.field import Field

TOLD = (
    "A LoRA file (.safetensors) of kohya, diffusers, peft, ComfyUI or safelora that was made for "
    "this room's base model. It is read whole first, then copied; the file itself stays where it "
    "is.\n\nType its path, or drop the file here. enter takes it, esc changes nothing."
)
QUOTES = "'\""
SCHEME = "file://"


class TakingScreen(ModalScreen[str]):
    """Dismissed with a path as it was typed, or with nothing."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape", "no", "No", "Change nothing", "taking.no"),
    ]

    def compose(self) -> ComposeResult:
        """One line."""
        with Vertical(id="dialog"):
            yield Static(Content("Take in which adapter?"), id="question")
            yield Static(Content(TOLD), id="consequences")
            yield Field(placeholder="~/Downloads/style.safetensors", compact=True)

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """What kind of file it is the node says."""
        message.stop()
        self.dismiss(unquoted(message.value))

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss("")


def unquoted(text: str) -> str:
    """The path of a file that was dropped on a terminal, which pastes it as a shell or a browser
    would write it: in quotes, with backslashes before blanks, or as a URL."""
    text = text.strip()
    if text.startswith(SCHEME):
        return unquote(text.removeprefix(SCHEME))
    if len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES:
        return text[1:-1]
    return re.sub(r"\\(.)", r"\1", text) if os.sep == "/" else text
