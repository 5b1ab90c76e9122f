"""Base models in the library: which are here, and downloads with their progress."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fedtui.limits import DOWNLOAD_ASK_S
from fedtui.sizes import sized
from fedtui.tui.base_models import (
    BASES,
    RUNNING,
    STATES,
    Base,
    base_lines,
    unlisted,
)
from fedtui.tui.limits import DOWNLOAD_POLL_S
from fedtui.tui.lines import plain
from fedtui.tui.messages import Answered
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.fetching import FetchingScreen
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.table import Table

LOOKING = "Looking for base models…"


class BasesScreen(ListScreen):
    """The half of the library that shows base models. Subclasses say when it is on show."""

    def __init__(self) -> None:
        super().__init__()
        self.bases: Table[Base] = Table(BASES, lambda b: b.key, empty=LOOKING, id="bases")
        self.sheet = Sheet(id="adapter")
        self._store = ""
        self._models: tuple[Base, ...] = ()
        self._downloads: dict[str, dict[str, Any]] = {}

    def on_mount(self) -> None:
        """Looks at a download while it goes on."""
        self.set_interval(DOWNLOAD_POLL_S, self._poll)

    @property
    def of_bases(self) -> bool:
        """Whether base models are on show."""
        return self.bases.display

    @property
    def fetching(self) -> bool:
        """Whether a download goes on."""
        return any(each["state"] in RUNNING for each in self._downloads.values())

    def ask_for_bases(self) -> None:
        """Which models there are, and what is being downloaded."""
        self.ask("list_models")
        self.ask("list_downloads")

    def _poll(self) -> None:
        if self.is_current and self.of_bases and self.fetching:
            self.ask("list_downloads")

    def learn_of_bases(self, message: Answered) -> None:
        """What the node says of models and downloads."""
        result = message.result
        match message.operation:
            case "list_models":
                self._store = str(result["store"])
                self._models = tuple(Base(**entry) for entry in result["models"])
                self._fill_bases()
            case "list_downloads":
                self._take(result["downloads"])
            case "measure_download":
                self._question(result)
            case "download_model":
                self.ask("list_downloads")
            case "stop_download":
                self.ask("list_downloads")

    def _take(self, told: list[dict[str, Any]]) -> None:
        before, self._downloads = self._downloads, {each["model"]: each for each in told}
        ended = [
            each
            for each in told
            if each["state"] not in RUNNING
            and before.get(each["model"], each)["state"] != each["state"]
        ]
        for each in ended:
            words = [plain(str(each[part])) for part in ("title", "cause", "remedy") if each[part]]
            failed = each["state"] == "failed"
            self.notify(
                "\n".join(words) if failed else STATES.get(each["state"], ""),
                title=plain(str(each["model"])),
                severity="error" if failed else "information",
                markup=False,
            )
        if ended:
            self.ask("list_models")
        self._fill_bases()
        self.refresh_bindings()

    def _fill_bases(self) -> None:
        rows = [replace(b, download=self._downloads.get(b.source)) for b in self._models]
        known = {base.source for base in rows}
        rows += [
            unlisted(model, each)
            for model, each in self._downloads.items()
            if model not in known and each["state"] != "done"
        ]
        self.bases.fill(tuple(rows), LOOKING)

    def show_base(self) -> None:
        """Tells of the model under the cursor."""
        chosen, store = self.bases.selected, self._store
        self.bases.entitle((("Base models", "muted"), (f" {len(self.bases.rows)}", "text")))
        self.sheet.entitle(((plain(chosen.source) if chosen else "Base model", "strong"),))
        self.sheet.show(
            lambda width: base_lines(chosen, store, width),
            ("the folder of the model", chosen.folder) if chosen and chosen.folder else None,
        )

    def action_fetch(self) -> None:
        """Asks which model, and offers the one under the cursor if it is not whole."""
        chosen = self.bases.selected

        def wanted(model: str | None) -> None:
            if model and self.ask("measure_download", DOWNLOAD_ASK_S, model=model):
                self.notify(plain(model), title="Asking the hub how large it is…", markup=False)

        self.app.push_screen(
            FetchingScreen(plain(chosen.source) if chosen and chosen.incomplete else ""), wanted
        )

    def _question(self, size: dict[str, Any]) -> None:
        model, total, present = str(size["model"]), int(size["total"]), int(size["present"])
        if size["ready"]:
            self.notify(f"{plain(model)} is on this machine already.", markup=False)
            return

        def fetch(agreed: bool | None) -> None:
            if agreed:
                self.ask("download_model", model=model)

        here = f"{sized(total)}, {sized(present)} of it is here already: " if present else ""
        told = (
            f"{here}{sized(total - present)} to download. The disk has "
            f"{sized(int(size['free']))} free.\n\nTraining and rounds go on meanwhile; s stops it, "
            "and what has come is kept."
        )
        self.app.push_screen(ConfirmScreen(f"Download {model}?", told, "Download"), fetch)

    def action_stop_download(self) -> None:
        """Stops what is being downloaded."""
        self.ask("stop_download")
