"""What every screen that shows the node has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, cast, runtime_checkable

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

from fedtui.limits import TAKE_HOME_S
from fedtui.tui.feed import Feed
from fedtui.tui.keymap import SCREEN_KEYS
from fedtui.tui.limits import ERROR_SHOWN_S, OPERATION_S
from fedtui.tui.lines import plain
from fedtui.tui.messages import Answered, Refused
from fedtui.tui.widgets.banner import Banner
from fedtui.tui.widgets.keybar import KeyBar
from fedtui.tui.widgets.modebar import ModeBar
from fedtui.tui.widgets.sizeplate import SizePlate
from fedtui.tui.widgets.statusline import StatusLine
from fedtui.view import NodeView

if TYPE_CHECKING:
    from fedtui.tui.app import FedtuiApp

Value: TypeAlias = tuple[str, str]
"""What something is, for the message, and its text."""


@runtime_checkable
class Copyable(Protocol):
    """A widget that has something to copy."""

    def copy_value(self) -> Value | None:
        """What is under its cursor, or what it shows."""


LOOKING = frozenset(
    {
        "read_log",
        "list_adapters",
        "list_models",
        "list_downloads",
        "measure_download",
        "inspect_adapter",
        "hash_adapter",
        "check_folder",
        "generations",
        "gallery_state",
        "members",
        "trust_history",
        "plan",
        "round_times",
        "rooms",
        "rooms_nearby",
        "arriving",
    }
)
"""Operations that change nothing."""
UNASKED = frozenset(
    {"read_log", "list_adapters", "list_downloads", "generations", "members", "round_times"}
)
"""Operations that screens ask for by themselves."""


class LiveScreen(Screen[None]):
    """Receives every feed from the application and passes it to its widgets by data binding.

    Subclasses compose what lies between the rows all screens share (:meth:`body`), and say in
    ``PLACE`` which of :data:`~fedtui.tui.places.PLACES` they are.
    """

    PLACE: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = SCREEN_KEYS

    feed: reactive[Feed] = reactive(Feed, repaint=False)

    def compose(self) -> ComposeResult:
        """Status and screens above, keys below."""
        feed = LiveScreen.feed
        yield SizePlate()
        yield StatusLine().data_bind(feed)
        yield ModeBar(self.PLACE)
        yield Banner().data_bind(feed)
        yield from self.body()
        yield KeyBar()

    def body(self) -> ComposeResult:
        """The screen's own widgets."""
        return iter(())

    def look_again(self) -> None:
        """Asks anew for what is not in the feed: the screen was opened, or the node is back."""

    def on_screen_resume(self) -> None:
        """Something may have happened while another screen was on show."""
        self.look_again()

    def _watch_feed(self, old: Feed, new: Feed) -> None:
        # Before a subclass's own watch_feed; Textual calls both.
        if old.lost and not new.lost and self.is_current:
            self.look_again()

    @property
    def view(self) -> NodeView | None:
        """The newest view, if there is one."""
        return self.feed.view

    def remember(self, view: str, choice: str) -> None:
        """Keeps what this screen shows, also for the next start."""
        cast("FedtuiApp", self.app).remember(f"{self.PLACE}.{view}", choice)

    def remembered(self, view: str) -> str:
        """What was kept under this name; empty if nothing was, or what was made at first."""
        return cast("FedtuiApp", self.app).look.views.get(f"{self.PLACE}.{view}", "")

    def ask(self, operation: str, within_s: float = OPERATION_S, **arguments: Any) -> bool:
        """Asks the node to do something; :class:`Answered` or :class:`Refused` comes later.

        False when this window may not ask for it.
        """
        app = cast("FedtuiApp", self.app)
        if app.observe and operation not in LOOKING:
            self.notify("This window only watches (--observe).", severity="warning", markup=False)
            return False
        source = app.source

        async def work() -> None:
            try:
                result = await source.do(operation, within_s=within_s, **arguments)
            except Exception as error:
                title = getattr(error, "title", "") or str(error) or type(error).__name__
                cause, remedy = getattr(error, "cause", ""), getattr(error, "remedy", "")
                self.post_message(Refused(operation, title, cause, remedy))
            else:
                self.post_message(Answered(operation, result))

        # The function, not its coroutine: a worker that is replaced before it starts would leave
        # that one without an await.
        self.run_worker(cast("Any", work), group=operation, exclusive=True)
        return True

    def on_refused(self, message: Refused) -> None:
        """Says what came to nothing, why, and what to do; the banner tells of a node that went."""
        if self.feed.lost and message.operation in UNASKED:
            return
        parts = [plain(part) for part in (message.cause, message.remedy) if part]
        self.notify(
            "\n".join(parts) or "No reason was given.",
            title=plain(message.title),
            severity="error",
            timeout=ERROR_SHOWN_S,
            markup=False,
        )

    def on_answered(self, message: Answered) -> None:
        """Says what came of an operation that several screens offer."""
        if message.operation == "start_rounds":
            told = f"Rounds may begin up to round {int(message.result['through'])}."
            self.notify(told, markup=False)
        elif message.operation == "take_home":
            copy(self, "the path of what to take home", str(message.result["path"]))

    def action_start(self) -> None:
        """Starts the round that waits for it, after a question."""
        from fedtui.tui.screens.confirm import ConfirmScreen

        view = self.view
        if view is None or not view.round.held:
            return

        def start(agreed: bool | None) -> None:
            if agreed:
                self.ask("start_rounds", rounds=1)

        question = ConfirmScreen(
            f"Start round {view.round.number}?",
            f"Everybody in {plain(view.room_name) or 'the room'} begins to train. What has begun "
            "cannot be called off.",
            "Start",
        )
        self.app.push_screen(question, start)

    def action_take_home(self) -> None:
        """Packs what participants take home; the path is copied and shown when it is done."""
        names = self.named
        if self.ask("take_home", within_s=TAKE_HOME_S, names=names):
            told = "It names the members: ask them first." if names else "Members are numbered."
            self.notify(told, title="Packing what to take home…", markup=False)

    @property
    def named(self) -> bool:
        """Whether this screen shows the members' names."""
        return True

    async def action_back(self) -> None:
        """Returns to where this screen was opened: the dashboard, if it is one of the places."""
        if len(self.app.screen_stack) > 1:
            self.dismiss()
        else:
            await self.run_action("app.place('dash')")

    def copy_values(self) -> Iterator[Value | None]:
        """What ``y`` may copy, the most wanted first."""
        yield value_of(self.focused)

    def action_copy(self) -> None:
        """Copies the first thing there is."""
        found = next((value for value in self.copy_values() if value), None)
        if found:
            copy(self, *found)
        else:
            self.notify("There is nothing to copy here yet.", severity="warning", markup=False)

    def action_full(self) -> None:
        """Gives the focused panel the whole screen, or takes it back."""
        if self.maximized:
            self.minimize()
            return
        panel = self.focused or self.default_panel()
        if panel is not None and self.maximize(panel, container=False):
            panel.styles.width = panel.styles.height = "1fr"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Greys the key that makes a panel large where there is none.

        The one that starts a round is there only while one waits for it, in most rooms rounds begin
        by themselves; the one that packs what to take home after the first commit.
        """
        if action == "start":
            return bool(self.view and self.view.round.held)
        if action == "take_home":
            return bool(self.view and self.view.commits)
        if action == "full":
            return True if self.maximized or self.focused or self.default_panel() else None
        return super().check_action(action, parameters)

    def default_panel(self) -> Widget | None:
        """What becomes large when nothing has the focus."""
        return None

    def minimize(self) -> None:
        """Puts the panel back to where it was."""
        if self.maximized:
            self.maximized.styles.clear_rule("width")
            self.maximized.styles.clear_rule("height")
        super().minimize()


def value_of(widget: object) -> Value | None:
    """What a widget has to copy."""
    return widget.copy_value() if isinstance(widget, Copyable) else None


def copy(screen: Screen[Any], what: str, text: str) -> None:
    """Copies by OSC 52, which may fail silently: the message shows the text as well."""
    # What stands for a byte of a file's name that is no UTF-8 cannot be written to a terminal.
    screen.app.copy_to_clipboard(text.encode(errors="replace").decode())
    screen.notify(plain(text), title=f"Copied {what}", markup=False)
