"""The pictures this machine trains on: choose a folder, word its captions, agree, train."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from fedtui.tui.facts import fact, heading
from fedtui.tui.keymap import DATA_KEYS, key
from fedtui.tui.limits import CAPTIONS_UNDONE
from fedtui.tui.lines import Ink, Line, cut_path, plain, wrapped
from fedtui.tui.messages import Answered, Refused
from fedtui.tui.outside import show_outside
from fedtui.tui.screens.listing import ListScreen
from fedtui.tui.widgets.field import Field
from fedtui.tui.widgets.picture import Picture
from fedtui.tui.widgets.sheet import Sheet
from fedtui.tui.widgets.split import Split
from fedtui.tui.widgets.table import Column, Table, one
from fedtui.tui.wording import absent, count
from trainer.protocol import MAX_CAPTION_LENGTH

EMPTY = (
    "Choose a folder with 5 to 50 pictures: press o and type its path. "
    "They never leave this machine; only what was learned from them does."
)
CHECK_S = 120.0
"""A folder of thousands of pictures on a slow disk."""
LEAVES = (
    "the adapter: what the model learned, at most some megabytes a round",
    "how many pictures there are, and the training loss",
    "your name, the kind of device, and when you are online",
)
STAYS = ("the pictures, their captions and file names", "everything computed from single pictures")
HONEST = (
    "An adapter can give away what it was trained on: whoever is in the room may try to draw "
    "your pictures with it. Do not train on pictures that must stay secret. How much an adapter "
    "tells: fedtui evaluate --leak."
)


@dataclass(frozen=True)
class Entry:
    """A row: a picture that is used, or a file with something to say about."""

    file: str
    told: str
    size: str
    problem: bool = False
    caption: str | None = None
    """What training reads; None for a file that it does not use, or that is not listed."""


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


COLUMNS: tuple[Column[Entry], ...] = (
    Column("file", 0, 12, 28, lambda e, w: one(e.file, w, "warning" if e.problem else "text")),
    Column("caption or problem", 1, 18, 80, lambda e, w: one(e.told, w, "muted")),
    Column("size", 2, 9, 9, lambda e, w: one(e.size, w, "faint")),
)


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
        self.sheet = Sheet(id="report")
        self._report: dict[str, Any] | None = None
        self._asked = ""
        self._worded = ("", "")
        self._writing: Writing | None = None
        self._written: deque[Written] = deque(maxlen=CAPTIONS_UNDONE)

    def body(self) -> ComposeResult:
        """Path above, files and the chosen one below."""
        self.table.add_class("panel")
        self.sheet.add_class("panel")
        with Horizontal(id="folder"):
            yield Static(Content("Folder "), id="folder-name")
            yield self.path
        with Split():
            yield self.table
            with Vertical(id="one"):
                yield self.picture
                yield self.sheet
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
        elif message.operation == "choose_folder":
            folder = plain(str(message.result["folder"]))
            self.notify(f"Training on {folder} from now on.", markup=False)

    def on_refused(self, message: Refused) -> None:
        """A folder that cannot be read leaves the list empty; the base class says why."""
        if message.operation == "write_caption":
            self._writing = None
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
        view = self.view
        used = bool(view and report and view.dataset == report["folder"])
        self.sheet.show(lambda width: report_lines(report, chosen, used, width))

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


def entries(report: dict[str, Any]) -> tuple[Entry, ...]:
    """Files with problems first, then the pictures that are used."""
    pictures = {str(p["file"]): p for p in report.get("pictures", ())}
    troubled = [
        Entry(
            file := str(p["file"]),
            f"{p['problem']}. {p['remedy']}",
            "",
            True,
            str(pictures[file]["caption"]) if file in pictures else None,
        )
        for p in report.get("problems", ())
    ]
    named = {entry.file for entry in troubled}
    used = [
        Entry(
            file,
            str(p["caption"]) or "no caption",
            f"{p['width']}x{p['height']}",
            caption=str(p["caption"]),
        )
        for file, p in pictures.items()
        if file not in named
    ]
    return (*troubled, *used)


def report_lines(
    report: dict[str, Any] | None, chosen: Entry | None, used: bool, width: int
) -> list[Line]:
    """What the folder holds, what is wrong, and what the chosen file's caption is."""
    if report is None:
        return [*wrapped(EMPTY, width - 1, "muted")]
    usable, problems = int(report["usable"]), report.get("problems", ())
    ink: Ink = "ok" if usable >= 5 else "warning"
    state = "✓ in use" if used else "t trains on these pictures"
    lines: list[Line] = [
        ((f"{count(usable, 'picture')} will be trained", ink),),
        ((state, "ok" if used else "accent"),),
        fact("folder", ((cut_path(str(report["folder"]), max(8, width - 15)), "text"),)),
    ]
    if usable < 5:
        few = "Few pictures teach the model those pictures and no style."
        lines += wrapped(few, width - 1, "warning")
    if problems:
        lines += [(), heading(count(len(problems), "problem"))]
    if chosen:
        lines += [(), heading(plain(chosen.file)), *wrapped(chosen.told, width - 1)]
        if chosen.caption is not None:
            lines.append((("c", "accent"), (" writes its caption", "muted")))
    lines += [(), heading("Leaves this machine")]
    for text in LEAVES:
        rows = wrapped(text, max(8, width - 3), "muted")
        lines += [(("· " if i == 0 else "  ", "faint"), *row) for i, row in enumerate(rows)]
    return lines


class ConsentScreen(ModalScreen[bool]):
    """True when a person agrees to what leaves the machine."""

    AUTO_FOCUS = "#no"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,n", "no", "No", "Do not train", "consent.no"),
        key("left,h", "app.focus_previous", "Left", "The other button", "consent.left"),
        key("right,l", "app.focus_next", "Right", "The other button", "consent.right"),
    ]

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__()
        self._usable = int(report["usable"])

    def compose(self) -> ComposeResult:
        """What leaves, what stays, and two buttons."""
        parts = ["Leaves this machine, to the members of this room:"]
        parts += [f"  · {text}" for text in LEAVES]
        parts += ["", "Stays here:", *(f"  · {text}" for text in STAYS), "", HONEST]
        with Vertical(id="dialog"):
            yield Static(Content(f"Train on {count(self._usable, 'picture')}?"), id="question")
            yield Static(Content("\n".join(parts)), id="consequences")
            with Horizontal(id="answers"):
                yield Button("No", id="no")
                yield Button("I agree, train", id="yes", variant="primary")

    def action_no(self) -> None:
        """Changes nothing."""
        self.dismiss(False)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answers with the button."""
        self.dismiss(event.button.id == "yes")
