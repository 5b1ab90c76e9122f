"""The rooms of this machine, and the way to another one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from fedtui.tui.keymap import ROOMS_KEYS, key
from fedtui.tui.lines import plain
from fedtui.tui.widgets.table import Column, Table, one
from fedtui.tui.wording import short_id

AROUND = 3
"""Rows of the list's frame and header."""
STEPS = {
    "looking": "Looking for the machine of whoever invited you…",
    "connected": "It answers. The invite is being shown…",
    "proved": "The invite is good.",
    "waiting": "Waiting until somebody there lets this machine in.",
    "making": "Making the room: the model is read, its first adapter made. It takes a while.",
}


class OwnRoom(NamedTuple):
    """A row; ``done`` of its ``rounds`` left an adapter on this disk."""

    id: str
    name: str
    active: bool
    model: str
    rounds: int
    done: int


COLUMNS: tuple[Column[OwnRoom], ...] = (
    Column("", 0, 2, 2, lambda room, w: one("●" if room.active else "", w, "accent")),
    Column("room", 0, 12, 40, lambda room, w: one(room.name, w)),
    Column("rounds", 1, 8, 12, lambda room, w: one(f"{room.done} of {room.rounds}", w, "muted")),
    Column("model", 2, 8, 20, lambda room, w: one(room.model, w, "muted")),
    Column("id", 3, 10, 12, lambda room, w: one(short_id(room.id), w, "muted")),
)


class RoomsChoice(NamedTuple):
    """Which way, and for ``use`` to which room."""

    way: Literal["use", "make", "join"]
    room: OwnRoom | None = None


class RoomsScreen(ModalScreen[RoomsChoice]):
    """Dismissed with a choice, or with nothing."""

    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = ROOMS_KEYS

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__()
        self._rooms = tuple(map(own_room, told["rooms"]))
        self._around = Static(Content("◌ listening for rooms on this network…"), id="nearby")
        self._list: Table[OwnRoom] = Table(COLUMNS, lambda room: room.id, id="rooms")

    def compose(self) -> ComposeResult:
        """The list, what it means, what else there is."""
        now = next((room.name for room in self._rooms if room.active), "none of them")
        with Vertical(id="elsewhere"):
            yield self._list
            told = f"This machine works for one room at a time, now for {now}."
            yield Static(Content(told), id="now")
            yield self._around
            told = "enter works for it · n makes one · J joins one · esc closes"
            yield Static(Content(told), id="ways")

    def on_mount(self) -> None:
        """Fills the list; the cursor stands where this machine is."""
        self._list.fill(self._rooms)
        self._list.styles.height = len(self._rooms) + AROUND
        self._list.entitle((("Rooms of this machine", "strong"),))
        self._list.choose(next((room.id for room in self._rooms if room.active), ""))

    def tell_nearby(self, count: int | None) -> None:
        """Records carry no names, so a number is all that can be said; None: nobody knows."""
        if count is None:
            told = "The network cannot be listened to: a link still works."
        elif count <= 1:
            told = "No other room announces itself on this network."
        else:
            told = f"{count} rooms announce themselves on this network. Ask there for an invite."
        self._around.update(Content(told))

    def on_table_opened(self, message: Table.Opened) -> None:
        """Works for the room under the cursor, after a question."""
        message.stop()
        if self._list.selected is not None:
            self.dismiss(RoomsChoice("use", self._list.selected))

    def action_make(self) -> None:
        """Makes a room."""
        self.dismiss(RoomsChoice("make"))

    def action_join(self) -> None:
        """Joins one."""
        self.dismiss(RoomsChoice("join"))

    def action_back(self) -> None:
        """Stays."""
        self.dismiss()


class JourneyScreen(ModalScreen[bool]):
    """How far this machine is; dismissed with True by a person who wants to stay."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape", "stay", "Stay", "Stay in the present room", "journey.stay"),
    ]

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__()
        self._told = told
        self._step = Static(id="consequences")
        self._stay = Static(id="stay")

    def compose(self) -> ComposeResult:
        """What happens, and what to compare."""
        with Vertical(id="dialog"):
            yield Static(Content("To another room"), id="question")
            yield self._step
            yield self._stay

    def on_mount(self) -> None:
        """Says the first step."""
        self.tell(self._told)

    def tell(self, told: dict[str, Any]) -> None:
        """Another step."""
        self._told = told
        lines = [journey_words(told)]
        if told.get("words") and not told.get("switching"):
            words = " ".join(map(plain, told["words"]))
            lines += ["", "The same six words stand on the screen there:", words]
        self._step.update(Content("\n".join(lines)))
        leaving = bool(told.get("switching"))
        told_so = "" if leaving else "esc stops it: this machine stays where it is."
        self._stay.update(Content(told_so))

    def action_stay(self) -> None:
        """Stops the journey, if it can still be stopped."""
        if not self._told.get("switching"):
            self.dismiss(True)


def own_room(told: dict[str, Any]) -> OwnRoom:
    """A room as the node tells of it."""
    texts = (plain(str(told[part])) for part in ("room", "name"))
    id_, name = texts
    return OwnRoom(
        id_, name or short_id(id_), bool(told["active"]), plain(str(told["model"])),
        int(told["rounds"]), int(told["done"]),
    )  # fmt: skip


def journey_words(told: dict[str, Any]) -> str:
    """Where it is, in a sentence."""
    if told.get("switching"):
        return f"The node here starts anew, for {plain(str(told['name']))}."
    return STEPS.get(str(told["step"]), plain(str(told["step"])))
