"""A round with and without one's own contribution, the same prompt and seed side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from fedtui.comparison import DONE, Comparison, Pair
from fedtui.limits import LEAVE_OUT_S
from fedtui.tui.feed import Feed
from fedtui.tui.keymap import WITHOUT_KEYS
from fedtui.tui.limits import STUDIO_POLL_S
from fedtui.tui.lines import Line, plain
from fedtui.tui.messages import Answered, Refused
from fedtui.tui.outside import show_outside
from fedtui.tui.screens.large import Heading
from fedtui.tui.screens.live import LiveScreen, Value, copy
from fedtui.tui.widgets.drawn import Drawn, notice
from fedtui.tui.widgets.picturegrid import Grid
from fedtui.tui.widgets.picturerow import Caption
from fedtui.view import PreviewView

COMBINING = "Combining the round again without your contribution…"
WITH, WITHOUT = "with yours", "without it"


class Message(Drawn):
    """What there is instead of pictures."""

    DEFAULT_CSS = "Message { height: 1fr; width: 1fr; }"
    _words = COMBINING

    def show(self, words: str) -> None:
        """Says something else."""
        self._words = words
        self.redraw()

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """The words in the middle."""
        return notice(self._words, width, height)


class WithoutScreen(LiveScreen):
    """``number`` is the round, 0 the last one that this node contributed to."""

    PLACE = "gallery"
    BINDINGS: ClassVar[list[BindingType]] = WITHOUT_KEYS
    AUTO_FOCUS: ClassVar[str] = ""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number
        self._heading = Heading()
        self._grid = Grid()
        self._message = Message()
        self._state = Caption()
        self._comparison: Comparison | None = None
        self._jobs: dict[int, dict[str, Any]] = {}
        self._prompt = 0

    def body(self) -> ComposeResult:
        """Prompt, the two pictures, and how far they are."""
        yield self._heading
        yield self._grid
        yield self._message
        yield self._state

    def on_mount(self) -> None:
        """Asks the node for the round without this node's contribution."""
        self._grid.display = False
        self.ask("leave_out", within_s=LEAVE_OUT_S, round=self._number)
        self.set_interval(STUDIO_POLL_S, self._poll)

    @property
    def _pictures(self) -> list[Pair]:
        """By prompt, as far as they are drawn."""
        paths = {number: job.get("paths", ()) for number, job in self._jobs.items()}
        return self._comparison.pairs(paths) if self._comparison else []

    def _poll(self) -> None:
        if self._unfinished() and self.is_current:
            self.ask("generations")

    def _unfinished(self) -> bool:
        wanted = self._comparison.jobs if self._comparison else ()
        return any(self._jobs.get(job, {}).get("state") not in DONE for job in wanted)

    def on_answered(self, message: Answered) -> None:
        """The round is combined, or a picture more is drawn."""
        if message.operation == "leave_out":
            self._comparison = Comparison(message.result)
            self.ask("generations")
        elif message.operation == "generations":
            self._jobs = {int(job["id"]): job for job in message.result["jobs"]}
        elif message.operation == "export_sheet":
            copy(self, "the path of the sheet", str(message.result["path"]))
        self._show()

    def on_refused(self, message: Refused) -> None:
        """What came to nothing stays on the screen while there is nothing else."""
        if message.operation == "leave_out":
            parts = (message.title, message.cause, message.remedy)
            self._message.show(". ".join(plain(part) for part in parts if part) + ".")
        else:
            super().on_refused(message)

    def _show(self) -> None:
        every = self._pictures
        if not every or self._comparison is None:
            return
        told = self._comparison.told
        at = self._prompt % len(every)
        recipe, pair = told["pictures"][at], every[at]
        seed = f"   seed {recipe['seed']}"
        if len(every) > 1:
            seed += f"   prompt {at + 1}/{len(every)}"
        self._heading.show(
            (
                (plain(str(recipe["prompt"])), "strong"),
                (seed, "muted"),
            ),
            ((f"round {told['round']}", "accent"),),
        )
        shown = [(0, pair.present, WITH), (1, pair.absent, WITHOUT)]
        pictures = [PreviewView(n, "", 0, path) for n, path, _ in shown if path]
        self._grid.display = bool(pictures)
        self._message.display = not pictures
        self._message.show("Nothing is drawn yet.")
        self._grid.show(pictures, -1, None, {n: name for n, _, name in shown})
        self._state.show(((self._progress(self._comparison), "muted"),))

    def _progress(self, comparison: Comparison) -> str:
        """What there is to know beside the pictures."""
        told, jobs = comparison.told, self._jobs.values()
        mine = [job for job in jobs if int(job["id"]) in comparison.jobs]
        failed = next((job for job in mine if job["state"] in ("failed", "cancelled")), None)
        if failed is not None:
            return f"Not drawn: {plain(str(failed['error'] or failed['state']))}"
        if self._unfinished():
            drawing = next((job for job in mine if job["state"] == "drawing"), None)
            if drawing is None:
                return "Waits for the trainer of this machine."
            return f"Drawing, step {drawing['step']} of {drawing['steps']}."
        if told["same"]:
            return "The round's rule had left your contribution out: both are the same adapter."
        if told["inputs"] == 1:
            return "Yours was the only contribution: without it nothing would have changed."
        return f"The round as committed, and combined again from the other {told['inputs'] - 1}."

    def action_prompt(self, step: int) -> None:
        """Shows another prompt."""
        if every := self._pictures:
            self._prompt = (self._prompt + step) % len(every)
            self._show()

    def action_sheet(self) -> None:
        """Saves all of them on one labelled sheet."""
        every = self._pictures
        if self._comparison is None or not every or not all(pair.whole for pair in every):
            self.notify("Not everything is drawn yet.", severity="warning", markup=False)
            return
        self.ask("export_sheet", **self._comparison.sheet(every))

    async def action_outside(self) -> None:
        """Opens the picture without one's contribution in a viewer."""
        path = self._path()
        if path and not await show_outside(path):
            self.notify(plain(path), title="No viewer here; it is at", markup=False)

    def copy_values(self) -> Iterator[Value | None]:
        """The path of the picture without one's contribution."""
        path = self._path()
        yield ("the path of the picture", path) if path else None

    def _path(self) -> str:
        every = self._pictures
        return every[self._prompt % len(every)].absent if every else ""
