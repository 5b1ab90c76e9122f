"""What happened and what the processes said, with a filter; in large windows side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input

from fedtui.tui.keymap import LOG_KEYS
from fedtui.tui.limits import LOG_POLL_S
from fedtui.tui.lines import Line, Span, plain
from fedtui.tui.messages import Answered, Refused
from fedtui.tui.screens.live import LiveScreen, copy
from fedtui.tui.widgets.field import Field
from fedtui.tui.widgets.logview import LEVELS, LogLine, LogView, event_lines
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.split import Split

OPENED = "-opened"
"""Of the screen: the fields are wanted where there is no room for them beside the log."""
SOURCES = ("events", "node", "trainer", "arithmetic")
MEMBERS = "members"
"""The events that tell of other members, where they have a pane of their own."""
HALVES = (("events", MEMBERS), ("node", "trainer", "arithmetic"))
"""What happened at the left, what the processes said at the right."""
TITLES: Mapping[str, str] = {
    "events": "Events of this machine",
    MEMBERS: "Events of other members",
    "node": "Log of the node",
    "trainer": "Log of the trainer",
    "arithmetic": "Log of arithmetic",
}
APART = (160, 52)
"""Columns and lines from which on every source can have a pane."""
TOGETHER = "together"


class LogsScreen(LiveScreen):
    """One source at a time, or each in a pane of its own."""

    PLACE = "logs"
    BINDINGS: ClassVar[list[BindingType]] = LOG_KEYS
    AUTO_FOCUS: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.logs = {name: LogView(id=f"log-{name}") for name in TITLES}
        self.sheet = Sheet(id="fields")
        self._halves = [Vertical(*(self.logs[name] for name in half)) for half in HALVES]
        self._filter = Field(placeholder="only lines with …   !word: without it", id="filter")
        self._now = SOURCES[0]
        self._level = 1
        self._after = dict.fromkeys(SOURCES, -1)
        self._path = dict.fromkeys(SOURCES, "")
        self._trouble = dict.fromkeys(SOURCES, "")
        self._due: list[str] = []
        self._asked = ""

    def body(self) -> ComposeResult:
        """The logs, the fields of the line under the cursor, and the filter when it is wanted."""
        for panel in (*self.logs.values(), self.sheet):
            panel.add_class("panel")
        yield Split(*self._halves, self.sheet)
        yield self._filter

    def on_mount(self) -> None:
        """As it was left; reads on for as long as the screen is open."""
        if (kept := self.remembered("source")) in SOURCES:
            self._now = kept
        if (kept := self.remembered("level")) in LEVELS:
            self._level = LEVELS.index(kept)
        self.set_interval(LOG_POLL_S, self._read)
        self._arrange()
        self.log_view.focus()

    @property
    def log_view(self) -> LogView:
        """The log under the cursor."""
        return self.logs[self._now]

    @property
    def apart(self) -> bool:
        """Whether every source has a pane."""
        return self._roomy and self.remembered("panes") != TOGETHER

    @property
    def _roomy(self) -> bool:
        width, height = self.app.size
        return width >= APART[0] and height >= APART[1]

    def on_resize(self) -> None:
        """Where there is room for all of them, there may be more than one."""
        self._arrange()
        self.refresh_bindings()

    def _arrange(self) -> None:
        apart = self.apart
        if not apart and self._now == MEMBERS:
            self._now = "events"
        for name, log in self.logs.items():
            log.display = apart or name == self._now
        for half, names in zip(self._halves, HALVES, strict=True):
            half.display = apart or self._now in names
        self._sift()
        self._read()

    def look_again(self) -> None:
        """What came meanwhile is read at once."""
        self._read()

    def _read(self) -> None:
        if self.is_current and not self._asked:
            self._due = list(SOURCES) if self.apart else [self._now]
            self._read_next()

    def _read_next(self) -> None:
        self._asked = self._due.pop(0) if self._due else ""
        if self._asked:
            self.ask("read_log", source=self._asked, after=self._after[self._asked])

    def on_answered(self, message: Answered) -> None:
        """Adds what is new, and asks again at once while there is a lot."""
        if message.operation != "read_log":
            return
        source, result = self._asked, message.result
        self._trouble[source] = ""
        if result["lines"] and result["next"] != self._after[source]:
            self._due.insert(0, source)
        self._after[source], self._path[source] = int(result["next"]), str(result["path"])
        fields = result.get("fields") or [None] * len(result["lines"])
        lines = [
            LogLine(str(stamp), str(level), str(text), compact(told), of_member(told))
            for (stamp, level, text), told in zip(result["lines"], fields, strict=True)
        ]
        self.logs[source].add(lines)
        if source == "events":
            self.logs[MEMBERS].add([line for line in lines if line.member])
        self._entitle()
        self._read_next()

    def on_refused(self, message: Refused) -> None:
        """A log that cannot be read is told in the title, not twice a second in a toast."""
        message.prevent_default()
        self._trouble[self._asked] = message.title
        self._entitle()
        self._read_next()

    def _entitle(self) -> None:
        for name, log in self.logs.items():
            kept, every = log.counts
            if name == "events" and self.apart:
                every -= self.logs[MEMBERS].counts[1]
            told = f"{kept} of {every} lines" if kept != every else f"{every} lines"
            words: list[Span] = [(f"{told} · level {LEVELS[self._level]} and above", "muted")]
            if self._filter.value:
                words.append((f" · filter {plain(self._filter.value)}", "text"))
            if trouble := self._trouble["events" if name == MEMBERS else name]:
                words = [(plain(trouble), "error")]
            title: Line = ((TITLES[name], "muted"),) if self.apart else self._sources()
            log.entitle(title, tuple(words))

    def _sources(self) -> Line:
        title: list[Span] = [("Log ", "muted")]
        for name in SOURCES:
            now = name == self._now
            title.append((f"[{name}]" if now else f" {name} ", "accent" if now else "faint"))
        return tuple(title)

    def _sift(self) -> None:
        for name, log in self.logs.items():
            member = False if name == "events" and self.apart else None
            log.sift(LEVELS[self._level], self._filter.value, member)
        self._entitle()

    def action_level(self) -> None:
        """The next level; after errors everything again."""
        self._level = (self._level + 1) % len(LEVELS)
        self.remember("level", LEVELS[self._level])
        self._sift()

    def action_source(self) -> None:
        """The next log, or the next pane."""
        names = list(TITLES) if self.apart else list(SOURCES)
        self._now = names[(names.index(self._now) + 1) % len(names)]
        if not self.apart:
            self.remember("source", self._now)
            self._arrange()
        self.log_view.focus()
        self._show_fields()

    def action_panes(self) -> None:
        """Every source in a pane of its own, or one at a time."""
        self.remember("panes", TOGETHER if self.apart else "")
        self._arrange()
        self.remember("source", "" if self.apart else self._now)
        self.log_view.focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In a small window there is room for one log only."""
        if action == "panes":
            return self._roomy
        return super().check_action(action, parameters)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The pane with the focus is the one whose line is told of."""
        name = next((name for name, log in self.logs.items() if log is event.widget), "")
        if name and name != self._now:
            self._now = name
            self._show_fields()

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
        if message.view is self.log_view:
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
        of: Line = ((" of the ", "muted"), (TITLES[self._now].lower(), "text"))
        self.sheet.entitle((("Line", "muted"), *(of if self.apart else ())))
        text = chosen.fields or chosen.text if chosen else ""
        value = ("the fields" if chosen and chosen.fields else "the line", text)
        self.sheet.show(lambda width: event_lines(chosen, width), value if text else None)

    def action_path(self) -> None:
        """Copies where the log lies."""
        if path := self._path["events" if self._now == MEMBERS else self._now]:
            copy(self, "the path of the log", path)

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


def of_member(fields: dict[str, Any] | None) -> bool:
    """Whether an event of this node tells of another member."""
    peer = fields.get("peer") if fields else None
    return fields is not None and bool(peer) and peer != fields.get("node")
