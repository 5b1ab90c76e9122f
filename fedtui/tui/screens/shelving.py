"""What is done with adapters of the library: taken in, marked, merged, exported, deleted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fedtui.limits import MERGE_S, MERGED_ADAPTERS
from fedtui.tui.adapters import COLUMNS, EMPTY, LOST, Adapter
from fedtui.tui.lines import plain
from fedtui.tui.messages import Answered
from fedtui.tui.screens.bases import BasesScreen
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.live import copy
from fedtui.tui.screens.merging import Merge, MergingScreen
from fedtui.tui.screens.taking import TakingScreen
from fedtui.tui.widgets.table import Table
from fedtui.tui.wording import count


class ShelvingScreen(BasesScreen):
    """The half of the library that shows adapters. ``known`` is what was found in their files,
    ``hashes`` are those of whole files, both by path."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Table[Adapter] = Table(COLUMNS, lambda a: a.path, empty=EMPTY, id="adapters")
        self.known: dict[str, dict[str, Any]] = {}
        self.hashes: dict[str, str] = {}
        self.marked: frozenset[str] = frozenset()
        self._awaited = ""

    def learn_of_shelf(self, message: Answered) -> None:
        """What has changed."""
        result = message.result
        match message.operation:
            case "export_adapter":
                copy(self, "the path of the export", str(result["path"]))
                self.ask("list_adapters")
            case "import_adapter":
                self._arrived(result, told_of_import(result))
            case "merge_adapters":
                self.marked = frozenset()
                self._arrived(result, told_of_merge(result))
            case "delete_adapter":
                self.notify(f"{plain(str(result['name']))} is deleted.", markup=False)
                self.ask("list_adapters")

    def _arrived(self, result: dict[str, Any], told: str) -> None:
        self._awaited = str(result["path"])
        self.known.pop(self._awaited, None)
        self.hashes.pop(self._awaited, None)
        self.notify(told, title=f"{plain(str(result['name']))} is on the shelf", markup=False)
        self.ask("list_adapters")

    def fill(self, adapters: tuple[Adapter, ...]) -> None:
        self.marked &= {adapter.path for adapter in adapters}
        marked = (replace(a, marked=a.path in self.marked) for a in adapters)
        self.table.fill(tuple(marked), EMPTY)
        if self._awaited:
            self.table.choose(self._awaited)
            self._awaited = ""

    def action_take(self) -> None:
        """Takes a file from elsewhere onto the shelf; among base models, downloads one."""
        if self.of_bases:
            self.action_fetch()
            return

        def take(path: str | None) -> None:
            if path and self.ask("import_adapter", MERGE_S, path=path):
                self.notify(plain(path), title="Reading the adapter…", markup=False)

        self.app.push_screen(TakingScreen(), take)

    def action_mark(self) -> None:
        """Marks the adapter to be merged, or not."""
        chosen = self.table.selected
        if chosen is None:
            return
        if chosen.path not in self.marked and len(self.marked) >= MERGED_ADAPTERS:
            self.notify(f"At most {MERGED_ADAPTERS} are merged.", severity="warning", markup=False)
            return
        self.marked ^= {chosen.path}
        self.fill(tuple(self.table.rows))
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
