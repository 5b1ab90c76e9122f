"""What a member may do, and how many admins must agree: asked before it is signed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, Input, Static

from fedtui.tui.keymap import key
from fedtui.tui.lines import plain
from fedtui.tui.people import Person
from fedtui.tui.widgets.field import Field
from fedtui.tui.wording import count

RIGHTS = (
    ("contribute", "contribute", "Train, contribute and vote"),
    ("start_rounds", "start rounds", "Start rounds that wait for it"),
    ("see_previews", "see previews", "Get pictures that others drew"),
)
"""What the node calls each right, how it tells of it, and what a person reads."""
MOVES: tuple[BindingType, ...] = (
    key("up,k", "app.focus_previous", "Up", "The one before", "rights.up"),
    key("down,j", "app.focus_next", "Down", "The next one", "rights.down"),
    key("left,h", "app.focus_previous", "Left", "The other button", "rights.left"),
    key("right,l", "app.focus_next", "Right", "The other button", "rights.right"),
    key("escape,n", "no", "No", "Change nothing", "rights.no"),
)


class Right(Checkbox):
    """Textual's shows an X in both states and tells them apart by colour alone."""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override]
        """A tick, or nothing."""
        return "✓" if self.value else " "


class RightsScreen(ModalScreen[dict[str, Any]]):
    """Dismissed with what shall change, in the arguments of ``permit``; with nothing otherwise."""

    AUTO_FOCUS = "Checkbox"
    BINDINGS: ClassVar[list[BindingType]] = [*MOVES]

    def __init__(self, person: Person) -> None:
        super().__init__()
        self._person = person
        self._boxes = {
            name: Right(Content(words), said in person.may, compact=True, id=f"may-{name}")
            for name, said, words in RIGHTS
        }

    def compose(self) -> ComposeResult:
        """A box for each right, and two buttons."""
        with Vertical(id="dialog"):
            yield Static(Content(f"What may {plain(self._person.name)} do?"), id="question")
            yield Vertical(*self._boxes.values(), id="rights")
            yield Static(Content("space changes one. Everybody can watch."), id="consequences")
            with Horizontal(id="answers"):
                yield Button("No change", id="no")
                yield Button("Change", id="yes")

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss({})

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answers with the button."""
        self.dismiss(dict(self._changes()) if event.button.id == "yes" else {})

    def _changes(self) -> Iterator[tuple[str, Any]]:
        for name, said, _ in RIGHTS:
            wanted = self._boxes[name].value
            if wanted != (said in self._person.may):
                yield name, wanted
                if name == "contribute" and wanted and self._person.role == "observer":
                    yield "role", "participant"


class ThresholdScreen(ModalScreen[int]):
    """Dismissed with how many admins must sign a change from now on; 0 changes nothing."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape", "no", "No", "Change nothing", "threshold.no"),
    ]

    def __init__(self, admins: int) -> None:
        super().__init__()
        self._admins = admins

    def compose(self) -> ComposeResult:
        """One number."""
        told = (
            f"The room has {count(self._admins, 'admin')}. So many of them must sign whoever "
            "comes, goes or gets rights. With all of them, one who is away holds everything up.\n\n"
            "enter asks for it, esc changes nothing."
        )
        with Vertical(id="dialog"):
            yield Static(Content("How many admins must agree?"), id="question")
            yield Static(Content(told), id="consequences")
            yield Field(type="integer", compact=True, max_length=2, id="number")
            yield Static(Content(""), id="wrong")

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Takes a number that can be reached."""
        message.stop()
        wanted = int(message.value) if message.value.isdigit() else 0
        if 1 <= wanted <= self._admins:
            self.dismiss(wanted)
        else:
            told = f"! Between 1 and {self._admins}: M makes more members admins."
            self.query_one("#wrong", Static).update(Content(told))

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss(0)
