"""One picture as large as the terminal allows; rounds follow each other in the same place."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.timer import Timer

from fedtui.recipes import Recipe, recipes
from fedtui.tui.feed import Feed
from fedtui.tui.keymap import BACK_KEYS, LARGE_KEYS
from fedtui.tui.limits import SLIDE_S
from fedtui.tui.lines import Ink, Line, Span, centred, cut, plain, spread
from fedtui.tui.outside import show_outside
from fedtui.tui.screens.live import copy
from fedtui.tui.widgets.drawn import Drawn
from fedtui.tui.widgets.keybar import KeyBar
from fedtui.tui.widgets.picture import Picture
from fedtui.tui.widgets.pixelpicture import PixelPicture, large_picture
from fedtui.view import PreviewView

Start = Literal["", "play", "compare"]
"""What goes on from the beginning."""


class Heading(Drawn):
    """The prompt at the left, what the picture is at the right."""

    DEFAULT_CSS = "Heading { height: 1; padding: 0 2; }"
    _words: tuple[Line, Line] = ((), ())

    def show(self, start: Line, end: Line) -> None:
        """Shows the two ends."""
        self._words = (start, end)
        self.redraw()

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """One line; the prompt gives way."""
        start, end = self._words
        if not start:
            return []
        prompt, ink = start[0]
        room = width - sum(len(text) for text, _ in (*start[1:], *end)) - 2
        return [spread(((cut(prompt, max(8, room)), ink), *start[1:]), end, width)]


class Rounds(Drawn):
    """The rounds there are pictures of, the one on show marked."""

    DEFAULT_CSS = "Rounds { height: 1; padding: 0 2; }"
    _rounds: tuple[tuple[int, ...], int] = ((), 0)

    def show(self, rounds: tuple[int, ...], current: int) -> None:
        """Marks ``current`` among ``rounds``."""
        self._rounds = (rounds, current)
        self.redraw()

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """As many neighbours of the current round as fit, in the middle."""
        rounds, current = self._rounds
        if current not in rounds:
            return []
        at, reach = rounds.index(current), max(1, (width - 8) // 14)
        near = rounds[max(0, at - reach) : at + reach + 1]
        spans: list[Span] = []
        for number in near:
            ink: Ink = "accent" if number == current else "muted"
            spans.append((f"[r{number}]" if number == current else f" r{number} ", ink))
            spans.append(("  ", "text"))
        return [centred(tuple(spans[:-1]), width)]


class LargeScreen(Screen[int]):
    """Dismissed with the prompt that was on show last."""

    BINDINGS: ClassVar[list[BindingType]] = [*BACK_KEYS, *LARGE_KEYS]

    def __init__(
        self, feed: Feed, prompt: int, number: int, *, against: int = 0, start: Start = ""
    ) -> None:
        super().__init__()
        self._against = against
        self._start: Start = start
        self._timer: Timer | None = None
        self._feed = feed
        self._prompt = prompt
        self._round = number
        self._before: int | None = None
        self._picture = Picture()
        self._heading = Heading()
        self._rounds = Rounds()

    def compose(self) -> ComposeResult:
        """Heading, picture, rounds, keys."""
        self._picture = large_picture(self.app)
        yield self._heading
        yield self._picture
        yield self._rounds
        yield KeyBar()

    @property
    def feed(self) -> Feed:
        """What the node said last."""
        return self._feed

    @feed.setter
    def feed(self, feed: Feed) -> None:
        self._feed = feed
        self._show()

    @property
    def recipe(self) -> Recipe | None:
        """The prompt on show."""
        every = recipes(self._feed.view) if self._feed.view else ()
        return every[self._prompt % len(every)] if every else None

    @property
    def preview(self) -> PreviewView | None:
        """The picture on show: the chosen round, or the last one before it."""
        if self.recipe is None:
            return None
        earlier = [p for p in self.recipe.pictures if p.round <= self._round]
        return earlier[-1] if earlier else self.recipe.pictures[0]

    def on_mount(self) -> None:
        """Shows the first picture."""
        self._show()
        if self._start == "play":
            self.action_play()
        elif self._start == "compare":
            self.action_compare()

    def on_screen_suspend(self) -> None:
        """What comes over it must not be covered by pixels."""
        if isinstance(self._picture, PixelPicture):
            self._picture.withdraw()

    def on_screen_resume(self) -> None:
        """The pixels come back."""
        self._picture.refresh()

    def _show(self) -> None:
        recipe, preview = self.recipe, self.preview
        if recipe is None or preview is None:
            return
        self._picture.show(preview.path)
        prompts = len(recipes(self._feed.view)) if self._feed.view else 0
        at = f"   prompt {self._prompt % prompts + 1}/{prompts}" if prompts > 1 else ""
        playing = "▶ playing  " if self._timer else ""
        self._heading.show(
            ((recipe.prompt, "strong"), (f"   seed {recipe.seed}{at}", "muted")),
            ((playing, "muted"), (preview.moment, "accent" if preview.round else "text")),
        )
        self._rounds.show(tuple(p.round for p in recipe.pictures), preview.round)

    def action_back(self) -> None:
        """Returns, and lets the dashboard show the same prompt."""
        self.dismiss(self._prompt)

    def action_round(self, step: int) -> None:
        """The same prompt and seed, another round, in the same place."""
        if self.recipe is None or self.preview is None:
            return
        rounds = [p.round for p in self.recipe.pictures]
        at = rounds.index(self.preview.round) + step
        self._before = None
        self._round = rounds[max(0, min(len(rounds) - 1, at))]
        self._show()

    def action_prompt(self, step: int) -> None:
        """Another prompt, the same round."""
        every = len(recipes(self._feed.view)) if self._feed.view else 0
        if every:
            self._prompt = (self._prompt + step) % every
            self._show()

    def action_compare(self) -> None:
        """Swaps between the round to compare with and the one on show."""
        if self.recipe is None or self.preview is None:
            return
        first = self._against
        if self._before is None:
            self._before, self._round = self.preview.round, first
        else:
            self._round, self._before = self._before, None
        self._show()

    def action_play(self) -> None:
        """Starts or stops going through the rounds, then through the prompts."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        else:
            self._timer = self.set_interval(SLIDE_S, self._advance)
        self._show()

    def _advance(self) -> None:
        recipe, preview = self.recipe, self.preview
        if recipe is None or preview is None:
            return
        if preview is not recipe.pictures[-1]:
            self.action_round(1)
            return
        self._round = 0
        self.action_prompt(1)

    async def action_outside(self) -> None:
        """Opens the picture in a viewer, or says where it is."""
        if self.preview and not await show_outside(self.preview.path):
            self.notify(plain(self.preview.path), title="No viewer here; it is at", markup=False)

    def action_copy(self) -> None:
        """Copies the picture's path and shows it."""
        if self.preview:
            copy(self, "the path of the picture", self.preview.path)
