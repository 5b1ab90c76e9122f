"""The first run: a name, a look at this machine, and a room to make, to join or to look at.

An application of its own: there is no node yet. It returns what was chosen; the command that
opened it does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Button, Input, Static

from fedtui.room_plan import RoomPlan
from fedtui.tui.keymap import WELCOME_KEYS
from fedtui.tui.lines import plain
from fedtui.tui.messages import CheckDone, RoomsSeen
from fedtui.tui.screens.founding import FoundingScreen
from fedtui.tui.themes import DARK, FALLBACK_VARIABLES, THEMES
from fedtui.tui.widgets.field import Field
from fedtui.tui.widgets.keybar import KeyBar
from fedtui.tui.wording import clock

if TYPE_CHECKING:
    from fedtui.doctor import Check

Way = Literal["create", "join", "demo"]
STYLES = Path(__file__).parent / "styles"
TICK_S = 1.0
NAME_CHARS = 32
HINTS: dict[Way, str] = {
    "create": "What is the room called?",
    "join": "The link (fedtui:…) or the spoken code (7-river-candy-bronze)",
    "demo": "",
}
PROMISE = (
    "People on one network train an image model together.\n"
    "Their pictures never leave their machines."
)


@dataclass(frozen=True)
class Choice:
    """What a person wants: ``text`` is the room's name, or an invite; ``plan`` is that of a room to
    be made."""

    way: Way
    name: str
    text: str = ""
    plan: RoomPlan = field(default_factory=RoomPlan)


class WelcomeApp(App[Choice]):
    """One page. ``name`` is a proposal; ``look`` examines this machine's device; ``trouble`` says
    what went wrong with the choice before, and ``plan`` is what it was; ``nearby`` counts the rooms
    on this network.
    """

    TITLE = "fedtui"
    CSS_PATH: ClassVar[list[Any]] = [
        STYLES / "base.tcss",
        STYLES / "welcome.tcss",
        STYLES / "dialogs.tcss",
    ]
    BINDINGS: ClassVar[list[BindingType]] = WELCOME_KEYS
    ENABLE_COMMAND_PALETTE = False

    def __init__(
        self,
        name: str,
        look: Callable[[], Awaitable[Check]] | None = None,
        trouble: str = "",
        theme: str = DARK.name,
        nearby: Callable[[], Awaitable[int]] | None = None,
        plan: RoomPlan | None = None,
    ) -> None:
        super().__init__()
        self._plan = plan or RoomPlan()
        self._proposal = plain(name)[:NAME_CHARS]
        self._look = look
        self._nearby = nearby
        self._trouble = trouble
        self._since = monotonic()
        self._way: Way = "create"
        self._checked = False
        self.animation_level = "none"
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme if theme in self.available_themes else DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Inks that the library's own themes do not define."""
        return dict(FALLBACK_VARIABLES)

    def compose(self) -> ComposeResult:
        """Name, device, and three ways on."""
        with Vertical(id="welcome"):
            yield Static(Content("fedtui"), id="brand")
            yield Static(Content(PROMISE), id="promise")
            yield Static(Content(plain(self._trouble)), id="trouble")
            yield Static(Content("Your name in the room"))
            yield Field(
                self._proposal,
                placeholder="a name",
                compact=True,
                max_length=NAME_CHARS,
                id="name",
            )
            yield Static(Content("◌ looking at this machine…"), id="device")
            yield Static(Content(""), id="nearby")
            yield Button("Join a room I was invited to", id="join", compact=True)
            yield Button("Make a room and invite others", id="create", compact=True)
            yield Button("Look around: a whole room on this machine", id="demo", compact=True)
            yield Static(Content(""), id="hint")
            yield Field(compact=True, id="text")
        yield KeyBar()

    def on_mount(self) -> None:
        """Examines the device beside everything else."""
        self.query_one("#trouble").display = bool(self._trouble)
        self.query_one("#nearby").display = False
        self._ask_for(None)
        self.query_one("#join").focus()
        self.set_interval(TICK_S, self._tell_device)
        if self._nearby is not None:
            listen = cast("Any", self._listen)
            self.run_worker(listen, group="nearby", exclusive=True, exit_on_error=False)
        if self._look is None:
            self.query_one("#device").display = False
        else:
            work = cast("Any", self._examine)
            self.run_worker(work, group="device", exclusive=True, exit_on_error=False)

    async def _examine(self) -> None:
        assert self._look is not None
        self.post_message(CheckDone(await self._look()))

    async def _listen(self) -> None:
        """Until a room is heard: somebody may be making one at the next table."""
        assert self._nearby is not None
        while True:
            if found := await self._nearby():
                self.post_message(RoomsSeen(found))
                return
            await asyncio.sleep(TICK_S)

    def on_rooms_seen(self, message: RoomsSeen) -> None:
        """Records carry no names, so this is all that can be said."""
        rooms = "A room is" if message.count == 1 else f"{message.count} rooms are"
        told = f"● {rooms} on this network: ask for an invite."
        line = self.query_one("#nearby", Static)
        line.update(Content(told))
        line.display = True

    def _tell_device(self) -> None:
        if not self._checked:
            waited = clock(monotonic() - self._since)
            self._say(f"◌ looking at this machine… {waited}")

    def on_check_done(self, message: CheckDone) -> None:
        """What the trainer would compute on."""
        check = cast("Check", message.check)
        self._checked = True
        sign = {"ok": "✓", "warning": "!", "failed": "✗"}[check.grade]
        told = ". ".join(filter(None, (plain(check.said), plain(check.remedy))))
        self._say(f"{sign} {told}")

    def _say(self, text: str) -> None:
        self.query_one("#device", Static).update(Content(text))

    def _ask_for(self, way: Way | None) -> None:
        hint, field = self.query_one("#hint", Static), self.query_one("#text", Input)
        hint.display = field.display = bool(way and HINTS[way])
        if way and HINTS[way]:
            self._way = way
            hint.update(Content(HINTS[way]))
            field.value = ""
            field.focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Asks for what the way needs, or goes it."""
        way = cast("Way", event.button.id)
        if HINTS[way]:
            self._ask_for(way)
        else:
            self._done(Choice(way, self.typed_name))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """From the name to the choices, from the text on."""
        if event.input.id == "name":
            self.query_one("#join").focus()
        elif event.value.strip():
            self._go_on(Choice(self._way, self.typed_name, event.value.strip()))

    def _go_on(self, choice: Choice) -> None:
        """Asks for the plan of a room that somebody with a name wants to make."""
        if choice.way != "create" or not choice.name:
            self._done(choice)
            return

        def planned(plan: RoomPlan | None) -> None:
            if plan is not None:
                self._done(replace(choice, plan=plan))

        self.push_screen(FoundingScreen(choice.text, self._plan), planned)

    @property
    def typed_name(self) -> str:
        """What stands in the field."""
        return plain(self.query_one("#name", Input).value)[:NAME_CHARS]

    def _done(self, choice: Choice) -> None:
        if not choice.name and choice.way != "demo":
            self.notify("The others need a name for you.", severity="warning", markup=False)
            self.query_one("#name").focus()
            return
        self.exit(choice)

    def action_next(self, step: int) -> None:
        """To the next or the previous field."""
        if step > 0:
            self.screen.focus_next()
        else:
            self.screen.focus_previous()

    def action_help_quit(self) -> None:
        """Ctrl+C, as Textual calls it: nothing runs yet that could be lost."""
        self.exit()

    def action_choices(self) -> None:
        """Back to the three ways."""
        self._ask_for(None)
        self.query_one("#join").focus()
