"""One row that appears only when somebody should know something now."""

from __future__ import annotations

from fedtui.tui.feed import Feed
from fedtui.tui.lines import Ink, Line, crop, keyed, plain, spread, width_of
from fedtui.tui.places import PLACES
from fedtui.tui.widgets.drawn import Drawn
from fedtui.tui.wording import clock, count

DASHBOARD = PLACES[0]
PACKS = "packs adapter and pictures to take home"
DONE_HERE = (
    f"`e` {PACKS}, `6` draws with it, `y` copies the adapter's path",
    f"`e` {PACKS}, `6` draws with it",
    f"`e` {PACKS}",
    "`e` takes it home",
)
DONE_ELSEWHERE = (
    f"`1`, then `e`, {PACKS}; `6` draws with it",
    f"`1`, then `e`, {PACKS}",
    "`1`, `e` takes it home",
)
"""What can be done when all rounds are, as much of it as there is room for; keys in backquotes."""


class Banner(Drawn):
    """Hidden while all is well."""

    DEFAULT_CSS = """
    Banner { height: 1; padding: 0 2; display: none; background: $surface; }
    Banner.-shown { display: block; }
    """

    def watch_feed(self) -> None:
        """Appears and vanishes with the thing it tells."""
        self.set_class(bool(banner(self.feed, 400)), "-shown")
        super().watch_feed()

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """One line."""
        here = getattr(self.screen, "PLACE", "") == DASHBOARD.id
        return [banner(feed, width, here=here)]


def banner(feed: Feed, width: int, *, here: bool = True) -> Line:
    """The most urgent thing to say, or nothing; ``here``: the dashboard's keys work."""
    view = feed.view
    if feed.lost:
        again, age = "`q`, then `fedtui`, starts it again", clock(feed.lost_s)
        since = f"What is shown is {age} old" if view else f"Tried for {age}"
        asides = (f"{since}. {again}.", f"{again}.", "`fedtui` starts it")
        return told("error", "✗", f"The node is gone: {plain(feed.lost)}", width, *asides)
    if view is None:
        return ()
    if view.trainer.state == "failed":
        return told("error", "✗", f"The trainer stopped: {plain(view.trainer.detail)}", width)
    if view.round.phase == "FAILED":
        return told("error", "✗", f"The round failed: {plain(view.round.note)}", width)
    if view.round.phase == "PAUSED":
        told_so = "Paused: the round goes on by itself when a quorum is back."
        return told("warning", "!", told_so, width, "Nothing is lost.")
    if view.round.held:
        waits = f"Round {view.round.number} begins when somebody with that right starts it."
        return told("warning", "!", waits, width, "`s` starts it")
    if view.notice:
        return told("warning", "!", plain(view.notice), width)
    if view.round.phase == "DONE":
        done = f"Done after {count(view.round.rounds, 'round')}."
        # Elsewhere e and y are for something else.
        return told("ok", "✓", done, width, *(DONE_HERE if here else DONE_ELSEWHERE))
    if view.requests:
        who = plain(view.requests[0].name)
        more = f" and {len(view.requests) - 1} more" if len(view.requests) > 1 else ""
        return told("warning", "!", f"{who}{more} asks to be let in.", width, "`8` answers")
    unsigned = [change for change in view.changes if not change.mine]
    if unsigned and view.role == "admin":
        asked = f"{plain(unsigned[0].author)} asks the admins to {plain(unsigned[0].text)}."
        return told("warning", "!", asked, width, "`8` answers")
    if view.room_id and not view.dataset and view.role in ("participant", "admin"):
        return told(
            "warning", "!", "This machine trains on no pictures yet.", width, "`5` chooses a folder"
        )
    return ()


def told(ink: Ink, glyph: str, text: str, width: int, *asides: str) -> Line:
    """A glyph, what happened, and at the right the first of ``asides`` that fits."""
    start: Line = ((f"{glyph} ", ink), (text, ink))
    for aside in asides:
        end = keyed(aside)
        if width_of(start) + width_of(end) + 2 <= width:
            return spread(start, end, width)
    return crop(start, width)
