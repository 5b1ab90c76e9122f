"""Two adapters beside one another: what each is, and what both drew of the same prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal

from fedtui.limits import MERGE_S
from fedtui.tui.adapters import Adapter, commit_of, round_of
from fedtui.tui.comparing_adapters import Side, facts, page, pane
from fedtui.tui.keymap import COMPARISON_KEYS
from fedtui.tui.lines import plain
from fedtui.tui.messages import Answered, PictureOpened, Refused
from fedtui.tui.screens.enlarging import enlarged
from fedtui.tui.screens.live import LiveScreen
from fedtui.tui.timeline import times_of
from fedtui.tui.widgets.picturepair import PicturePair
from fedtui.tui.widgets.sheet import Sheet
from fedtui.view import TimesView, from_json

NO_PICTURES = (
    "There are no pictures of both: this machine has them of its room's rounds, and of exports of "
    "those."
)
WITH_PICTURES = 38
"""Lines from which on facts and pictures are shown at once."""


class BesideScreen(LiveScreen):
    """``known`` and ``hashes`` are what the library knows by path; what is asked for is added."""

    PLACE = "library"
    BINDINGS: ClassVar[list[BindingType]] = COMPARISON_KEYS
    AUTO_FOCUS: ClassVar[str] = "#both"

    def __init__(
        self,
        adapters: Sequence[Adapter],
        old: int,
        new: int,
        known: dict[str, dict[str, Any]],
        hashes: dict[str, str],
    ) -> None:
        """``old`` and ``new`` are two of the ``adapters``: those at the left and at the right."""
        super().__init__()
        self._adapters = adapters
        self._at = [old, new]
        self._known, self._hashes = known, hashes
        self._unread: dict[str, str] = {}
        self._times: dict[int, TimesView | None] = {}
        self._asked: tuple[str, dict[str, Any]] | None = None
        self._panes = Sheet(id="left"), Sheet(id="right")
        self._page = Sheet(id="both")
        self._pair = PicturePair(id="pair")
        self._pair.can_focus = False  # left and right are for the adapters here

    def body(self) -> ComposeResult:
        """Facts above, pictures below."""
        for panel in (*self._panes, self._page, self._pair):
            panel.add_class("panel")
        yield Horizontal(*self._panes, id="panes")
        yield self._page
        yield self._pair.data_bind(BesideScreen.feed)

    def watch_feed(self) -> None:
        """Names and pictures come with it."""
        self._show()

    def look_again(self) -> None:
        """What could not be read may be readable now."""
        self._unread.clear()
        self._ask_next()

    @property
    def _sides(self) -> tuple[Side, Side]:
        one, other = (self._side(self._adapters[at]) for at in self._at)
        return one, other

    def _side(self, adapter: Adapter) -> Side:
        commit = commit_of(adapter, self.view)
        known = self._known.get(adapter.path)
        number = round_of(adapter, known, self.view)
        times = times_of(self.view, number) if self.view else None
        return Side(
            adapter,
            known,
            commit.result if commit else self._hashes.get(adapter.path, ""),
            times or self._times.get(number),
            self._unread.get(adapter.path, ""),
        )

    def _show(self) -> None:
        view = self.view
        if view is None:
            return
        old, new = self._sides
        rows = facts(view, old, new)
        names = plain(old.adapter.name), plain(new.adapter.name)
        for sheet, name in zip(self._panes, names, strict=True):
            sheet.entitle(((name, "strong"),))
        at_left, at_right = self._panes
        at_left.show(lambda width: pane(rows, width - 1, new=False))
        at_right.show(lambda width: pane(rows, width - 1, new=True))
        self._page.entitle(((f"{names[0]} and {names[1]}", "strong"),))
        self._page.show(lambda width: page(rows, names, width - 1))
        numbers = [round_of(side.adapter, side.known, view) for side in (old, new)]
        self._pair.compare((numbers[0], numbers[1]) if all(numbers) else None, NO_PICTURES)

    def _ask_next(self) -> None:
        """Asks for what is missing of the two, one thing after another."""
        self._asked = None if self.view and not self.feed.lost else self._asked
        wanted = next(iter(self._wanted()), None)
        if wanted is not None and self._asked is None and self.ask(wanted[0], MERGE_S, **wanted[1]):
            self._asked = wanted

    def _wanted(self) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        for side in self._sides if self.view else ():
            path, adapter = side.adapter.path, side.adapter
            if path not in self._known and path not in self._unread:
                found.append(("inspect_adapter", {"path": path}))
            if not side.sha256 and path not in self._unread:
                found.append(("hash_adapter", {"path": path}))
            number = round_of(adapter, side.known, self.view)
            if number and side.times is None and number not in self._times:
                found.append(("round_times", {"round": number}))
        return found

    def on_answered(self, message: Answered) -> None:
        """One thing more is known."""
        result = message.result
        match message.operation:
            case "inspect_adapter":
                self._known[str(result["path"])] = result
            case "hash_adapter":
                self._hashes[str(result["path"])] = str(result["sha256"])
            case "round_times":
                told = result["times"]
                self._times[int(result["round"])] = from_json(TimesView, told) if told else None
        self._go_on()

    def on_refused(self, message: Refused) -> None:
        """What one of them does not tell is said beside the other's."""
        message.prevent_default()
        if self._asked is not None:
            arguments = self._asked[1]
            if "round" in arguments:
                self._times[int(arguments["round"])] = None
            else:
                self._unread[str(arguments["path"])] = f"✗ {message.title}: {message.cause}"
        self._go_on()

    def _go_on(self) -> None:
        self._asked = None
        self._show()
        self._ask_next()

    def _choose(self, which: int, step: int) -> None:
        """Another adapter; never the one it is compared with."""
        at = self._at[which]
        at = (at + step) % len(self._adapters)
        if at == self._at[1 - which]:
            at = (at + step) % len(self._adapters)
        self._at[which] = at
        self._show()
        self._ask_next()

    def action_old(self, step: int) -> None:
        """Another one at the left."""
        self._choose(0, step)

    def action_new(self, step: int) -> None:
        """Another one at the right."""
        self._choose(1, step)

    def action_prompt(self, step: int) -> None:
        """Another prompt, the same two adapters."""
        self._pair.action_prompt(step)

    def action_enlarge(self) -> None:
        """The right picture, large; c there swaps it with the left one."""
        self._pair.action_enlarge()

    def action_pictures(self) -> None:
        """Shows pictures in place of facts, or the other way round."""
        self.toggle_class("-pictures")

    def on_picture_opened(self, message: PictureOpened) -> None:
        """A click on a picture."""
        enlarged(self, self._pair, message.round)

    def on_resize(self) -> None:
        """Where there is room for both, both are shown."""
        self.set_class(self.size.height >= WITH_PICTURES, "-both")
        self.refresh_bindings()
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing to switch where both are shown."""
        if action == "pictures":
            return not self.has_class("-both")
        if action in ("old", "new"):
            return True if len(self._adapters) > 2 else None
        return super().check_action(action, parameters)
