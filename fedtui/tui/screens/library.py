"""Adapters of the room's rounds, exported ones, files from elsewhere; base models beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from fedtui.limits import MERGE_S
from fedtui.tui.adapters import (
    CHANGED,
    EMPTY,
    Adapter,
    adapter_lines,
    commit_of,
    round_of,
)
from fedtui.tui.base_models import UNCOMPUTED
from fedtui.tui.keymap import LIBRARY_KEYS
from fedtui.tui.lines import plain
from fedtui.tui.messages import Answered, PictureOpened
from fedtui.tui.screens.beside import BesideScreen
from fedtui.tui.screens.enlarging import enlarged
from fedtui.tui.screens.live import LiveScreen, Value, copy
from fedtui.tui.screens.shelving import ShelvingScreen
from fedtui.tui.widgets.picturepair import FIRST, NONE, PicturePair
from fedtui.tui.widgets.split import Split
from fedtui.tui.wording import absent

OF_ADAPTERS = frozenset({"inspect", "export", "studio", "mark", "delete"})
"""What needs an adapter under the cursor."""
OF_PAIRS = frozenset({"merge", "difference", "pictures", "prompt"})
"""What is for adapters only, too."""
BOTH = (100, 38)
"""Columns and lines from which on details and pictures are shown at once."""


class LibraryScreen(ShelvingScreen):
    """A list of adapters, or of base models, and what one of them is."""

    PLACE = "library"
    BINDINGS: ClassVar[list[BindingType]] = LIBRARY_KEYS
    AUTO_FOCUS: ClassVar[str] = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.pair = PicturePair(id="pair")
        self._committed = -1
        self._shelf = ""

    def body(self) -> ComposeResult:
        """One of two lists, and its details."""
        for panel in (self.table, self.bases, self.sheet, self.pair):
            panel.add_class("panel")
        self.bases.display = False
        pair = self.pair.data_bind(LibraryScreen.feed)
        yield Split(self.table, self.bases, Vertical(self.sheet, pair, id="about"))

    def look_again(self) -> None:
        """Files may have come meanwhile."""
        self.ask("list_adapters")
        if self.of_bases:
            self.ask_for_bases()

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
        """Shows the lists, what was found out, or what has changed."""
        result = message.result
        self.learn_of_bases(message)
        self.learn_of_shelf(message)
        match message.operation:
            case "list_adapters":
                self._shelf = str(result["shelf"])
                self.fill(tuple(Adapter(**entry) for entry in result["adapters"]))
            case "inspect_adapter":
                self.known[str(result["path"])] = result
            case "hash_adapter":
                self._hashed(str(result["path"]), str(result["sha256"]))
        self.show_chosen()

    def _hashed(self, path: str, sha256: str) -> None:
        self.hashes[path] = sha256
        adapter = next((each for each in self.table.rows if each.path == path), None)
        name = adapter.name if adapter else path
        copy(self, f"the SHA-256 of {plain(name)}", sha256)
        commit = commit_of(adapter, self.view)
        if commit is not None and commit.result != sha256:
            self.notify(CHANGED, title=f"{plain(name)} is damaged", severity="error", markup=False)

    def open_chosen(self) -> None:
        """Looks into the file, or reads on about the model."""
        if self.of_bases:
            self.sheet.focus()
        else:
            self.action_inspect()

    def show_chosen(self) -> None:
        """Tells of the one under the cursor."""
        if self.of_bases:
            self.show_base()
            return
        chosen = self.table.selected
        marked = f" · {len(self.marked)} marked" if self.marked else ""
        self.table.entitle((("Adapters", "muted"), (f" {len(self.table.rows)}{marked}", "text")))
        self.sheet.entitle(((chosen.name if chosen else "Adapter", "strong"),))
        view, shelf = self.view, self._shelf
        path = chosen.path if chosen else ""
        known, sha256 = self.known.get(path), self.hashes.get(path, "")
        self.sheet.show(
            lambda width: adapter_lines(chosen, known, sha256, view, shelf, width),
            ("the path of the adapter", chosen.path) if chosen else None,
        )
        number = round_of(chosen, known, view)
        self.pair.compare((FIRST, number) if number else None, NONE if chosen else "")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without an adapter there is nothing to look into; base models are only looked at."""
        if self.of_bases and action in (*OF_ADAPTERS, *OF_PAIRS):
            return False
        if action == "stop_download":
            return self.of_bases and self.fetching
        if action in OF_ADAPTERS:
            return True if self.table.selected else None
        if action == "hash":
            return True if (self.bases if self.of_bases else self.table).selected else None
        if action in ("merge", "difference"):
            return True if len(self.table.rows) > 1 else None
        if action == "pictures":
            return not self.has_class("-both")
        if action == "prompt":
            return True if len(self.pair.recipes) > 1 else None
        return super().check_action(action, parameters)

    def action_bases(self) -> None:
        """Shows the base models on this machine, or the adapters again."""
        self.bases.display = not self.bases.display
        self.table.display = not self.bases.display
        (self.bases if self.of_bases else self.table).focus()
        if self.of_bases:
            self.ask_for_bases()
        self.set_class(self.of_bases, "-bases")
        self.refresh_bindings()
        self.show_chosen()

    async def action_back(self) -> None:
        """First back to the adapters, then to the dashboard."""
        if self.of_bases:
            self.action_bases()
        else:
            await super().action_back()

    def action_pictures(self) -> None:
        """Shows pictures in place of details, or the other way round."""
        self.toggle_class("-pictures")
        self.table.focus()

    def action_prompt(self, step: int) -> None:
        """Another prompt, the same adapter."""
        self.pair.action_prompt(step)

    def on_picture_opened(self, message: PictureOpened) -> None:
        """A click on a picture, or enter."""
        enlarged(self, self.pair, message.round)

    def on_resize(self) -> None:
        """Where there is room for both, both are shown."""
        width, height = self.size
        self.set_class(width >= BOTH[0] and height >= BOTH[1], "-both")
        self.refresh_bindings()

    def action_difference(self) -> None:
        """Compares the two that are marked; or the one under the cursor with the next, which is
        the older one of two rounds."""
        rows = list(self.table.rows)
        marked = [at for at, adapter in enumerate(rows) if adapter.marked]
        chosen = self.table.selected
        if chosen is None or len(rows) < 2:
            return
        new = rows.index(chosen)
        old = new + 1 if new + 1 < len(rows) else new - 1
        if len(marked) == 2:
            new, old = marked
        screen = BesideScreen(rows, old, new, self.known, self.hashes)
        screen.set_reactive(LiveScreen.feed, self.feed)
        self.app.push_screen(screen)

    def action_inspect(self) -> None:
        """Reads the file's header."""
        if self.table.selected:
            self.ask("inspect_adapter", path=self.table.selected.path)

    def action_hash(self) -> None:
        """Copies the hash of the whole file, or of the model."""
        if not self.of_bases:
            if self.table.selected:
                self.ask("hash_adapter", MERGE_S, path=self.table.selected.path)
            return
        chosen = self.bases.selected
        if chosen and chosen.sha256:
            copy(self, f"the SHA-256 of {plain(chosen.source)}", chosen.sha256)
        elif chosen:
            self.notify(UNCOMPUTED, severity="warning", markup=False)

    async def action_studio(self) -> None:
        """Draws with this adapter."""
        chosen = self.table.selected
        if chosen:
            await self.run_action("app.place('studio')")
            take = getattr(self.app.screen, "take_adapter", None)
            if take is not None:
                take(chosen.name, chosen.path, chosen.round)

    def copy_values(self) -> Iterator[Value | None]:
        """The path of what is under the cursor."""
        if self.of_bases:
            base = self.bases.selected
            yield ("the folder of the model", base.folder) if base else None
        else:
            chosen = self.table.selected
            yield ("the path of the adapter", chosen.path) if chosen else None
