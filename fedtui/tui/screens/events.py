"""All events the node still remembers."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Footer

from fedtui.tui.feed import Feed
from fedtui.tui.keymap import BACK_KEYS, EVENT_KEYS
from fedtui.tui.screens.live import LiveScreen
from fedtui.tui.widgets.banner import Banner
from fedtui.tui.widgets.eventlist import EventList
from fedtui.tui.widgets.statusline import StatusLine


class EventsScreen(LiveScreen):
    """The event list of the dashboard, with the whole screen."""

    BINDINGS: ClassVar[list[BindingType]] = [*BACK_KEYS, *EVENT_KEYS]
    AUTO_FOCUS = "EventList"

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.set_reactive(EventsScreen.feed, feed)

    def compose(self) -> ComposeResult:
        """One list."""
        feed = EventsScreen.feed
        yield StatusLine().data_bind(feed)
        yield Banner().data_bind(feed)
        yield EventList(id="all-events").data_bind(feed)
        yield Footer(show_command_palette=False)
