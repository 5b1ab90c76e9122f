"""One prompt and one seed in two rounds: before and after, or one adapter beside another."""

from __future__ import annotations

from fedtui.recipes import Recipe
from fedtui.tui.feed import Feed
from fedtui.tui.keymap import PAIR_KEYS
from fedtui.tui.lines import Line
from fedtui.tui.messages import PictureOpened
from fedtui.tui.widgets.drawn import notice
from fedtui.tui.widgets.picturerow import Hint, PictureRow
from fedtui.view import PreviewView

NONE = "This machine has no picture of it. u draws with it in the studio."
FIRST = -1
"""In place of a round: the base model's picture, or the first one there is."""


class Reason(Hint):
    """Why there is no pair."""

    words = NONE

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """In the middle."""
        return notice(self.words, width, height)


class PicturePair(PictureRow):
    """Shows the prompts that both rounds were drawn with; of one round alone, where the other is
    the same or is not known, its picture."""

    BINDINGS = PAIR_KEYS

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._hint = self._reason = Reason()
        self._rounds: tuple[int, int] | None = None

    def compare(self, rounds: tuple[int, int] | None, why_not: str = NONE) -> None:
        """Shows these rounds; None, or rounds without pictures, show ``why_not``."""
        if (rounds, why_not) != (self._rounds, self._reason.words):
            self._rounds, self._reason.words = rounds, why_not
            self._reason.redraw()
            self.lay_out()

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The prompts there are pictures of both with."""
        if self._rounds is None:
            return ()
        found = ((recipe, pair_of(recipe, *self._rounds)) for recipe in super().recipes)
        return tuple(Recipe(each.prompt, each.seed, pair) for each, pair in found if pair)

    def action_enlarge(self) -> None:
        """Shows the later one large."""
        if self.recipe:
            self.post_message(PictureOpened(self.recipe.pictures[-1].round))


def pair_of(recipe: Recipe, one: int, other: int) -> tuple[PreviewView, ...]:
    """Its pictures of two rounds; nothing where one of them is missing."""
    by_round = {picture.round: picture for picture in recipe.pictures}
    if one == FIRST:
        one = recipe.pictures[0].round
    if one not in by_round or other not in by_round:
        return ()
    return (by_round[one], by_round[other]) if one != other else (by_round[one],)
