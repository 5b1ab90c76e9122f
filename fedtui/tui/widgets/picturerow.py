"""The same prompt and seed before, in between and after: what the room is about."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.reactive import reactive

from fedtui.recipes import Recipe, recipes
from fedtui.tui.feed import Feed
from fedtui.tui.keymap import PICTURE_KEYS
from fedtui.tui.lines import Line, centred, cut_words, plain
from fedtui.tui.messages import PictureOpened
from fedtui.tui.widgets.drawn import Drawn, Titled, notice
from fedtui.tui.widgets.picture import Picture
from fedtui.tui.wording import absent, clock
from fedtui.view import NodeView, PreviewView

GAP = 2
"""Cells between pictures."""
MOST = 6
"""Pictures in one row at most."""
SMALLEST_ROWS = 8
"""More than two pictures only while each is at least this high."""
WORTH = 0.68
"""An extra picture may shrink the others to this share of what two would be,"""
ENOUGH_ROWS = 16
"""or to this height, at which a picture of 64 pixels loses nothing."""


def chosen(pictures: tuple[PreviewView, ...], room: int) -> tuple[PreviewView, ...]:
    """The first, the newest, and as many in between as there is room for, evenly spaced."""
    if len(pictures) <= room:
        return pictures
    if room <= 1:
        return pictures[-1:]
    last = len(pictures) - 1
    return tuple(pictures[round(i * last / (room - 1))] for i in range(room))


def arrangement(available: int, width: int, height: int) -> tuple[int, int]:
    """How many pictures to show and how many rows each gets, in ``width`` x ``height`` cells."""

    def rows(n: int) -> int:
        return min(height - 1, (width - GAP * (n - 1)) // n // 2)

    count = min(available, 2)
    for n in range(3, min(available, MOST) + 1):
        if rows(n) >= max(SMALLEST_ROWS, min(WORTH * rows(2), ENOUGH_ROWS)):
            count = n
    return count, max(1, rows(max(count, 2)))


def label_of(preview: PreviewView, newest: bool, width: int) -> Line:
    """Which round a picture is from."""
    number = preview.round
    names = (
        (f"after round {number}", f"round {number}") if number else ("before training", "before")
    )
    name = next((name for name in names if len(name) <= width), f"r{number}")
    return ((name, "accent" if newest else "text"),)


def start_words(seed: int, width: int) -> str:
    """That every picture of a row began alike, so that only the adapter makes the difference."""
    for told in (f"same starting noise each time (seed {seed})", f"same start (seed {seed})"):
        if len(told) <= width:
            return told
    return f"seed {seed}"


def waiting_words(view: NodeView) -> str:
    """What will appear here, and what it waits for."""
    trainer = view.trainer
    if trainer.state == "failed":
        return "No pictures: the trainer has stopped."
    if trainer.state == "loading":
        model = plain(view.model) or "the model"
        return f"Loading {model}, {clock(trainer.since_s)} so far. Base model pictures come next."
    if trainer.state == "generating":
        return "Drawing the base model's pictures."
    if not view.room_id:
        return "Pictures appear here, before and after every round, once there is a room."
    if view.commits:
        return (
            "No picture yet: drawing is off (previews in config.toml), or this machine has had no "
            "time for it."
        )
    return "Base model pictures appear here after the model has loaded, then one more every round."


class Frame(Vertical):
    """A picture and, below it, the round it is from."""

    DEFAULT_CSS = """
    Frame { width: auto; height: auto; }
    Frame > Label { height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.picture = Picture()
        self.caption = Caption()
        self.round = 0

    def compose(self) -> ComposeResult:
        """Picture above, caption below."""
        yield self.picture
        yield self.caption

    def show(
        self, preview: PreviewView, rows: int, newest: bool, label: Line | None = None
    ) -> None:
        """Shows ``preview`` in ``rows`` rows of cells."""
        self.round = preview.round
        for widget in (self.picture, self.caption):
            widget.styles.width = 2 * rows
        self.picture.styles.height = rows
        self.picture.show(preview.path)
        self.caption.show(label or label_of(preview, newest, 2 * rows))

    def on_click(self, event: events.Click) -> None:
        """A picture that is clicked becomes large."""
        event.stop()
        self.post_message(PictureOpened(self.round))


class Caption(Drawn):
    """One centred line."""

    DEFAULT_CSS = "Caption { height: 1; }"
    _words: Line = ()

    def show(self, words: Line) -> None:
        """Shows ``words``."""
        self._words = words
        self.redraw()

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """The words in the middle."""
        return [centred(self._words, width)]


class Hint(Drawn):
    """The empty state."""

    DEFAULT_CSS = "Hint { height: 1fr; width: 1fr; }"

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """What will appear here."""
        told = waiting_words(feed.view) if feed.view else absent(feed)
        return notice(told, width, height)


class PictureRow(Horizontal, Titled, can_focus=True):
    """As many rounds of one prompt as fit, the base model at the left, the newest at the right."""

    ALLOW_MAXIMIZE = True
    BINDINGS = PICTURE_KEYS
    DEFAULT_CSS = """
    PictureRow { align: center middle; overflow: hidden; }
    PictureRow > Frame { margin-right: 2; display: none; }
    PictureRow > Frame.-shown { display: block; }
    PictureRow > Frame.-last { margin-right: 0; }
    PictureRow > Hint { display: none; }
    PictureRow.-empty > Hint { display: block; }
    """

    feed: reactive[Feed] = reactive(Feed, repaint=False, init=False)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._frames = [Frame() for _ in range(MOST)]
        self._hint = Hint()
        self._index = 0

    def compose(self) -> ComposeResult:
        """All frames there can ever be; those without a picture are hidden."""
        yield from self._frames
        yield self._hint

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The prompts there are pictures of."""
        return recipes(self.feed.view) if self.feed.view else ()

    @property
    def recipe(self) -> Recipe | None:
        """The prompt on show."""
        every = self.recipes
        return every[self._index % len(every)] if every else None

    @property
    def index(self) -> int:
        """Which prompt is on show."""
        return self._index

    def choose(self, index: int) -> None:
        """Shows another prompt; beyond the last comes the first."""
        if self.recipes:
            self._index = index % len(self.recipes)
            self.lay_out()

    def action_prompt(self, step: int) -> None:
        """Shows the next or the previous prompt."""
        self.choose(self._index + step)

    def watch_feed(self) -> None:
        """Shows what is new."""
        self._hint.feed = self.feed
        self.lay_out()

    def on_resize(self) -> None:
        """Chooses how many pictures fit now."""
        self.lay_out()

    def lay_out(self) -> None:
        """Gives every picture its place."""
        width, height = self.size
        recipe = self.recipe
        self.set_class(recipe is None, "-empty")
        self.entitle(*self._titles_now(recipe, width))
        shown: tuple[PreviewView, ...] = ()
        rows = 1
        if recipe and width and height:
            count, rows = arrangement(len(recipe.pictures), width, height)
            shown = chosen(recipe.pictures, count)
        for i, frame in enumerate(self._frames):
            frame.set_class(i < len(shown), "-shown")
            frame.set_class(i == len(shown) - 1, "-last")
            if i < len(shown):
                newest = i == len(shown) - 1 and shown[i].round > 0
                frame.show(shown[i], rows, newest)

    def _titles_now(self, recipe: Recipe | None, width: int) -> tuple[Line, Line]:
        if recipe is None:
            return (("Pictures", "muted"),), ()
        every = len(self.recipes)
        name = f"Prompt {self._index % every + 1}/{every} " if every > 1 else "Prompt "
        prompt = cut_words(recipe.prompt, max(8, width - len(name)))
        return ((name, "muted"), (prompt, "text")), ((start_words(recipe.seed, width), "muted"),)

    def copy_value(self) -> tuple[str, str] | None:
        """The path of the newest picture."""
        return ("the path of the picture", self.recipe.pictures[-1].path) if self.recipe else None
