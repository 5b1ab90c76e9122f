"""Adapters: those of the room's rounds, exported ones, and files from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.binding import BindingType

from fedtui.tui.facts import fact, heading, said
from fedtui.tui.keymap import LIBRARY_KEYS
from fedtui.tui.lines import Line, cut_path, plain, wrapped
from fedtui.tui.messages import Answered
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.screens.live import Value, copy
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.table import Column, Table, number, one
from fedtui.tui.wording import absent, names_by_id, short_id
from fedtui.view import NodeView

EMPTY = "Adapters land here after each round. Files from elsewhere: put them into the shelf folder."
SIGNS = {"round": "●", "export": "↑", "file": "○"}


@dataclass(frozen=True)
class Adapter:
    """A file on the shelf."""

    path: str
    name: str
    kind: str
    round: int
    bytes: int
    modified: str


COLUMNS: tuple[Column[Adapter], ...] = (
    Column("adapter", 0, 16, 40, lambda a, w: one(f"{SIGNS.get(a.kind, '?')} {a.name}", w)),
    Column("kind", 1, 6, 6, lambda a, w: one(a.kind, w, "muted")),
    Column("size", 2, 8, 8, lambda a, w: number(sized(a.bytes), w, "muted"), True),
    Column("made", 3, 16, 16, lambda a, w: one(a.modified, w, "faint")),
)


def sized(count: int) -> str:
    """Bytes in the unit that fits."""
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1000:.0f} KB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


class LibraryScreen(ListScreen):
    """A list of adapters and what one of them is."""

    PLACE = "library"
    BINDINGS: ClassVar[list[BindingType]] = LIBRARY_KEYS
    AUTO_FOCUS: ClassVar[str] = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.table: Table[Adapter] = Table(COLUMNS, lambda a: a.path, empty=EMPTY, id="adapters")
        self.sheet = Sheet(id="adapter")
        self._known: dict[str, dict[str, Any]] = {}
        self._asking = ""
        self._committed = -1
        self._shelf = ""

    def look_again(self) -> None:
        """Files may have come meanwhile."""
        self.ask("list_adapters")

    def watch_feed(self) -> None:
        """A round's adapter appears by itself."""
        self.table.fill(self.table.rows, absent(self.feed) or EMPTY)
        if self.view is None:
            return
        commits = len(self.view.commits)
        if commits != self._committed:
            self._committed = commits
            self.ask("list_adapters")
        self.show_chosen()

    def on_answered(self, message: Answered) -> None:
        """Shows the list, or what was found out."""
        result = message.result
        if message.operation == "list_adapters":
            self._shelf = str(result["shelf"])
            self.table.fill(tuple(Adapter(**entry) for entry in result["adapters"]), EMPTY)
        elif message.operation == "inspect_adapter":
            self._known[self._asking] = result
        elif message.operation == "export_adapter":
            copy(self, "the path of the export", str(result["path"]))
            self.ask("list_adapters")
        self.show_chosen()

    def open_chosen(self) -> None:
        """Looks into the file."""
        self.action_inspect()

    def show_chosen(self) -> None:
        """Tells of the one under the cursor."""
        chosen = self.table.selected
        self.table.entitle((("Adapters", "muted"), (f" {len(self.table.rows)}", "text")))
        self.sheet.entitle(((chosen.name if chosen else "Adapter", "strong"),))
        view, shelf = self.view, self._shelf
        known = self._known.get(chosen.path) if chosen else None
        self.sheet.show(
            lambda width: adapter_lines(chosen, known, view, shelf, width),
            ("the path of the adapter", chosen.path) if chosen else None,
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without an adapter there is nothing to look into."""
        if action in ("inspect", "export", "studio"):
            return True if self.table.selected else None
        return super().check_action(action, parameters)

    def action_inspect(self) -> None:
        """Reads the file's header."""
        if self.table.selected:
            self._asking = self.table.selected.path
            self.ask("inspect_adapter", path=self._asking)

    def action_export(self) -> None:
        """Writes the round's adapter for other programs."""
        chosen = self.table.selected
        if chosen is None or not chosen.round:
            self.notify("Only a round's adapter is exported.", severity="warning", markup=False)
            return
        self.ask("export_adapter", round=chosen.round, format="kohya")

    async def action_studio(self) -> None:
        """Draws with this adapter."""
        chosen = self.table.selected
        if chosen:
            await self.run_action("app.place('studio')")
            take = getattr(self.app.screen, "take_adapter", None)
            if take is not None:
                take(chosen.name, chosen.path, chosen.round)

    def copy_values(self) -> Iterator[Value | None]:
        """The path of the adapter under the cursor."""
        chosen = self.table.selected
        yield ("the path of the adapter", chosen.path) if chosen else None


def adapter_lines(
    chosen: Adapter | None,
    known: dict[str, Any] | None,
    view: NodeView | None,
    shelf: str,
    width: int,
) -> list[Line]:
    """All that is known of an adapter file."""
    if chosen is None:
        return [*wrapped(EMPTY, width - 1, "muted"), (), *said("shelf", shelf, width, "muted")]
    lines = [
        fact("kind", ((KINDS.get(chosen.kind, chosen.kind), "text"),)),
        fact("size", ((f"{chosen.bytes:,} bytes", "text"),)),
        fact("made", ((chosen.modified, "text"),)),
        fact("file", ((cut_path(chosen.path, max(8, width - 15)), "muted"),)),
    ]
    commit = next((c for c in view.commits if c.round == chosen.round), None) if view else None
    if view and commit and chosen.round:
        names = names_by_id(view)
        from_ = ", ".join(names.get(i.peer, short_id(i.peer)) for i in commit.inputs)
        lines += [(), heading("From the room")]
        lines += said("trained by", from_ or "nobody", width)
        lines += said("model", plain(view.model), width)
        lines += said("hash", commit.result, width, "muted")
    lines += [(), heading("In the file")]
    if known is None:
        return [*lines, *wrapped("enter looks into it.", width - 1, "muted")]
    ranks = ", ".join(f"{rank} ({n} layers)" for rank, n in known["ranks"].items())
    lines += said("dialect", str(known["title"]), width)
    lines += said("rank", ranks or "none", width)
    lines += said("fits", f"{known['matching']} of {known['modules']} modules", width)
    if known["ignored"]:
        lines += said("ignored", ", ".join(map(str, known["ignored"][:4])), width, "warning")
    for name, value in list(known["metadata"].items())[:12]:
        lines += said(plain(str(name))[:13], str(value), width, "muted")
    return lines


KINDS = {
    "round": "result of a round",
    "export": "exported for other programs",
    "file": "a file on the shelf",
}
