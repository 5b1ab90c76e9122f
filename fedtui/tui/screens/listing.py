"""A list, and a sheet that tells all about what is under its cursor."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult

from fedtui.tui.screens.live import LiveScreen
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.split import Split
from fedtui.tui.widgets.table import Table


class ListScreen(LiveScreen):
    """Subclasses make both and say in :meth:`show_chosen` what the sheet tells."""

    table: Table[Any]
    sheet: Sheet

    def body(self) -> ComposeResult:
        """Side by side, or one below the other."""
        self.table.add_class("panel")
        self.sheet.add_class("panel")
        yield Split(self.table, self.sheet)

    def show_chosen(self) -> None:
        """Fills the sheet."""
        raise NotImplementedError

    def open_chosen(self) -> None:
        """Goes to the sheet, for reading on."""
        self.sheet.focus()

    def on_table_moved(self, message: Table.Moved) -> None:
        """Another row, or news of this one."""
        message.stop()
        self.show_chosen()

    def on_table_opened(self, message: Table.Opened) -> None:
        """Enter, or a double click."""
        message.stop()
        self.open_chosen()
