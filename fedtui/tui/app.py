"""The application: reads views from a node, hands them to the screens, and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from fedtui.tui.characters import AsciiFilter
from fedtui.tui.feed import Feed, Playable, TapePlace, ViewSource
from fedtui.tui.graphics import Graphics, chosen
from fedtui.tui.keymap import GLOBAL_KEYS, TAPE_KEYS, key_name
from fedtui.tui.limits import (
    ANSWER_S,
    ERROR_SHOWN_S,
    MIN_COLUMNS,
    MIN_LINES,
    POLL_LOST_S,
    POLL_S,
    STOP_S,
    SWITCH_S,
    TOAST_GONE_S,
)
from fedtui.tui.look import Look, read, write
from fedtui.tui.messages import ViewChanged
from fedtui.tui.places import PLACES, Place
from fedtui.tui.places import WALL as WALL_PLACE
from fedtui.tui.screens.help import HelpScreen
from fedtui.tui.screens.quit import QuitScreen
from fedtui.tui.themes import DARK, FALLBACK_VARIABLES, LIGHT, THEMES, WALL

if TYPE_CHECKING:
    from fedtui.doctor import Check

TERMINATED = 143
HUNG_UP = 129
STYLES = Path(__file__).parent / "styles"
WIDTHS = [(0, "-tiny"), (MIN_COLUMNS, "-narrow"), (100, "-wide"), (160, "-xwide")]
HEIGHTS = [(0, "-flat"), (MIN_LINES, "-low"), (20, "-short"), (34, "-tall"), (52, "-xtall")]


class FedtuiApp(App[None]):
    """One node on a screen.

    ``owns_room``: quitting ends the node behind ``source``, and asks first while a round runs.
    ``quit_hint``: one sentence on what quitting does here. ``kept`` is the file in which the look
    is kept; changes of ``look`` are lost without one. ``graphics`` draws true pixels, or is the
    reason why nothing can where somebody asked for them. ``wall`` shows the wall and nothing else,
    ``observe`` refuses whatever would change something. ``examine`` looks at this machine.
    """

    TITLE = "fedtui"
    CSS_PATH: ClassVar[list[str | PurePath]] = [
        STYLES / "base.tcss",
        STYLES / "dashboard.tcss",
        STYLES / "places.tcss",
        STYLES / "dialogs.tcss",
    ]
    DEFAULT_MODE = PLACES[0].id
    BINDINGS: ClassVar[list[BindingType]] = [*GLOBAL_KEYS, *TAPE_KEYS]
    ALLOW_IN_MAXIMIZED_VIEW = "KeyBar"
    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS

    def __init__(
        self,
        source: ViewSource,
        *,
        quit_hint: str = "",
        owns_room: bool = False,
        look: Look | None = None,
        kept: Path | None = None,
        graphics: Graphics | str = "",
        wall: bool = False,
        observe: bool = False,
        examine: Callable[[], AsyncIterator[Check]] | None = None,
    ) -> None:
        self.graphics = graphics if isinstance(graphics, Graphics) else None
        self._no_graphics = "" if isinstance(graphics, Graphics) else graphics
        self.examine = examine
        self.wall = wall
        self.observe = observe
        super().__init__()
        self.source = source
        self._quit_hint = quit_hint
        self.owns_room = owns_room
        self._kept = kept
        self.look = look or read(kept)
        self.feed = Feed()
        self.animation_level = "none"
        for known in THEMES:
            self.register_theme(known)
        for place in (*PLACES, WALL_PLACE):
            self.add_mode(place.id, partial(self._opened, place))
        self._settled: set[str] = set()
        self.farewell = ""
        self._ascii = AsciiFilter(enabled=False)
        self._filters.append(self._ascii)
        self._apply(self.look)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Inks that the library's own themes do not define."""
        return dict(FALLBACK_VARIABLES)

    def notify(self, message: str, *, timeout: float | None = None, **told: Any) -> None:
        """Shows a message for a while.

        Textual (8.2) may compute its map of widgets anew between the end of a toast and the next
        layout; it then sees no difference and leaves the words of the toast on the screen. So
        everything is painted once more a moment after. What is on the screen already begins anew
        instead of standing there twice: somebody tries again, or something fails every second.
        """
        said = (message, told.get("title", ""))
        for shown in [each for each in self._notifications if (each.message, each.title) == said]:
            self._unnotify(shown, refresh=False)
        shown_s = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        super().notify(message, timeout=timeout, **told)
        self.set_timer(shown_s + TOAST_GONE_S, self._repaint)

    def _repaint(self) -> None:
        for screen in self.screen_stack[-1:]:  # none is left while the interface ends
            screen.refresh()

    def change_look(self, **changes: Any) -> None:
        """Applies a choice at once and keeps it; a disk that refuses is told, not suffered."""
        self.look = replace(self.look, **changes)
        self._apply(self.look)
        self._keep(**changes)

    def remember(self, view: str, choice: str) -> None:
        """Keeps what a screen shows for the next start; see :attr:`Look.views`."""
        if self.look.views.get(view, "") != choice:
            self.look = replace(self.look, views={**self.look.views, view: choice})
            self._keep(views={**read(self._kept).views, view: choice})

    def _keep(self, **changes: Any) -> None:
        """Only what was chosen: what an option of this start overruled, or another window has
        chosen meanwhile, stays as it is kept."""
        try:
            write(self._kept, replace(read(self._kept), **changes))
        except OSError as error:
            self.notify(
                f"{error.strerror or error}: it lasts until you leave.",
                title="The choice cannot be kept",
                severity="warning",
                markup=False,
            )

    def _apply(self, look: Look) -> None:
        self.theme = look.theme if look.theme in self.available_themes else DARK.name
        self.set_keymap(look.keys)
        self._ascii.enabled = look.characters == "ascii"
        for screen in self.screen_stack if self._running else ():
            screen.set_class(look.density == "compact", "-compact")
            screen.refresh(layout=True)
            for widget in screen.walk_children(Widget):
                widget.notify_style_update()

    def on_mount(self) -> None:
        """Starts to listen to the node and to signals."""
        # Textual has no handlers of its own: these would end the process with a broken terminal.
        for name, code in (("SIGTERM", TERMINATED), ("SIGHUP", HUNG_UP)):
            number = getattr(signal, name, None)
            if number is not None:
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                    asyncio.get_running_loop().add_signal_handler(number, self._signalled, code)
        self.run_worker(self._follow(), group="follow", exclusive=True)
        if self._no_graphics:
            self.notify(
                f"Pictures are drawn in cells: {self._no_graphics}.",
                severity="warning",
                timeout=ERROR_SHOWN_S,
                markup=False,
            )
        if self.wall:
            self.call_later(self.action_place, WALL_PLACE.id)

    async def on_unmount(self) -> None:
        """Lets go of the node."""
        await self.source.close()

    def _signalled(self, code: int) -> None:
        self.exit(return_code=code)

    async def _follow(self) -> None:
        """Asks for views for as long as the interface runs; a node that is gone is asked again."""
        heard = monotonic()
        while True:
            try:
                view = await asyncio.wait_for(self.source.view(), ANSWER_S)
                feed = Feed(view, tape=tape_of(self.source))
                heard = monotonic()
            except Exception as error:  # whatever it is, it is shown, and the node asked again
                reason = str(error) or type(error).__name__
                feed = Feed(self.feed.view, reason, int(monotonic() - heard))
            self.post_message(ViewChanged(feed))
            await asyncio.sleep(POLL_LOST_S if feed.lost else POLL_S)

    def on_view_changed(self, message: ViewChanged) -> None:
        """Hands the feed to every screen that shows it."""
        self.feed = message.feed
        self._hand_on()
        self._settle()

    def delay_update(self, delay: float = SWITCH_S) -> None:
        """Textual (8.2) paints nothing for 50 ms after a change of screen, to hide half-made ones;
        that alone is the time in which a person is to see an answer. Ours need less.
        """
        super().delay_update(min(delay, SWITCH_S))

    def _opened(self, place: Place) -> Screen[None]:
        """A new screen, marked as styled in the theme of the moment: its widgets will be as they
        are mounted. Textual (8.2) parses all style sheets anew for it, twice, 60 ms.
        """
        screen = place.open()
        screen._css_update_count = self._css_update_count
        return screen

    def _settle(self) -> None:
        """Takes what a screen is made of out of the collector's sight, once for each screen.

        A full collection went through 140,000 objects that never become garbage: 110 ms, now and
        then between a key and the screen. Without them it is 10 to 15 ms.
        """
        if self.current_mode not in self._settled and not self.is_headless:
            self._settled.add(self.current_mode)
            self.call_after_refresh(gc.freeze)

    def _hand_on(self) -> None:
        for screen in self.screen_stack:
            if hasattr(screen, "feed"):
                screen.set_class(bool(self.feed.lost), "-stale")
                screen.feed = self.feed

    async def action_place(self, place: str) -> None:
        """Shows one of the places; what was open over it is still there."""
        elsewhere = self.wall and place != WALL_PLACE.id
        if elsewhere or isinstance(self.screen, ModalScreen):
            return
        await self.switch_mode(place)
        self.screen.set_class(self.look.density == "compact", "-compact")
        self._hand_on()
        self._settle()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of a recording exist only while one is played."""
        if action.startswith("tape_"):
            return isinstance(self.source, Playable)
        return super().check_action(action, parameters)

    def action_tape_pause(self) -> None:
        """Stops or goes on with the recording."""
        if isinstance(self.source, Playable):
            self.source.pause()

    def action_tape_skip(self, seconds: float) -> None:
        """Goes elsewhere in the recording."""
        if isinstance(self.source, Playable):
            self.source.skip(seconds)

    def action_tape_speed(self, factor: float) -> None:
        """Plays the recording faster or slower."""
        if isinstance(self.source, Playable):
            self.source.faster(factor)

    def action_help(self) -> None:
        """Explains the keys of the screen on show."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen.active_bindings, self._quit_hint))

    def action_palette(self) -> None:
        """Opens the palette without ctrl; Textual's own key for it stays."""
        self.action_command_palette()

    async def action_quit(self) -> None:
        """Leaves; asks first when that would end a room in the middle of a round."""
        view = self.feed.view
        if isinstance(self.screen, QuitScreen):
            return
        if not self.owns_room or self.feed.lost or view is None:
            self.exit()
        elif view.busy:
            self.push_screen(QuitScreen(view, self._quit_hint), self._answered)
        else:
            self._end_room()

    def say_farewell(self, words: str) -> None:
        """Ends the interface; ``words`` stand in the terminal afterwards, in place of the hint."""
        self.farewell = words
        self.exit()

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
            await asyncio.wait_for(self.source.stop(), STOP_S)
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
        for place in (*PLACES, WALL_PLACE):
            if place.id != self.current_mode:
                show = partial(self.call_later, self.action_place, place.id)
                yield SystemCommand(f"To the screen {place.name}", f"Key {place.key}", show)
        yield SystemCommand("Keys and words", "Key ?", self.action_help)
        for theme, name in ((DARK, "dark"), (LIGHT, "light"), (WALL, "wall, high contrast")):
            if self.theme != theme.name:
                change = partial(self.change_look, theme=theme.name)
                yield SystemCommand(f"Theme: {name}", "Change the colours", change)
        ends = self.owns_room and not self.feed.lost
        told_so = "Ends the node on this machine" if ends else "The node keeps running"
        yield SystemCommand("Quit", f"{told_so}. Key q", self.action_quit)


def tape_of(source: ViewSource) -> TapePlace | None:
    """Where a recording is; None for a node."""
    if not isinstance(source, Playable):
        return None
    return TapePlace(int(source.place), int(source.tape.length), source.speed)


def run(
    control: Path,
    *,
    quit_hint: str = "",
    owns_room: bool = False,
    kept: Path | None = None,
    pictures: str = "",
    ascii_only: bool = False,
    wall: bool = False,
    observe: bool = False,
    examine: Callable[[], AsyncIterator[Check]] | None = None,
) -> int:
    """Shows the node behind the control socket ``control`` until the person leaves.

    ``kept`` is where the look is kept; ``pictures`` (kitty, sixel) and ``ascii_only`` overrule it.

    Returns the exit code: 0, or 129 or 143 when a signal ended it.
    """
    from fedtui.control.late import LateClient

    look = read(kept)
    app = FedtuiApp(
        LateClient(control),
        quit_hint=quit_hint,
        owns_room=owns_room,
        look=replace(look, characters="ascii") if ascii_only else look,
        kept=kept,
        graphics="" if ascii_only else chosen(pictures, look.pictures, os.environ),
        wall=wall,
        observe=observe,
        examine=examine,
    )
    return finish(app, quit_hint if not owns_room else "")


def finish(app: FedtuiApp, hint: str = "") -> int:
    """Runs the interface; afterwards says ``hint``, or what the end was. Returns the exit code."""
    app.run()
    if told := app.farewell or hint:
        print(told, file=sys.stderr)
    return app.return_code or 0
