"""The first row: which room, which round, what is happening, and who I am."""

from __future__ import annotations

from typing import NamedTuple

from fedtui.tui.feed import Feed
from fedtui.tui.lines import Line, Span, cut, joined, plain, spread, width_of
from fedtui.tui.widgets.drawn import Drawn
from fedtui.tui.wording import clock, phase_sign, short_id
from fedtui.view import NodeView

GAP: Span = ("   ", "text")


class Part(NamedTuple):
    """Some words and how early they are given up: 0 never, 9 first."""

    rank: int
    words: Line


class StatusLine(Drawn):
    """Drops whole words when it gets narrow, the least important first."""

    DEFAULT_CSS = "StatusLine { height: 1; padding: 0 2; }"

    def draw(self, feed: Feed, width: int, height: int) -> list[Line]:
        """One line."""
        return [status(feed, width)]


def status(feed: Feed, width: int) -> Line:
    """The status line in ``width`` cells."""
    brand: Line = (("fedtui", "accent"),)
    if feed.view is None:
        text = "NO NODE" if feed.lost else "connecting…"
        return joined((brand, ((text, "error" if feed.lost else "muted"),)), GAP)
    view = feed.view
    left = [
        Part(5, brand),
        Part(1, room_words(view, 28)),
        Part(2, round_words(view)),
        Part(0, phase_words(feed)),
        Part(4, time_words(feed)),
        Part(0, tape_words(feed)),
    ]
    right = [
        Part(9, ((plain(view.model), "muted"),) if view.model else ()),
        Part(3, me_words(view)),
        Part(6, role_words(view)),
    ]
    for worst in range(9, -1, -1):
        start = joined((p.words for p in left if p.rank <= worst), GAP)
        end = joined(p.words for p in right if p.rank <= worst)
        if width_of(start) + width_of(end) + (2 if end else 0) <= width:
            return spread(start, end, width)
    return phase_words(feed)


def room_words(view: NodeView, width: int) -> Line:
    """The room's name, or that there is none."""
    if not view.room_id:
        return (("no room yet", "muted"),)
    return ((cut(view.room_name or short_id(view.room_id), width), "strong"),)


def round_words(view: NodeView) -> Line:
    """Which round of how many."""
    number, rounds = view.round.number, view.round.rounds
    if not view.room_id or not number:
        return ()
    return ((f"round {number}/{rounds}" if rounds else f"round {number}", "text"),)


def phase_words(feed: Feed) -> Line:
    """The phase, or what stands in its way."""
    if feed.lost:
        return (("✗ NODE GONE", "error"),)
    assert feed.view is not None
    trainer = feed.view.trainer
    if trainer.state == "failed":
        return (("✗ TRAINER FAILED", "error"),)
    if trainer.state == "loading":
        return ((f"◌ LOADING {clock(trainer.since_s)}", "accent"),)
    sign = phase_sign(feed.view.round.phase)
    return ((f"{sign.glyph} {sign.word}", sign.ink),)


def time_words(feed: Feed) -> Line:
    """Time taken. A deadline is no estimate of when a round ends, so it is not shown here."""
    assert feed.view is not None
    now = feed.view.round
    if feed.lost or feed.view.trainer.state in ("failed", "loading"):
        return ()
    if now.phase in ("IDLE", "DONE", "FAILED"):
        return ()
    return ((f"for {clock(now.elapsed_s)}", "text"),)


def tape_words(feed: Feed) -> Line:
    """That this is a recording, where it is and how fast it runs."""
    if feed.tape is None:
        return ()
    how = f"{feed.tape.speed:g}x" if feed.tape.speed else "paused"
    told = f"RECORDING {clock(feed.tape.place)}/{clock(feed.tape.length)} {how}"
    return ((told, "warning"),)


def me_words(view: NodeView) -> Line:
    """My name."""
    return ((cut(view.name or short_id(view.id), 24), "strong"),)


def role_words(view: NodeView) -> Line:
    """What I am in the room."""
    return ((plain(view.role), "muted"),) if view.room_id else ()
