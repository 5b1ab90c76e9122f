"""An invite as text and as a picture for phones and cameras."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from fedtui.tui.keymap import key
from fedtui.tui.lines import plain
from fedtui.tui.look import Look
from fedtui.tui.screens.live import copy
from fedtui.tui.widgets.qr import QR
from fedtui.tui.wording import count, moment

AROUND = 13
"""Lines of the dialog beside its picture."""


class InviteScreen(ModalScreen[None]):
    """Shown until somebody closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,q,enter", "close", "Close", "Close the invite", "invite.close"),
        key("y", "copy", "Copy", "Copy the invite", "invite.copy"),
    ]

    def __init__(self, invite: dict[str, Any]) -> None:
        super().__init__()
        self._invite = invite

    def compose(self) -> ComposeResult:
        """The command, the code, and until when."""
        invite = self._invite
        text = plain(str(invite["text"]))
        look: Look = getattr(self.app, "look", Look())
        until = moment(float(invite["expires"]))
        uses = count(int(invite["uses"]), "machine")
        with Vertical(id="dialog", classes="invite"):
            yield Static(Content("Others join with"), id="question")
            yield Static(Content(f"fedtui room join {text}"), id="consequences")
            if invite["kind"] == "link" and look.characters != "ascii":
                code = QR(text)
                if self.app.size.height >= code.lines + AROUND:
                    yield code
                else:
                    told = f"A window of {code.lines + AROUND} lines shows it as a QR code, too."
                    yield Static(Content(told), id="too-low")
            asked = "without asking you" if invite["auto_approve"] else "after you say yes"
            told = f"For {uses}, {asked}, until {until}.  y copies, esc closes."
            yield Static(Content(told), id="until")

    def action_close(self) -> None:
        """Back to the room."""
        self.dismiss()

    def action_copy(self) -> None:
        """Copies the whole command."""
        copy(self, "the command", f"fedtui room join {self._invite['text']}")
