"""By which column the members stand: a letter, or a line of the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from fedtui.tui.keymap import ORDER_KEYS, key_name
from fedtui.tui.widgets.table import Column, Order, Table, one

AROUND = 3
"""Rows of the list's frame and header."""


class Choice(NamedTuple):
    """A line: the letter, what it does, and whether it is so now."""

    letter: str
    words: str
    name: str
    now: str


COLUMNS: tuple[Column[Choice], ...] = (
    Column("key", 0, 3, 3, lambda choice, w: one(choice.letter, w, "key")),
    Column("order", 0, 20, 44, lambda choice, w: one(choice.words, w)),
    Column("", 1, 2, 2, lambda choice, w: one(choice.now, w, "accent")),
)


class OrderScreen(ModalScreen[str | None]):
    """Dismissed with the name of a column, empty for none; with nothing to leave it as it is."""

    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = ORDER_KEYS

    def __init__(self, order: Order | None) -> None:
        super().__init__()
        self._order = order
        self._list: Table[Choice] = Table(COLUMNS, lambda choice: choice.name, id="orders")

    def compose(self) -> ComposeResult:
        """One list."""
        with Vertical(id="ordering"):
            yield self._list

    def on_mount(self) -> None:
        """Fills the list with the keys as they are mapped now."""
        choices = self._choices()
        self._list.fill(choices)
        self._list.styles.height = len(choices) + AROUND
        self._list.entitle((("Order of the members", "strong"),), (("again: reversed", "muted"),))
        self._list.choose(self._order.name if self._order else "")

    def _choices(self) -> Sequence[Choice]:
        now = self._order or Order("")
        found = []
        for active in self.active_bindings.values():
            name = column_of(active.binding)
            if active.node is self and name is not None:
                mark = (now.mark if name else "✓") if name == now.name else ""
                letter, words = key_name(active.binding), active.binding.tooltip
                found.append(Choice(letter, words, name, mark))
        return found

    def action_by(self, name: str) -> None:
        """Chooses the order of a column."""
        self.dismiss(name)

    def action_back(self) -> None:
        """Leaves everything as it is."""
        self.dismiss(None)

    def on_table_opened(self, message: Table.Opened) -> None:
        """Chooses the line under the cursor."""
        message.stop()
        if self._list.selected is not None:
            self.dismiss(self._list.selected.name)


def column_of(binding: Binding) -> str | None:
    """The column whose order a key gives; empty for none of them, None for another key."""
    action = binding.action
    return action[4:-2] if action.startswith("by('") else None
