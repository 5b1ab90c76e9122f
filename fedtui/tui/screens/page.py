"""Opens, shows and closes the page of pictures for people without the program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Static

from fedtui.tui.keymap import key
from fedtui.tui.lines import plain
from fedtui.tui.look import Look
from fedtui.tui.screens.live import copy
from fedtui.tui.widgets.qr import QR
from fedtui.tui.wording import moment

Wish = Literal["", "machine", "network", "close"]
"""What a person wants of the page; nothing, where it shall be open, or that it ends."""

SHOWS = (
    "A page for the browser of a phone: every prompt before and after, and through all rounds. It "
    "shows the previews this machine has drawn, nobody's name and nothing of your folder, and it "
    "can only be read.\n\n"
    "Whoever gets the link can look, and on the network whoever listens there, too."
)
AROUND = 4
"""Lines of the dialog above and below the code."""


class PageScreen(ModalScreen[Wish]):
    """``page`` is what the node said of it; dismissed with what a person wants."""

    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,n", "answer('')", "Close", "Leave the page as it is", "page.leave"),
        key("x", "answer('close')", "End it", "Close the page for everybody", "page.end"),
        key("y", "copy", "Copy", "Copy the page's link", "page.copy"),
        key("left,h", "app.focus_previous", "Left", "The other button", "page.left"),
        key("right,l", "app.focus_next", "Right", "The other button", "page.right"),
    ]

    def __init__(self, page: dict[str, Any]) -> None:
        super().__init__()
        self._page = page
        self._links = [plain(str(link)) for link in page["links"]]

    def compose(self) -> ComposeResult:
        """A question while there is no page, its link when there is one."""
        with Vertical(id="dialog", classes="invite" if self._links else ""):
            yield from self._link() if self._links else self._question()

    def _question(self) -> Iterator[Widget]:
        yield Static(Content("Open a page of the pictures?"), id="question")
        yield Static(Content(SHOWS), id="consequences")
        with Horizontal(id="answers"):
            yield Button("No", id="no")
            yield Button("Here only", id="machine")
            yield Button("The network", id="network")

    def _link(self) -> Iterator[Widget]:
        network = bool(self._page["network"])
        who = "everybody on this network with the link" if network else "this machine only"
        until = moment(float(self._page["until"]))
        told = (
            f"For {who}, until {until}.\n\ny copies the link, x ends the page, esc leaves it open."
        )
        words = [
            Static(Content("The pictures are at"), id="question"),
            Static(Content("\n".join(self._links)), id="consequences"),
            Static(Content(told), id="until"),
        ]
        look: Look = getattr(self.app, "look", Look())
        code = QR(self._links[0]) if network and look.characters != "ascii" else None
        if code is None:
            yield from words
        elif self.app.size.height < code.lines + AROUND:
            yield from words
            higher = f"A window of {code.lines + AROUND} lines shows it as a QR code, too."
            yield Static(Content(higher), id="too-low")
        else:
            yield Horizontal(code, Vertical(*words), id="beside")

    def action_answer(self, wish: Wish) -> None:
        """Returns what a person wants; only an open page can be closed."""
        if wish != "close" or self._links:
            self.dismiss(wish)

    def action_copy(self) -> None:
        """Copies the first link."""
        if self._links:
            copy(self, "the link", self._links[0])

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answers with the button."""
        wishes: dict[str | None, Wish] = {"machine": "machine", "network": "network"}
        self.dismiss(wishes.get(event.button.id, ""))
