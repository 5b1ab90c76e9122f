"""The application: reads views from a node, hands them to the screens, and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePath
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, SystemCommand
from textual.screen import Screen

from fedtui.tui.feed import Feed, ViewSource
from fedtui.tui.keymap import GLOBAL_KEYS, key_name
from fedtui.tui.limits import ANSWER_S, MIN_COLUMNS, MIN_LINES, POLL_LOST_S, POLL_S, STOP_S
from fedtui.tui.messages import ViewChanged
from fedtui.tui.screens.dashboard import DashboardScreen
from fedtui.tui.screens.help import HelpScreen
from fedtui.tui.screens.quit import QuitScreen
from fedtui.tui.themes import DARK, FALLBACK_VARIABLES, LIGHT, THEMES, WALL

if TYPE_CHECKING:
    from fedtui.tui.pixels import Mode
    from fedtui.tui.widgets.lossplot import Marker

TERMINATED = 143
HUNG_UP = 129
STYLES = Path(__file__).parent / "styles"
WIDTHS = [(0, "-tiny"), (MIN_COLUMNS, "-narrow"), (100, "-wide"), (160, "-xwide")]
HEIGHTS = [(0, "-flat"), (MIN_LINES, "-low"), (20, "-short"), (34, "-tall"), (52, "-xtall")]


class FedtuiApp(App[None]):
    """One node on a screen.

    ``owns_room``: quitting ends the node behind ``source``, and asks first while a round runs.
    ``quit_hint``: one sentence on what quitting does here. ``pictures`` and ``marker`` choose how
    pictures and the loss are drawn; None takes what the terminal's colours allow.
    """

    TITLE = "fedtui"
    CSS_PATH: ClassVar[list[str | PurePath]] = [
        STYLES / "base.tcss",
        STYLES / "dashboard.tcss",
        STYLES / "dialogs.tcss",
    ]
    BINDINGS = GLOBAL_KEYS
    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS

    def __init__(
        self,
        source: ViewSource,
        *,
        quit_hint: str = "",
        owns_room: bool = False,
        theme: str = DARK.name,
        pictures: Mode | None = None,
        marker: Marker = "braille",
    ) -> None:
        super().__init__()
        self._source = source
        self._quit_hint = quit_hint
        self._owns_room = owns_room
        self._pictures: Mode | None = pictures
        self._marker: Marker = marker
        self.feed = Feed()
        self.animation_level = "none"
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Inks that the library's own themes do not define."""
        return dict(FALLBACK_VARIABLES)

    def get_default_screen(self) -> Screen[None]:
        """The dashboard."""
        return DashboardScreen(self._pictures, self._marker)

    def on_mount(self) -> None:
        """Starts to listen to the node and to signals."""
        # Textual has no handlers of its own: these would end the process with a broken terminal.
        for name, code in (("SIGTERM", TERMINATED), ("SIGHUP", HUNG_UP)):
            number = getattr(signal, name, None)
            if number is not None:
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                    asyncio.get_running_loop().add_signal_handler(number, self._signalled, code)
        self.run_worker(self._follow(), group="follow", exclusive=True)

    async def on_unmount(self) -> None:
        """Lets go of the node."""
        await self._source.close()

    def _signalled(self, code: int) -> None:
        self.exit(return_code=code)

    async def _follow(self) -> None:
        """Asks for views for as long as the interface runs; a node that is gone is asked again."""
        heard = monotonic()
        while True:
            try:
                feed = Feed(await asyncio.wait_for(self._source.view(), ANSWER_S))
                heard = monotonic()
            except Exception as error:  # whatever it is, it is shown, and the node asked again
                reason = str(error) or type(error).__name__
                feed = Feed(self.feed.view, reason, int(monotonic() - heard))
            self.post_message(ViewChanged(feed))
            await asyncio.sleep(POLL_LOST_S if feed.lost else POLL_S)

    def on_view_changed(self, message: ViewChanged) -> None:
        """Hands the feed to every screen that shows it."""
        self.feed = message.feed
        for screen in self.screen_stack:
            if hasattr(screen, "feed"):
                screen.feed = message.feed

    def action_help(self) -> None:
        """Explains the keys of the screen on show."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen.active_bindings, self._quit_hint))

    async def action_quit(self) -> None:
        """Leaves; asks first when that would end a room in the middle of a round."""
        view = self.feed.view
        if isinstance(self.screen, QuitScreen):
            return
        if not self._owns_room or self.feed.lost or view is None:
            self.exit()
        elif view.busy:
            self.push_screen(QuitScreen(view, self._quit_hint), self._answered)
        else:
            self._end_room()

    def action_help_quit(self) -> None:
        """Ctrl+C, as Textual calls it: asks like any other quitting."""
        self.run_worker(self.action_quit(), group="quit", exclusive=True)

    def _answered(self, leave: bool | None) -> None:
        if leave:
            self._end_room()

    def _end_room(self) -> None:
        self.notify("Stopping the node…", timeout=STOP_S, markup=False)
        self.run_worker(self._stop_and_exit(), group="stop", exclusive=True)

    async def _stop_and_exit(self) -> None:
        # A node that cannot be told to stop must not keep a person from leaving.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._source.stop(), STOP_S)
        self.exit()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Palette entries: what this screen can do now, then the themes one is not in."""
        told = set()
        for active in screen.active_bindings.values():
            binding = active.binding
            if (
                binding.id
                and active.enabled
                and active.node is screen
                and binding.tooltip not in told
            ):
                told.add(binding.tooltip)
                run = partial(self.call_later, self.run_action, binding.action, screen)
                yield SystemCommand(binding.tooltip, f"Key {key_name(binding)}", run)
        yield SystemCommand("Keys and words", "Key ?", self.action_help)
        for theme, name in ((DARK, "dark"), (LIGHT, "light"), (WALL, "wall, high contrast")):
            if self.theme != theme.name:
                change = partial(setattr, self, "theme", theme.name)
                yield SystemCommand(f"Theme: {name}", "Change the colours", change)
        ends = self._owns_room and not self.feed.lost
        told_so = "Ends the node on this machine" if ends else "The node keeps running"
        yield SystemCommand("Quit", f"{told_so}. Key q", self.action_quit)


def run(control: Path, *, quit_hint: str = "", owns_room: bool = False) -> int:
    """Shows the node behind the control socket ``control`` until the person leaves.

    Returns the exit code: 0, or 129 or 143 when a signal ended it.
    """
    from fedtui.control.client import ControlClient

    app = FedtuiApp(ControlClient(control), quit_hint=quit_hint, owns_room=owns_room)
    app.run()
    if quit_hint and not owns_room:
        print(quit_hint, file=sys.stderr)
    return app.return_code or 0
