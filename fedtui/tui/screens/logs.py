"""What happened and what the processes said, with a filter."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from fedtui.tui.keymap import LOG_KEYS
from fedtui.tui.limits import LOG_POLL_S
from fedtui.tui.lines import Span, plain
from fedtui.tui.messages import Answered, Refused
from fedtui.tui.screens.live import LiveScreen, copy
from fedtui.tui.widgets.field import Field
from fedtui.tui.widgets.logview import LEVELS, LogLine, LogView, event_lines
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.split import Split

OPENED = "-opened"
"""Of the screen: the fields are wanted where there is no room for them beside the log."""
SOURCES = ("events", "node", "trainer", "arithmetic")


class LogsScreen(LiveScreen):
    """One log at a time."""

    PLACE = "logs"
    BINDINGS: ClassVar[list[BindingType]] = LOG_KEYS
    AUTO_FOCUS: ClassVar[str] = "LogView"

    def __init__(self) -> None:
        super().__init__()
        self.log_view = LogView(id="log")
        self.sheet = Sheet(id="fields")
        self._filter = Field(placeholder="only lines with …   !word: without it", id="filter")
        self._source = 0
        self._level = 1
        self._after = -1
        self._path = ""
        self._asked = False
        self._trouble = ""

    def body(self) -> ComposeResult:
        """The log, the fields of the line under the cursor, and the filter when it is wanted."""
        self.log_view.add_class("panel")
        self.sheet.add_class("panel")
        yield Split(self.log_view, self.sheet)
        yield self._filter

    def on_mount(self) -> None:
        """Reads on for as long as the screen is open."""
        self.set_interval(LOG_POLL_S, self._read)
        self._sift()
        self._read()

    def look_again(self) -> None:
        """What came meanwhile is read at once."""
        self._read()

    def _read(self) -> None:
        if self.is_current and not self._asked:
            self._asked = True
            self.ask("read_log", source=SOURCES[self._source], after=self._after)

    def on_answered(self, message: Answered) -> None:
        """Adds what is new, and asks again at once while there is a lot."""
        if message.operation != "read_log":
            return
        self._asked = False
        result = message.result
        self._trouble = ""
        more = result["lines"] and result["next"] != self._after
        self._after, self._path = int(result["next"]), str(result["path"])
        fields = result.get("fields") or [None] * len(result["lines"])
        self.log_view.add(
            [
                LogLine(str(stamp), str(level), str(text), compact(told))
                for (stamp, level, text), told in zip(result["lines"], fields, strict=True)
            ]
        )
        self._entitle()
        if more:
            self._read()

    def on_refused(self, message: Refused) -> None:
        """A log that cannot be read is told in the title, not twice a second in a toast."""
        message.prevent_default()
        self._asked = False
        self._trouble = message.title
        self._entitle()

    def _entitle(self) -> None:
        kept, every = self.log_view.counts
        title: list[Span] = [("Log ", "muted")]
        for i, name in enumerate(SOURCES):
            title.append(
                (
                    f"[{name}]" if i == self._source else f" {name} ",
                    "accent" if i == self._source else "faint",
                )
            )
        told = f"{kept} of {every} lines" if kept != every else f"{every} lines"
        words: list[Span] = [(f"{told} · level {LEVELS[self._level]} and above", "muted")]
        if self._filter.value:
            words.append((f" · filter {plain(self._filter.value)}", "text"))
        if self._trouble:
            words = [(plain(self._trouble), "error")]
        self.log_view.entitle(tuple(title), tuple(words))

    def _sift(self) -> None:
        self.log_view.sift(LEVELS[self._level], self._filter.value)
        self._entitle()

    def action_level(self) -> None:
        """The next level; after errors everything again."""
        self._level = (self._level + 1) % len(LEVELS)
        self._sift()

    def action_source(self) -> None:
        """The next log, from near its end."""
        self._source = (self._source + 1) % len(SOURCES)
        self._after, self._asked = -1, False
        self.log_view.clear()
        self._entitle()
        self._read()

    def action_find(self) -> None:
        """Opens the filter."""
        self._filter.add_class("-shown")
        self._filter.focus()

    def action_tail(self) -> None:
        """To the newest line."""
        self.log_view.follow()

    def on_log_view_moved(self, message: LogView.Moved) -> None:
        """Tells of the line under the cursor."""
        message.stop()
        self._show_fields()

    def on_log_view_opened(self, message: LogView.Opened) -> None:
        """Opens the fields below the log where there is no room beside it, or goes there."""
        message.stop()
        if self.has_class("-wide") or self.has_class("-xwide"):
            self.sheet.focus()
        else:
            self.toggle_class(OPENED)

    def _show_fields(self) -> None:
        chosen = self.log_view.selected
        self.sheet.entitle((("Line", "muted"),))
        text = chosen.fields or chosen.text if chosen else ""
        value = ("the fields" if chosen and chosen.fields else "the line", text)
        self.sheet.show(lambda width: event_lines(chosen, width), value if text else None)

    def action_path(self) -> None:
        """Copies where the log lies."""
        if self._path:
            copy(self, "the path of the log", self._path)

    def on_input_changed(self, message: Input.Changed) -> None:
        """Filters while one types."""
        message.stop()
        self._sift()

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Keeps the filter and goes back to the log."""
        message.stop()
        self._filter.set_class(bool(self._filter.value), "-shown")
        self.log_view.focus()

    async def action_back(self) -> None:
        """First out of the fields, then of the filter, then to the dashboard."""
        if self.sheet.has_focus:
            self.log_view.focus()
        elif self.has_class(OPENED):
            self.remove_class(OPENED)
        elif self._filter.has_focus or self._filter.value:
            self._filter.value = ""
            self._filter.remove_class("-shown")
            self.log_view.focus()
        else:
            await super().action_back()


def compact(fields: dict[str, Any] | None) -> str:
    """The fields of a line in as few characters as possible: tens of thousands are kept."""
    return json.dumps(fields, separators=(",", ":")) if fields else ""
