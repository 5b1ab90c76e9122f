"""How much each of several adapters counts in a new one, and what that is called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from fedtui.tui.adapters import Adapter
from fedtui.tui.lines import cut, plain
from fedtui.tui.screens.rights import MOVES
from fedtui.tui.widgets.field import Field

TOLD = (
    "Their weighted mean, exactly: 1 and 1 give half of each, 3 and 1 three quarters and one. The "
    "files stay as they are; the new one lies on the shelf."
)
MOST = 1_000.0
WHOLE = 1_000
"""A weight of 1 in the node's whole numbers."""
LABEL = 22
"""Cells for the name of an adapter."""


@dataclass(frozen=True)
class Merge:
    """What a person wants: ``weights`` in the order of the adapters, in thousandths."""

    name: str
    weights: tuple[int, ...]


class MergingScreen(ModalScreen[Merge]):
    """Dismissed with what to merge; with nothing when the person goes back."""

    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [*MOVES]

    def __init__(self, adapters: Sequence[Adapter]) -> None:
        super().__init__()
        self._adapters = tuple(adapters)
        self._weights = [Field("1", compact=True, max_length=8) for _ in adapters]
        self._called = Field("merged", compact=True, max_length=80)

    def compose(self) -> ComposeResult:
        """A row for each adapter, its name to be, and two buttons."""
        with Vertical(id="dialog"):
            yield Static(Content(f"Merge {len(self._adapters)} adapters"), id="question")
            yield Static(Content(TOLD), id="consequences")
            for adapter, weight in zip(self._adapters, self._weights, strict=True):
                with Horizontal(classes="row"):
                    yield Static(Content(cut(adapter.name, LABEL)))
                    yield weight
            with Horizontal(classes="row name"):
                yield Static(Content("Name of the new one"))
                yield self._called
            yield Static(Content(""), id="wrong")
            with Horizontal(id="answers"):
                yield Button("No", id="no")
                yield Button("Merge", id="yes")

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Enter goes from field to field, and from the last one on."""
        message.stop()
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Merges if the weights are numbers, or says which is not."""
        event.stop()
        if event.button.id != "yes":
            self.dismiss()
            return
        weights = [thousandths(field.value) for field in self._weights]
        for adapter, field, weight in zip(self._adapters, self._weights, weights, strict=True):
            if not weight:
                told = f"! {cut(adapter.name, LABEL)}: a number from 0.001 to {MOST:,.0f}."
                self._refuse(field, told)
                return
        if not plain(self._called.value):
            self._refuse(self._called, "! The new adapter needs a name.")
            return
        self.dismiss(Merge(plain(self._called.value), tuple(weights)))

    def _refuse(self, field: Input, told: str) -> None:
        self.query_one("#wrong", Static).update(Content(told))
        field.focus()

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss()


def thousandths(text: str) -> int:
    """A weight as the node takes it; 0 for what is none."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return 0
    return round(value * WHOLE) if math.isfinite(value) and 0 < value <= MOST else 0
