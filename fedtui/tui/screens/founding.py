"""The plan of a room about to be made: asked once, because nobody can change it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from fedtui.room_plan import RoomPlan
from fedtui.tui.lines import plain
from fedtui.tui.screens.rights import MOVES, Right
from fedtui.tui.widgets.field import Field

BUILT_IN = "tiny-landscapes"
FIXED = "It cannot be changed once the room is made."
NUMBERS = (
    ("rounds", "Rounds in all", 100_000),
    ("steps", "Training steps a round", 1_000_000),
    ("needed", "Participants it takes", 128),
)
"""Whole numbers from 1 on: the field of :class:`RoomPlan`, what a person reads, the highest."""


class FoundingScreen(ModalScreen[RoomPlan]):
    """Dismissed with the plan; with nothing when the person goes back."""

    AUTO_FOCUS = "#yes"
    BINDINGS: ClassVar[list[BindingType]] = [*MOVES]

    def __init__(self, room: str, plan: RoomPlan) -> None:
        super().__init__()
        self._room = plain(room)
        self._numbers = {
            name: Field(
                str(getattr(plan, name)), type="integer", compact=True, max_length=7, id=name
            )
            for name, _, _ in NUMBERS
        }
        self._model = Field(plan.model, placeholder=f"{BUILT_IN}, or a folder", compact=True)
        self._prompt = Field(plan.prompt, placeholder="the model's own examples", compact=True)
        self._waits = Right(
            Content("Rounds wait until somebody starts them (s)"), plan.on_request, compact=True
        )

    def compose(self) -> ComposeResult:
        """A row for each choice, and two buttons."""
        with Vertical(id="dialog"):
            yield Static(Content(f"The plan of {self._room}"), id="question")
            yield Static(Content(FIXED), id="consequences")
            for label, field in self._rows():
                with Horizontal(classes="row"):
                    yield Static(Content(label))
                    yield field
            yield self._waits
            yield Static(Content(""), id="wrong")
            with Horizontal(id="answers"):
                yield Button("Back", id="no")
                yield Button("Make the room", id="yes")

    def _rows(self) -> Iterator[tuple[str, Widget]]:
        for name, label, _ in NUMBERS:
            yield label, self._numbers[name]
        yield "Model", self._model
        yield "Previews draw", self._prompt

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Enter goes from field to field, and from the last one on."""
        message.stop()
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Makes the room if the numbers do, or says which does not."""
        event.stop()  # The application has buttons of its own.
        if event.button.id != "yes":
            self.dismiss()
            return
        for name, label, most in NUMBERS:
            text = self._numbers[name].value
            if not (text.isdigit() and 1 <= int(text) <= most):
                told = f"! {label}: a number between 1 and {most:,}."
                self.query_one("#wrong", Static).update(Content(told))
                self._numbers[name].focus()
                return
        numbers = {name: int(field.value) for name, field in self._numbers.items()}
        self.dismiss(
            RoomPlan(
                **numbers,
                on_request=self._waits.value,
                model=self._model.value.strip(),
                prompt=plain(self._prompt.value),
            )
        )

    def action_no(self) -> None:
        """Back to the name."""
        self.dismiss()
