"""One prompt and one seed through all the rounds: what the room has learned, to be seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from fedtui.recipes import Recipe, recipes
from fedtui.tui.keymap import GALLERY_KEYS
from fedtui.tui.lines import plain
from fedtui.tui.messages import Answered, PictureOpened
from fedtui.tui.outside import show_outside
from fedtui.tui.screens.large import Heading, LargeScreen, Rounds
from fedtui.tui.screens.live import LiveScreen, Value, copy
from fedtui.tui.screens.page import PageScreen, Wish
from fedtui.tui.screens.without import WithoutScreen
from fedtui.tui.widgets.picturegrid import Grid
from fedtui.tui.widgets.picturerow import Hint
from fedtui.view import PreviewView


class GalleryScreen(LiveScreen):
    """A grid of pictures; below it the rounds there are."""

    PLACE = "gallery"
    BINDINGS: ClassVar[list[BindingType]] = GALLERY_KEYS
    AUTO_FOCUS: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self._heading = Heading()
        self._grid = Grid()
        self._rounds = Rounds()
        self._hint = Hint()
        self._prompt = 0
        self._round: int | None = None
        self._pinned = 0
        self._could = False

    def body(self) -> ComposeResult:
        """Prompt, pictures, rounds."""
        yield self._heading
        yield self._grid
        yield self._hint.data_bind(GalleryScreen.feed)
        yield self._rounds

    @property
    def recipe(self) -> Recipe | None:
        """The prompt on show."""
        every = recipes(self.view) if self.view else ()
        return every[self._prompt % len(every)] if every else None

    @property
    def preview(self) -> PreviewView | None:
        """The marked picture; the newest until somebody chose."""
        if self.recipe is None:
            return None
        pictures = self.recipe.pictures
        if self._round is None:
            return pictures[-1]
        return next((p for p in pictures if p.round == self._round), pictures[-1])

    def watch_feed(self) -> None:
        """New rounds appear by themselves."""
        self._show()

    def _show(self) -> None:
        recipe, preview = self.recipe, self.preview
        some = recipe is not None
        self._hint.display = not some
        for widget in (self._heading, self._grid, self._rounds):
            widget.display = some
        if some != self._could:
            self._could = some
            self.refresh_bindings()
        if recipe is None or preview is None or self.view is None:
            return
        every = recipes(self.view)
        at = f"   prompt {self._prompt % len(every) + 1}/{len(every)}" if len(every) > 1 else ""
        self._heading.show(
            ((recipe.prompt, "strong"), (f"   seed {recipe.seed}{at}", "muted")),
            ((preview.moment, "accent"),),
        )
        self._grid.show(recipe.pictures, preview.round, self._pinned or None)
        self._rounds.show(tuple(p.round for p in recipe.pictures), preview.round)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without pictures there is nothing to do."""
        own = ("round", "prompt", "enlarge", "pin", "compare", "play", "export", "outside")
        if action in own:
            return True if self.recipe else None
        return super().check_action(action, parameters)

    def action_round(self, step: int) -> None:
        """Marks the next or the previous round."""
        if self.recipe and self.preview:
            rounds = [p.round for p in self.recipe.pictures]
            at = rounds.index(self.preview.round) + step
            self._round = rounds[max(0, min(len(rounds) - 1, at))]
            self._show()

    def action_prompt(self, step: int) -> None:
        """Shows another prompt."""
        every = recipes(self.view) if self.view else ()
        if every:
            self._prompt = (self._prompt + step) % len(every)
            self._show()

    def action_pin(self) -> None:
        """The marked round becomes the one to compare with."""
        if self.preview:
            self._pinned = self.preview.round
            name = f"round {self._pinned}" if self._pinned else "the base model"
            self.notify(f"c compares with {name} from now on.", markup=False)
            self._show()

    def action_enlarge(self) -> None:
        """Shows the marked picture large."""
        self._open()

    def action_play(self) -> None:
        """Shows round after round, large."""
        self._round = 0
        self._open(play=True)

    def action_compare(self) -> None:
        """Opens the pinned picture large; c there swaps with the marked one in the same place."""
        self._open(compare=True)

    def on_picture_opened(self, message: PictureOpened) -> None:
        """A click marks a picture; a click on the marked one shows it large."""
        if self.preview and message.round == self.preview.round:
            self._open()
        else:
            self._round = message.round
            self._show()

    def _open(self, *, play: bool = False, compare: bool = False) -> None:
        if self.preview is None:
            return

        def returned(prompt: int | None) -> None:
            self._prompt = prompt or 0
            self._show()

        screen = LargeScreen(
            self.feed,
            self._prompt,
            self.preview.round,
            against=self._pinned,
            start="play" if play else "compare" if compare else "",
        )
        self.app.push_screen(screen, returned)

    def action_export(self) -> None:
        """Asks the node for one picture of all."""
        self.ask("export_grid")

    def action_without(self) -> None:
        """Shows what the marked round would have been without this node's contribution."""
        marked = self.preview.round if self._round is not None and self.preview else 0
        self.app.push_screen(WithoutScreen(marked))

    def action_page(self) -> None:
        """Shows the page for people without the program, or asks whether to open it."""
        self.ask("gallery_state")

    def _wished(self, wish: Wish | None) -> None:
        if wish == "close":
            self.ask("close_gallery")
        elif wish:
            self.ask("open_gallery", network=wish == "network")

    def on_answered(self, message: Answered) -> None:
        """Says where the grid lies, or how it stands with the page."""
        match message.operation:
            case "export_grid":
                copy(self, "the path of the grid", str(message.result["path"]))
            case "gallery_state" | "open_gallery":
                self.app.push_screen(PageScreen(message.result), self._wished)
            case "close_gallery":
                self.notify("Its link never works again.", title="The page is closed")

    async def action_outside(self) -> None:
        """Opens the marked picture in a viewer, or says where it is."""
        if self.preview and not await show_outside(self.preview.path):
            self.notify(plain(self.preview.path), title="No viewer here; it is at", markup=False)

    def copy_values(self) -> Iterator[Value | None]:
        """The path of the marked picture."""
        yield ("the path of the picture", self.preview.path) if self.preview else None
