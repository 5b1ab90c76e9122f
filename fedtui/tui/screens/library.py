"""Adapters of the room's rounds, exported ones, files from elsewhere; base models beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from fedtui.limits import MERGE_S, MERGED_ADAPTERS
from fedtui.tui.adapters import (
    BASES,
    CHANGED,
    COLUMNS,
    EMPTY,
    LOST,
    UNCOMPUTED,
    Adapter,
    Base,
    adapter_lines,
    base_lines,
    commit_of,
    round_of,
)
from fedtui.tui.keymap import LIBRARY_KEYS
from fedtui.tui.lines import plain
from fedtui.tui.messages import Answered, PictureOpened
from fedtui.tui.screens.beside import BesideScreen
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.enlarging import enlarged
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.screens.live import LiveScreen, Value, copy
from fedtui.tui.screens.merging import Merge, MergingScreen
from fedtui.tui.screens.taking import TakingScreen
from fedtui.tui.widgets.picturepair import FIRST, NONE, PicturePair
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.split import Split
from fedtui.tui.widgets.table import Table
from fedtui.tui.wording import absent, count

OF_ADAPTERS = frozenset({"inspect", "export", "studio", "mark", "delete"})
"""What needs an adapter under the cursor."""
OF_PAIRS = frozenset({"merge", "difference", "pictures", "prompt"})
"""What is for adapters only, too."""
BOTH = (100, 38)
"""Columns and lines from which on details and pictures are shown at once."""
LOOKING = "Looking for base models…"


class LibraryScreen(ListScreen):
    """A list of adapters, or of base models, and what one of them is."""

    PLACE = "library"
    BINDINGS: ClassVar[list[BindingType]] = LIBRARY_KEYS
    AUTO_FOCUS: ClassVar[str] = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.table: Table[Adapter] = Table(COLUMNS, lambda a: a.path, empty=EMPTY, id="adapters")
        self.bases: Table[Base] = Table(BASES, lambda b: b.folder, empty=LOOKING, id="bases")
        self.sheet = Sheet(id="adapter")
        self.pair = PicturePair(id="pair")
        self._known: dict[str, dict[str, Any]] = {}
        self._hashes: dict[str, str] = {}
        self._awaited = ""
        self._marked: frozenset[str] = frozenset()
        self._committed = -1
        self._shelf = ""
        self._store = ""

    def body(self) -> ComposeResult:
        """One of two lists, and its details."""
        for panel in (self.table, self.bases, self.sheet, self.pair):
            panel.add_class("panel")
        self.bases.display = False
        pair = self.pair.data_bind(LibraryScreen.feed)
        yield Split(self.table, self.bases, Vertical(self.sheet, pair, id="about"))

    @property
    def of_bases(self) -> bool:
        """Whether base models are on show."""
        return self.bases.display

    def look_again(self) -> None:
        """Files may have come meanwhile."""
        self.ask("list_adapters")
        if self.of_bases:
            self.ask("list_models")

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
        match message.operation:
            case "list_adapters":
                self._shelf = str(result["shelf"])
                self._fill(tuple(Adapter(**entry) for entry in result["adapters"]))
            case "list_models":
                self._store = str(result["store"])
                self.bases.fill(tuple(Base(**entry) for entry in result["models"]), LOOKING)
            case "inspect_adapter":
                self._known[str(result["path"])] = result
            case "hash_adapter":
                self._hashed(str(result["path"]), str(result["sha256"]))
            case "export_adapter":
                copy(self, "the path of the export", str(result["path"]))
                self.ask("list_adapters")
            case "import_adapter":
                self._arrived(result, told_of_import(result))
            case "merge_adapters":
                self._marked = frozenset()
                self._arrived(result, told_of_merge(result))
            case "delete_adapter":
                self.notify(f"{plain(str(result['name']))} is deleted.", markup=False)
                self.ask("list_adapters")
        self.show_chosen()

    def _hashed(self, path: str, sha256: str) -> None:
        self._hashes[path] = sha256
        adapter = next((each for each in self.table.rows if each.path == path), None)
        name = adapter.name if adapter else path
        copy(self, f"the SHA-256 of {plain(name)}", sha256)
        commit = commit_of(adapter, self.view)
        if commit is not None and commit.result != sha256:
            self.notify(CHANGED, title=f"{plain(name)} is damaged", severity="error", markup=False)

    def _arrived(self, result: dict[str, Any], told: str) -> None:
        self._awaited = str(result["path"])
        self._known.pop(self._awaited, None)
        self._hashes.pop(self._awaited, None)
        self.notify(told, title=f"{plain(str(result['name']))} is on the shelf", markup=False)
        self.ask("list_adapters")

    def _fill(self, adapters: tuple[Adapter, ...]) -> None:
        self._marked &= {adapter.path for adapter in adapters}
        marked = (replace(a, marked=a.path in self._marked) for a in adapters)
        self.table.fill(tuple(marked), EMPTY)
        if self._awaited:
            self.table.choose(self._awaited)
            self._awaited = ""

    def open_chosen(self) -> None:
        """Looks into the file, or reads on about the model."""
        if self.of_bases:
            self.sheet.focus()
        else:
            self.action_inspect()

    def show_chosen(self) -> None:
        """Tells of the one under the cursor."""
        if self.of_bases:
            self._show_base()
            return
        chosen = self.table.selected
        marked = f" · {len(self._marked)} marked" if self._marked else ""
        self.table.entitle((("Adapters", "muted"), (f" {len(self.table.rows)}{marked}", "text")))
        self.sheet.entitle(((chosen.name if chosen else "Adapter", "strong"),))
        view, shelf = self.view, self._shelf
        path = chosen.path if chosen else ""
        known, sha256 = self._known.get(path), self._hashes.get(path, "")
        self.sheet.show(
            lambda width: adapter_lines(chosen, known, sha256, view, shelf, width),
            ("the path of the adapter", chosen.path) if chosen else None,
        )
        number = round_of(chosen, known, view)
        self.pair.compare((FIRST, number) if number else None, NONE if chosen else "")

    def _show_base(self) -> None:
        chosen, store = self.bases.selected, self._store
        self.bases.entitle((("Base models", "muted"), (f" {len(self.bases.rows)}", "text")))
        self.sheet.entitle(((plain(chosen.name) if chosen else "Base model", "strong"),))
        self.sheet.show(
            lambda width: base_lines(chosen, store, width),
            ("the folder of the model", chosen.folder) if chosen else None,
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without an adapter there is nothing to look into; base models are only looked at."""
        if self.of_bases and action in (*OF_ADAPTERS, *OF_PAIRS, "take"):
            return False
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
            self.ask("list_models")
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
        screen = BesideScreen(rows, old, new, self._known, self._hashes)
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
            copy(self, f"the SHA-256 of {plain(chosen.name)}", chosen.sha256)
        elif chosen:
            self.notify(UNCOMPUTED, severity="warning", markup=False)

    def action_take(self) -> None:
        """Takes a file from elsewhere onto the shelf."""

        def take(path: str | None) -> None:
            if path and self.ask("import_adapter", MERGE_S, path=path):
                self.notify(plain(path), title="Reading the adapter…", markup=False)

        self.app.push_screen(TakingScreen(), take)

    def action_mark(self) -> None:
        """Marks the adapter to be merged, or not."""
        chosen = self.table.selected
        if chosen is None:
            return
        if chosen.path not in self._marked and len(self._marked) >= MERGED_ADAPTERS:
            self.notify(f"At most {MERGED_ADAPTERS} are merged.", severity="warning", markup=False)
            return
        self._marked ^= {chosen.path}
        self._fill(tuple(self.table.rows))
        self.table.action_move(1)
        self.show_chosen()

    def action_merge(self) -> None:
        """Makes one adapter of those that are marked."""
        chosen = [adapter for adapter in self.table.rows if adapter.marked]
        if len(chosen) < 2:
            told = "Mark two or more adapters first: space"
            self.notify(told, severity="warning", markup=False)
            return

        def merge(wanted: Merge | None) -> None:
            if wanted is None:
                return
            files = [
                {"path": adapter.path, "weight": weight}
                for adapter, weight in zip(chosen, wanted.weights, strict=True)
            ]
            if self.ask("merge_adapters", MERGE_S, files=files, new_name=wanted.name):
                self.notify(f"Merging {len(files)} adapters…", markup=False)

        self.app.push_screen(MergingScreen(chosen), merge)

    def action_delete(self) -> None:
        """Deletes the file, after a question that says what is lost."""
        chosen = self.table.selected
        if chosen is None:
            return
        if chosen.round and chosen.round == max(adapter.round for adapter in self.table.rows):
            told = (
                "The next round starts from it, and what you take home is made of it. Older ones, "
                "exports and files of the shelf can be deleted."
            )
            title = f"Round {chosen.round} is needed"
            self.notify(told, title=title, severity="warning", markup=False)
            return

        def delete(agreed: bool | None) -> None:
            if agreed:
                self.ask("delete_adapter", path=chosen.path)

        lost = LOST.get(chosen.kind, "")
        question = ConfirmScreen(f"Delete {chosen.name}?", f"{chosen.path}\n\n{lost}", "Delete")
        self.app.push_screen(question, delete)

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
        """The path of what is under the cursor."""
        if self.of_bases:
            base = self.bases.selected
            yield ("the folder of the model", base.folder) if base else None
        else:
            chosen = self.table.selected
            yield ("the path of the adapter", chosen.path) if chosen else None


def told_of_import(result: dict[str, Any]) -> str:
    """What came in."""
    if not result["new"]:
        return "The shelf had this very file already."
    told = f"{plain(str(result['title']))}, {count(int(result['modules']), 'module')}."
    ignored = len(result["ignored"])
    return f"{told} {count(ignored, 'tensor')} of it are no LoRA." if ignored else told


def told_of_merge(result: dict[str, Any]) -> str:
    """How much each one counts."""
    shares = ", ".join(f"{float(share):.0%}" for share in result["weights"])
    return f"{shares}. Rank {int(result['rank'])}, {count(int(result['modules']), 'module')}."
