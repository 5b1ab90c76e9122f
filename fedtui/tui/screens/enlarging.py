"""From a pair of pictures to one of them, large; ``c`` there swaps it with the other one."""

from __future__ import annotations

from fedtui.recipes import recipes
from fedtui.tui.screens.large import LargeScreen
from fedtui.tui.screens.live import LiveScreen
from fedtui.tui.widgets.picturepair import PicturePair


def enlarged(screen: LiveScreen, pair: PicturePair, number: int) -> None:
    """Shows the picture of a round that is on show in ``pair``."""
    recipe = pair.recipe
    if recipe is None or screen.view is None:
        return
    every = [(each.prompt, each.seed) for each in recipes(screen.view)]
    at = every.index((recipe.prompt, recipe.seed))
    others = [picture.round for picture in recipe.pictures if picture.round != number]
    screen.app.push_screen(LargeScreen(screen.feed, at, number, against=others[0] if others else 0))
