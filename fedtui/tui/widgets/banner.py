"""One row that appears only when somebody should know something now."""

from __future__ import annotations

from fedtui.tui.feed import Feed
from fedtui.tui.lines import Ink, Line, cut_middle, plain, spread
from fedtui.tui.widgets.drawn import Drawn
from fedtui.tui.wording import clock, count


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
        return [banner(feed, width)]


def banner(feed: Feed, width: int) -> Line:
    """The most urgent thing to say, or nothing."""
    view = feed.view
    if feed.lost:
        age = f"Trying again, {clock(feed.lost_s)} so far."
        said = "What you see is the last it said. " if view else ""
        reason = plain(feed.lost)
        return told("error", "✗", f"The node does not answer: {reason}", f"{said}{age}", width)
    if view is None:
        return ()
    if view.trainer.state == "failed":
        return told("error", "✗", f"The trainer stopped: {plain(view.trainer.detail)}", "", width)
    if view.round.phase == "FAILED":
        return told("error", "✗", f"The round failed: {plain(view.round.note)}", "", width)
    if view.round.phase == "PAUSED":
        told_so = "Paused: the round goes on by itself when a quorum is back."
        return told("warning", "!", told_so, "Nothing is lost.", width)
    if view.notice:
        return told("warning", "!", plain(view.notice), "", width)
    if view.round.phase == "DONE":
        done = f"Done: {count(view.round.rounds, 'round')} trained together."
        if view.adapter:
            done += f" Adapter {cut_middle(view.adapter, max(16, width - len(done) - 34))}"
        return told("ok", "✓", done, "y copy  q leave", width)
    return ()


def told(ink: Ink, glyph: str, text: str, aside: str, width: int) -> Line:
    """A glyph, what happened, and at the right what follows from it."""
    return spread(((f"{glyph} ", ink), (text, ink)), ((aside, "muted"),) if aside else (), width)
