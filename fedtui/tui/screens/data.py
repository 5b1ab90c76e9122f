"""The pictures this machine trains on: choose a folder, word captions, leave some out, agree."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from fedtui.picture_sides import smaller
from fedtui.tui.folder import COLUMNS, EMPTY, KEPT_OUT, Entry, entries, report_lines
from fedtui.tui.keymap import DATA_KEYS
from fedtui.tui.limits import CAPTIONS_UNDONE, GRID_PICTURES
from fedtui.tui.lines import plain
from fedtui.tui.messages import Answered, PictureOpened, Refused
from fedtui.tui.outside import show_outside
from fedtui.tui.screens.confirm import ConfirmScreen
from fedtui.tui.screens.consent import ConsentScreen
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.side_histogram import histogram, title
from fedtui.tui.widgets.field import Field
from fedtui.tui.widgets.picture import Picture
from fedtui.tui.widgets.picturegrid import Grid
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.split import Split
from fedtui.tui.widgets.table import Table
from fedtui.tui.wording import absent, count
from fedtui.view import PreviewView
from trainer.protocol import MAX_CAPTION_LENGTH

CHECK_S = 120.0
"""A folder of thousands of pictures on a slow disk."""
NAMES_SHOWN = 5
"""Captions out of names that a question shows."""


@dataclass(frozen=True)
class Written:
    """A caption that was written, and what stood there before; None if there was no file."""

    folder: str
    file: str
    before: str | None


@dataclass(frozen=True)
class Writing:
    """A caption that the node has been asked to write and has not answered about."""

    folder: str
    file: str
    undoes: bool = False


class DataScreen(ListScreen):
    """A folder, its files, and one of them to be seen."""

    PLACE = "data"
    BINDINGS: ClassVar[list[BindingType]] = DATA_KEYS
    AUTO_FOCUS: ClassVar[str] = "Table"

    def __init__(self) -> None:
        super().__init__()
        self.path = Field(placeholder="a folder of pictures with captions", compact=True)
        self.table: Table[Entry] = Table(COLUMNS, lambda e: e.file, empty=EMPTY, id="files")
        self.caption = Field(
            placeholder="what is to be seen",
            compact=True,
            max_length=MAX_CAPTION_LENGTH,
            select_on_focus=False,
            id="caption",
        )
        self.picture = Picture()
        self.wall = Grid()
        self.sheet = Sheet(id="report")
        self.sizes = Sheet(id="sizes")
        self._report: dict[str, Any] | None = None
        self._asked = ""
        self._worded = ("", "")
        self._writing: Writing | None = None
        self._walled: tuple[Sequence[PreviewView], int, dict[int, str]] = ((), 0, {})
        self._excluding = False
        self._naming = False
        self._written: deque[Written] = deque(maxlen=CAPTIONS_UNDONE)

    def body(self) -> ComposeResult:
        """Path above, files and the chosen one below; in a large window all pictures beside, and
        how large they are."""
        for panel in (self.table, self.sheet, self.sizes):
            panel.add_class("panel")
        with Horizontal(id="folder"):
            yield Static(Content("Folder "), id="folder-name")
            yield self.path
        with Split():
            yield self.table
            with Vertical(id="one"):
                yield self.picture
                yield self.sizes
                yield self.sheet
            yield self.wall
        yield self.caption

    def watch_feed(self) -> None:
        """Looks at the node's own folder as soon as it is known."""
        view = self.view
        if view and view.dataset and not self._asked:
            self.path.value = plain(view.dataset)
            self._check(view.dataset)
        self.show_chosen()

    def _check(self, folder: str) -> None:
        self._asked = folder
        self.table.fill((), f"Looking at {plain(folder)}…")
        self.ask("check_folder", CHECK_S, folder=folder)

    def on_answered(self, message: Answered) -> None:
        """Shows what is in the folder, or that it is in use."""
        if message.operation == "check_folder":
            self._report = message.result
            self.table.fill(entries(message.result), "There is no picture in this folder.")
            self.show_chosen()
        elif message.operation == "write_caption":
            if self._writing:
                self._told_of_caption(self._writing, message.result["before"])
                self._writing = None
        elif message.operation == "name_captions":
            self._told_of_names(message.result)
        elif message.operation == "exclude_picture":
            self._excluding = False
            self._told_of_exclusion(message.result)
        elif message.operation == "choose_folder":
            folder = plain(str(message.result["folder"]))
            self.notify(f"Training on {folder} from now on.", markup=False)
            if self._report:
                self.ask("check_folder", CHECK_S, folder=str(self._report["folder"]))

    def on_refused(self, message: Refused) -> None:
        """A folder that cannot be read leaves the list empty; the base class says why."""
        if message.operation == "write_caption":
            self._writing = None
        elif message.operation == "exclude_picture":
            self._excluding = False
        elif message.operation == "name_captions" and self._naming and self._report:
            self._naming = False  # Some may have been written.
            self.ask("check_folder", CHECK_S, folder=str(self._report["folder"]))
        if self._report is None:
            self.table.fill((), absent(self.feed) or EMPTY)

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Looks at another folder, or keeps a caption."""
        message.stop()
        if message.input is self.caption:
            self._write(Writing(*self._worded), message.value.strip())
            self._close_caption()
        elif message.value.strip():
            self._report = None
            self._check(message.value.strip())
            self.table.focus()

    def show_chosen(self) -> None:
        """Tells of the one under the cursor."""
        report, chosen = self._report, self.table.selected
        self.table.entitle((("Files", "muted"), (f" {len(self.table.rows)}", "text")))
        if report and chosen:
            self.picture.show(str(Path(report["folder"]) / chosen.file))
        self.sheet.entitle((("What will be trained", "muted"),))
        used = self._in_use
        self.sheet.show(lambda width: report_lines(report, chosen, used, width))
        self.sizes.entitle(title(report))
        told = smaller(report) if report else ""
        value = ("how large the pictures are", told) if told else None
        self.sizes.show(lambda width: histogram(report, width), value)
        self._show_wall()

    @property
    def _in_use(self) -> bool:
        """Whether this machine trains on the folder on show."""
        view, report = self.view, self._report
        return bool(view and report and view.dataset == report["folder"])

    def _show_wall(self) -> None:
        """As many pictures as fit, those around the chosen one; laid out anew only when they or the
        choice have changed, for this is asked for whenever anything in the room has."""
        pictures = [entry for entry in self.table.rows if entry.caption is not None]
        root = Path(self._report["folder"]) if self._report else Path()
        at = pictures.index(chosen) if (chosen := self.table.selected) in pictures else 0
        first = at - at % GRID_PICTURES
        page = list(enumerate(pictures))[first : first + GRID_PICTURES]
        names = {n: f"{KEPT_OUT} {e.file}" if e.left_out else e.file for n, e in page}
        shown = [PreviewView(n, "", 0, str(root / e.file)) for n, e in page]
        if (shown, at, names) != self._walled:
            self._walled = shown, at, names
            self.wall.show(shown, at, None, names)

    def on_picture_opened(self, message: PictureOpened) -> None:
        """A click on the wall chooses the picture."""
        message.stop()
        pictures = [entry.file for entry in self.table.rows if entry.caption is not None]
        if message.round < len(pictures):
            self.table.choose(pictures[message.round])
            self.table.focus()

    def action_choose(self) -> None:
        """Goes to the path."""
        self.path.focus()

    def action_caption(self) -> None:
        """Opens the line for the caption of the picture under the cursor."""
        if self._writing:
            return
        report, chosen = self._report, self.table.selected
        if report is None or chosen is None or chosen.caption is None:
            self.notify("There is no picture here to describe.", severity="warning", markup=False)
            return
        self._worded = str(report["folder"]), chosen.file
        self.caption.value = plain(chosen.caption, MAX_CAPTION_LENGTH)
        self.caption.cursor_position = len(self.caption.value)
        self.caption.border_title = Content(f"Caption of {plain(chosen.file)}")
        self.caption.border_subtitle = Content("enter keeps it, esc does not")
        self.caption.add_class("-shown")
        self.caption.focus()

    def action_name(self) -> None:
        """Asks what the pictures without a caption would be called by their file names."""
        if self._report is None:
            self.notify("Choose a folder first: o", severity="warning", markup=False)
            return
        self._naming = False
        self.ask("name_captions", CHECK_S, folder=str(self._report["folder"]), write=False)

    def _told_of_names(self, result: dict[str, Any]) -> None:
        """Shows what would be written and writes it if one agrees, or says that it is written."""
        captions, report = result["captions"], self._report
        if report is None:
            return
        if self._naming:
            self._naming = False
            done = count(len(captions), "caption")
            self.notify(f"{done} written from file names. c changes one.", markup=False)
            self.ask("check_folder", CHECK_S, folder=str(report["folder"]))
        elif not captions:
            without = int(result["missing"])
            told = "The names of these files say nothing." if without else "Every picture has one."
            self.notify(told, title="No caption to write", markup=False)
        else:
            self.app.push_screen(naming_question(captions), self._write_names)

    def _write_names(self, agreed: bool | None) -> None:
        if agreed and self._report:
            folder = str(self._report["folder"])
            self._naming = self.ask("name_captions", CHECK_S, folder=folder, write=True)

    def action_exclude(self) -> None:
        """Leaves the picture under the cursor out of training, or lets it in again."""
        report, chosen = self._report, self.table.selected
        if self._excluding:
            return
        if report is None or chosen is None or chosen.caption is None:
            self.notify("There is no picture here to leave out.", severity="warning", markup=False)
        elif chosen.same_as:
            told = f"It shows the same as {plain(chosen.same_as)}: x there lets both in."
            self.notify(told, severity="warning", markup=False)
        else:
            self._excluding = self.ask(
                "exclude_picture",
                folder=str(report["folder"]),
                file=chosen.file,
                excluded=not chosen.left_out,
            )

    def _told_of_exclusion(self, result: dict[str, Any]) -> None:
        file, out = plain(str(result["file"])), bool(result["excluded"])
        told = "The file stays. x lets it in again." if out else "It will be trained on."
        view = self.view
        if view and self._in_use:
            told += " The training begins anew." if view.trainer.state == "training" else ""
            told += " What was sent before stays sent." if out and view.commits else ""
        title = f"{file} is left out" if out else f"{file} is in again"
        self.notify(told, title=title, markup=False)
        if self._report:
            self.ask("check_folder", CHECK_S, folder=str(self._report["folder"]))

    def action_undo(self) -> None:
        """Puts back what stood there before the last caption."""
        if self._writing:
            return
        if not self._written:
            self.notify("No caption was written here yet.", severity="warning", markup=False)
            return
        last = self._written[-1]
        self._write(Writing(last.folder, last.file, undoes=True), last.before)

    def _close_caption(self) -> None:
        self.caption.remove_class("-shown")
        self.table.focus()

    def _write(self, writing: Writing, caption: str | None) -> None:
        """Asks for it; until the answer the keys for the next caption do nothing, since what it
        would take back is not known."""
        asked = self.ask("write_caption", folder=writing.folder, file=writing.file, caption=caption)
        self._writing = writing if asked else None

    def _told_of_caption(self, writing: Writing, before: str | None) -> None:
        if writing.undoes:
            self._written.pop()
            told = f"The caption of {plain(writing.file)} is as it was."
        else:
            self._written.append(Written(writing.folder, writing.file, before))
            told = f"Kept beside {plain(writing.file)}. u takes it back."
        self.notify(told, markup=False)
        if self._report and self._report["folder"] == writing.folder:
            self.ask("check_folder", CHECK_S, folder=writing.folder)

    def action_train(self) -> None:
        """Shows what leaves the machine, and trains on the folder if one agrees."""
        report = self._report
        if report is None:
            self.notify("Choose a folder first: o", severity="warning", markup=False)
        elif not report["usable"]:
            self.notify("There is no picture to train on.", severity="warning", markup=False)
        else:
            self.app.push_screen(ConsentScreen(report), self._agreed)

    def _agreed(self, agreed: bool | None) -> None:
        if agreed and self._report:
            self.ask("choose_folder", folder=str(self._report["folder"]), agreed=True)

    async def action_outside(self) -> None:
        """Opens the file in a viewer."""
        if self.picture.path and not await show_outside(self.picture.path):
            self.notify(plain(self.picture.path), title="No viewer here; it is at", markup=False)

    async def action_back(self) -> None:
        """First out of what is being typed, then to the dashboard."""
        if self.caption.has_focus:
            self._close_caption()
        elif self.path.has_focus:
            self.table.focus()
        else:
            await super().action_back()


def naming_question(captions: Sequence[dict[str, Any]]) -> ConfirmScreen:
    """Shows some of what would be written, because a camera's numbers make bad captions."""
    shown = [f"{plain(c['file'])}: {plain(c['caption'])}" for c in captions[:NAMES_SHOWN]]
    more = len(captions) - len(shown)
    rest = [f"and {more} more"] if more else []
    told = "A name that describes nothing, such as a camera's number, teaches nothing."
    question = f"Write {count(len(captions), 'caption')} from file names?"
    return ConfirmScreen(question, "\n".join([*shown, *rest, "", told]), "Write")
