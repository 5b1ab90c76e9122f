"""The one screen that shows everything: members, the round, my loss, and the pictures."""

from __future__ import annotations

from collections.abc import Iterator

from textual.app import ComposeResult
from textual.containers import Container

from fedtui.recipes import recipes
from fedtui.tui.keymap import DASHBOARD_KEYS
from fedtui.tui.lines import plain
from fedtui.tui.messages import PictureOpened
from fedtui.tui.outside import show_outside
from fedtui.tui.screens.large import LargeScreen
from fedtui.tui.screens.live import LiveScreen, Value, value_of
from fedtui.tui.widgets.eventlist import EventList
from fedtui.tui.widgets.lossplot import LossPlot
from fedtui.tui.widgets.peertable import PeerTable
from fedtui.tui.widgets.picturerow import GAP, MOST, PictureRow, arrangement
from fedtui.tui.widgets.stepper import RoundStepper
from fedtui.tui.widgets.table import Table

PEER_ROWS = ((20, 2), (24, 4), (34, 5), (44, 8), (52, 10))
"""Below this many lines of terminal, at most this many members in view."""
PEER_ROWS_MOST = 14
PICTURES_SHARE = 0.6
"""Of the width beside the loss, at most."""
LOSS_ROWS = 9
"""Of the loss when it lies above the pictures."""
FRAME = 4
"""Cells of a panel's border and padding."""


class Workspace(Container):
    """The loss and the pictures, side by side; the pictures get what they can use."""

    def __init__(self, loss: LossPlot, pictures: PictureRow) -> None:
        super().__init__(loss, pictures, id="work")
        self._pictures = pictures

    def on_resize(self) -> None:
        """Chooses the way in which the pictures become larger."""
        self.fit()

    def fit(self) -> None:
        """Gives the pictures their width: two squares as high as the room, or more of them."""
        width, height = self.size
        beside = int(width * PICTURES_SHARE) - FRAME
        count, rows = arrangement(MOST, beside, height - 2)
        count_below, rows_below = arrangement(MOST, width - FRAME, height - LOSS_ROWS - 2)
        stacked = count_below * rows_below**2 > count * rows**2
        self.set_class(stacked, "-stacked")
        needed = count * 2 * rows + GAP * (count - 1) + FRAME
        self._pictures.styles.width = "1fr" if stacked else needed


class DashboardScreen(LiveScreen):
    """Composes the panels and answers their keys."""

    PLACE = "dash"
    BINDINGS = DASHBOARD_KEYS
    AUTO_FOCUS = "#pictures"

    def __init__(self) -> None:
        super().__init__()
        self.table = PeerTable(id="peers")
        self.loss = LossPlot(id="loss")
        self.pictures = PictureRow(id="pictures")
        self.workspace = Workspace(self.loss, self.pictures)
        self._could: tuple[bool, ...] = ()

    def body(self) -> ComposeResult:
        """From the room as a whole to what happened last."""
        feed = DashboardScreen.feed
        yield self.table.data_bind(feed)
        yield RoundStepper(id="round").data_bind(feed)
        self.loss.data_bind(feed)
        self.pictures.data_bind(feed)
        yield self.workspace
        yield EventList(id="events").data_bind(feed)

    def watch_feed(self) -> None:
        """Keeps the table as high as its rows and the footer true to what is possible."""
        self._fit()
        # The pictures' own feed may be set after this.
        made = recipes(self.view) if self.view else ()
        could = (bool(made), len(made) > 1, bool(self.view and self.view.commits))
        if could != self._could:
            self._could = could
            self.refresh_bindings()

    def on_resize(self) -> None:
        """Keeps the table as high as there is room for."""
        self._fit()

    def _fit(self) -> None:
        if self.maximized:
            return
        height = self.size.height
        room = next((rows for below, rows in PEER_ROWS if height < below), PEER_ROWS_MOST)
        members = len(self.feed.view.peers) if self.feed.view else 0
        self.table.styles.height = 3 + min(room, max(members, 2))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Greys out what has no object yet."""
        if action in ("enlarge", "outside"):
            return True if self.pictures.recipes else None
        if action == "prompt":
            return True if len(self.pictures.recipes) > 1 else None
        return super().check_action(action, parameters)

    def action_enlarge(self) -> None:
        """Shows the newest picture large."""
        recipe = self.pictures.recipe
        if recipe:
            self._open_large(recipe.pictures[-1].round)

    def on_picture_opened(self, message: PictureOpened) -> None:
        """Shows the picture that was clicked."""
        self._open_large(message.round)

    async def on_table_opened(self, message: Table.Opened) -> None:
        """Shows all that is known of the member."""
        message.stop()
        peer = self.table.selected
        await self.run_action("app.place('peers')")
        chosen = self.app.screen.query(PeerTable)
        if peer and chosen:
            chosen.first().choose(peer.id)

    def _open_large(self, number: int) -> None:
        def returned(prompt: int | None) -> None:
            if prompt is not None:
                self.pictures.choose(prompt)

        screen = LargeScreen(self.feed, self.pictures.index, number)
        self.app.push_screen(screen, returned)

    def action_prompt(self, step: int) -> None:
        """Shows another prompt."""
        self.pictures.action_prompt(step)

    def default_panel(self) -> PictureRow:
        """The pictures."""
        return self.pictures

    def minimize(self) -> None:
        """Puts the panel back to where it was."""
        super().minimize()
        self._fit()
        self.workspace.fit()

    async def action_outside(self) -> None:
        """Opens the newest picture in a viewer, or says where it is."""
        recipe = self.pictures.recipe
        if recipe and not await show_outside(path := recipe.pictures[-1].path):
            self.notify(plain(path), title="No viewer here; the picture is at", markup=False)

    def copy_values(self) -> Iterator[Value | None]:
        """The focused panel's, but of a room that is done the adapter; else the picture's path."""
        view = self.feed.view
        if view and view.adapter and view.round.phase == "DONE" and self.focused is self.pictures:
            yield "the adapter", view.adapter
        yield value_of(self.focused)
        yield value_of(self.pictures)
